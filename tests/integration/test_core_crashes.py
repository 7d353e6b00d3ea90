"""The core across crashes: two replicas as real processes, kills of process, connection, channel and broker.

Short form in the suite. The long form: LEADLINE_CRASHES=50 (kills of each kind), LEADLINE_SEEDS="1 2 3".
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.cli.local.failures import LocalError
from services.cli.local.nodes import Nodes
from shared.messaging import broker
from shared.messaging.publisher import PublishError
from tests.conftest import VirtualHosts, sql
from tests.integration.core import Ground, Replica, drain, effects, ground_on, lay_out, publish
from tests.waiting import eventually

#: What a log must not say, whatever is killed.
UNHEARD_OF = ("never retrieved", "relay.failed", "message.failed")
KILLS = int(os.environ.get("LEADLINE_CRASHES", "0"))
#: 3.10 loses a quorum queue that is killed within a second of its declaration.
QUEUES_SETTLE_S = 3

# How many kills of each kind, how many poison messages, which seed.
SEEDS = [int(seed) for seed in os.environ.get("LEADLINE_SEEDS", "1 2 3").split()]
FORMS = [(KILLS, 10, seed) for seed in SEEDS] if KILLS else [(1, 2, 1)]

KILL_CONNECTION = (
    "case [P || P <- rabbit_networking:connections(),"
    " {client_properties, T} <- rabbit_reader:info(P, [client_properties]),"
    ' {_, _, <<"test consuming">>} <- T] of [] -> none; L -> rabbit_networking:close_connection('
    'lists:nth(rand:uniform(length(L)), L), "test") end'
)
KILL_CHANNEL = (
    "case [P || P <- rabbit_channel:list_local(), [{consumer_count, 1}] <- [rabbit_channel:info(P, [consumer_count])]]"
    " of [] -> none; L -> exit(lists:nth(rand:uniform(length(L)), L), kill) end"
)


@pytest.fixture(scope="module")
def ground(nodes: Nodes, template: str, vhosts: VirtualHosts) -> Iterator[Ground]:
    with ground_on(nodes, template, vhosts) as ground:
        yield ground


class Chaos:
    """Kills things one after the other, in an order of its seed's, until each kind has had its number."""

    def __init__(self, ground: Ground, replicas: list[Replica], seed: int) -> None:
        self._random = random.Random(seed)
        self._nodes = ground.nodes
        self._replicas = replicas
        self.killed: Counter[str] = Counter()

    async def run(self, kills: int) -> None:
        plan = [kind for kind in ("process", "channel", "broker") for _ in range(kills)]
        self._random.shuffle(plan)
        for kind in plan:
            await asyncio.sleep(self._random.uniform(0.05, 0.8))
            await getattr(self, kind)()
            self.killed[kind] += 1

    async def process(self) -> None:
        await eventually(self._random.choice(self._replicas).kill)

    async def channel(self) -> None:
        script = self._random.choice([KILL_CONNECTION, KILL_CHANNEL])
        await eventually(lambda: asyncio.to_thread(self._ctl, script), within=20)

    async def broker(self) -> None:
        await asyncio.to_thread(self._nodes.broker.kill)
        await asyncio.to_thread(self._nodes.broker.start)

    def _ctl(self, script: str) -> bool:
        """False while there is nothing to kill, or what was found is dying already."""
        try:
            return "none" not in self._nodes.broker.evaluate(script)
        except LocalError:
            return False


async def feed(amqp_url: str, fed: list[str], is_over: asyncio.Event) -> None:
    """Send innocents until it is over, each until it is confirmed."""
    while not is_over.is_set():
        ids = [f"lead{len(fed) + number}" for number in range(20)]
        await until_confirmed(amqp_url, ids)
        fed += ids
        await asyncio.sleep(0.1)


async def until_confirmed(amqp_url: str, ids: list[str]) -> None:
    while True:
        try:
            return await publish(amqp_url, ids)
        except PublishError:
            await asyncio.sleep(0.2)


async def depth(amqp_url: str, queue: str) -> int:
    async with broker.connect(amqp_url, "looking") as connection:
        return await broker.queue_depth(connection, queue)


@pytest.mark.timeout(3_600 if KILLS else 120)
@pytest.mark.parametrize(("kills", "poisons", "seed"), FORMS)
async def test_nothing_is_lost_or_done_twice_whatever_is_killed(
    ground: Ground, kills: int, poisons: int, seed: int, tmp_path: Path
) -> None:
    """Every innocent has its effect and its event, every poison alone is dead, no delivery is acknowledged twice."""
    database_url, amqp_url = ground.take()
    await lay_out(amqp_url, database_url)
    began = time.monotonic()
    poison = {f"poison{number}" for number in range(poisons)}
    fed = [f"lead{number}" for number in range(200)]
    await publish(amqp_url, random.Random(seed).sample([*fed, *poison], k=200 + poisons))
    await asyncio.sleep(QUEUES_SETTLE_S)

    replicas = [Replica(database_url, amqp_url, tmp_path / f"replica{number}.log") for number in range(2)]
    chaos, is_over = Chaos(ground, replicas, seed), asyncio.Event()
    try:
        feeding = asyncio.create_task(feed(amqp_url, fed, is_over))
        await chaos.run(kills)
        is_over.set()
        await feeding
        calm = time.monotonic()
        await eventually(lambda: all_saved(database_url, fed), within=60)
        await eventually(lambda: all_dead(amqp_url, poisons), within=300 if KILLS else 40)
        await eventually(lambda: is_outbox_empty(database_url), within=60)  # rows of the killed are swept
    finally:
        codes = [replica.stop() for replica in replicas]

    assert codes == [0, 0], [replica.log[-3_000:] for replica in replicas]
    dead = await drain(amqp_url, "dead")
    assert Counter(message.correlation_id for message in dead) == Counter(poison)
    deaths: list[Any] = [message.headers["x-death"] for message in dead]
    assert {death[0]["reason"] for death in deaths} == {"delivery_limit"}
    assert {message.headers["x-first-death-queue"] for message in dead} == {"assigner"}
    events = defaultdict(list)
    for message in await drain(amqp_url, "documents"):
        events[message.correlation_id].append(message.body)
    assert set(events) == set(fed)
    assert all(len(set(bodies)) == 1 for bodies in events.values())
    assert not list(protests(ground))
    logs = [replica.log for replica in replicas]
    assert [log[at : at + 3_000] for log in logs for word in UNHEARD_OF if (at := log.find(word)) >= 0] == []
    published = sum(map(len, events.values()))
    print(
        f"\ncrashes: seed {seed}, kills {dict(chaos.killed)},"
        f" starts {sum(log.count('consumer.started') for log in logs)},"
        f" careful again {sum(log.count('consumer.careful') for log in logs)}, leads {len(fed)}, dead {len(dead)},"
        f" published {published} ({published / len(fed):.3f} an event), {calm - began:.0f} s of kills,"
        f" {time.monotonic() - calm:.0f} s to calm"
    )


async def all_saved(database_url: str, ids: list[str]) -> bool:
    return set(ids) <= await effects(database_url)


async def is_outbox_empty(database_url: str) -> bool:
    rows = await asyncio.to_thread(sql, database_url, "SELECT count(*) FROM outbox")
    return bool(rows[0][0] == 0)


async def all_dead(amqp_url: str, poisons: int) -> bool:
    return await depth(amqp_url, "dead") >= poisons


def protests(ground: Ground) -> Iterator[str]:
    """What the broker has said about acknowledgements that it did not expect."""
    for log in (ground.nodes.state / "rabbitmq").glob("node/log/*.log"):
        yield from (line for line in log.read_text(errors="replace").splitlines() if "unknown delivery tag" in line)
