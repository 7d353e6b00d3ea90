"""`leadline setup --migrate-queues`: a queue gets other arguments and no message is lost, kill or no kill."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from pamqp.common import FieldTable

from services.cli.failures import CommandError
from services.cli.installation import set_up, verify
from shared.messaging import broker, moving, topology
from shared.settings import Settings
from tests.integration.core import drain
from tests.waiting import eventually

SEEDS = 6 if os.environ.get("LEADLINE_LONG") else 1
LEADLINE = Path(sys.executable).with_name("leadline")


@pytest.fixture
def settings(database_url: str, amqp_url: str) -> Settings:
    return Settings(database_url=database_url, amqp_url=amqp_url)


async def lay_out(amqp_url: str, **others: FieldTable) -> None:
    """The topology, in which some queues have other arguments."""
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
        for queue, arguments in others.items():
            await channel.queue_delete(queue)
            declared = await channel.declare_queue(queue, durable=True, arguments=arguments)
            for binding in topology.bindings_of(queue):
                await declared.bind(binding.exchange, binding.key)


async def send(amqp_url: str, numbers: range, exchange: str = "leads", key: str = "lead.created") -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel(on_return_raises=True) as channel:
        target = await channel.get_exchange(exchange)
        await asyncio.gather(*(target.publish(message(number), key) for number in numbers))


def message(number: int) -> aio_pika.Message:
    body = json.dumps({"lead_id": f"L{number}"}).encode()
    return aio_pika.Message(body, delivery_mode=2, headers={"mine": number}, correlation_id=f"L{number}")


@asynccontextmanager
async def sending(amqp_url: str) -> AsyncIterator[list[str]]:
    """Publish mandatory and confirmed all the time; give what was confirmed so far."""
    confirmed: list[str] = []
    is_over = asyncio.Event()

    async def work() -> None:
        connection = await aio_pika.connect(amqp_url)
        async with connection, connection.channel(on_return_raises=True) as channel:
            target = await channel.get_exchange("leads")
            for number in itertools.count(1_000_000):
                if is_over.is_set():
                    return
                await target.publish(message(number), "lead.created")
                confirmed.append(f"L{number}")
                await asyncio.sleep(0.005)  # the pace of somebody who does something else too

    task = asyncio.create_task(work())
    try:
        yield confirmed
    finally:
        is_over.set()
        await task


async def setup(settings: Settings) -> asyncio.subprocess.Process:
    variables = {"LEADLINE_DATABASE_URL": settings.database_url, "LEADLINE_AMQP_URL": settings.amqp_url}
    return await asyncio.create_subprocess_exec(
        *(LEADLINE, "setup", "--migrate-queues", "--json"),
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def exists(amqp_url: str, queue: str) -> bool:
    async with broker.connect(amqp_url, "test") as connection:
        return await moving.is_under_way(connection, queue)


async def test_other_arguments_are_told_and_moved(settings: Settings) -> None:
    """Setup and verify name the queue; after the move nothing is missing, each message as it was, under its key."""
    others: dict[str, Any] = {"ingest": {}, "retry.1h": {"x-message-ttl": 5}, "dead": {"x-queue-type": "quorum"}}
    await lay_out(settings.amqp_url, **others)
    await send(settings.amqp_url, range(300))
    await send(settings.amqp_url, range(7), "leads.dead", "assigner")

    with pytest.raises(CommandError, match=r"^the queue 'ingest' is not as Leadline declares it: .*--migrate-queues"):
        await asyncio.to_thread(set_up, settings)
    (wrong,) = [check for check in (await verify(settings)).checks if not check.is_well]
    assert [name in wrong.detail for name in ("'ingest'", "'retry.1h'", "'dead'", "'notifier'")] == [True] * 3 + [False]

    warned: list[str] = []
    moved = await asyncio.to_thread(lambda: set_up(settings, migrates_queues=True, warn=warned.append))

    (said,) = warned
    assert "bindings that others have made to a moved queue cannot be seen" in said
    assert {(each.queue, each.aside, each.back) for each in moved} == {("ingest", 300, 300), ("dead", 7, 7)}
    assert (await verify(settings)).is_well
    messages = await drain(settings.amqp_url, "ingest")
    assert sorted(m.correlation_id or "" for m in messages) == sorted(f"L{n}" for n in range(300))
    assert {(m.routing_key, m.type, m.headers["mine"] == int((m.correlation_id or "")[1:])) for m in messages} == {
        ("lead.created", "lead.created", True)
    }
    assert {m.routing_key for m in await drain(settings.amqp_url, "dead")} == {"assigner"}
    await send(settings.amqp_url, range(1))
    assert len(await drain(settings.amqp_url, "ingest")) == 1, "bound again"


async def test_a_consumer_is_waited_for_or_refused(settings: Settings) -> None:
    """What it holds comes back when it goes, and is moved too."""
    await lay_out(settings.amqp_url, ingest={})
    await send(settings.amqp_url, range(20))
    connection = await aio_pika.connect(settings.amqp_url)
    async with connection:
        channel = await connection.channel()
        held: list[object] = []

        async def hold(held_message: aio_pika.abc.AbstractIncomingMessage) -> None:
            held.append(held_message)

        await (await channel.get_queue("ingest")).consume(hold)
        await eventually(lambda: len(held) == 20)
        with pytest.raises(CommandError, match="1 consume the queue 'ingest'"):
            await asyncio.to_thread(lambda: set_up(settings, migrates_queues=True))
        waiting = asyncio.create_task(asyncio.to_thread(lambda: set_up(settings, migrates_queues=True, wait_s=30)))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    moved = await waiting
    assert [(each.queue, each.aside) for each in moved] == [("ingest", 20)]
    assert len(await drain(settings.amqp_url, "ingest")) == 20


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_killed_in_the_middle_and_run_again_nothing_is_lost(settings: Settings, seed: int) -> None:
    """While somebody publishes all the time: every message that was confirmed is there, and none was unroutable."""
    chance = random.Random(seed)
    await lay_out(settings.amqp_url, ingest={})
    await send(settings.amqp_url, range(1_000))
    async with sending(settings.amqp_url) as confirmed:
        await eventually(lambda: len(confirmed) > 50)
        kills = 0
        for _ in range(2):
            process = await setup(settings)
            await eventually(partial(under_way_or_over, settings.amqp_url, process), within=60)
            await asyncio.sleep(chance.uniform(0, 2.5))  # whatever line it is at
            if process.returncode is None:
                process.kill()
                kills += 1
            await process.wait()
        last = await setup(settings)
        _, errors = await asyncio.wait_for(last.communicate(), 60)
        assert last.returncode == 0, errors
    assert kills
    assert not await exists(settings.amqp_url, "ingest")
    assert (await verify(settings)).is_well
    found = {m.correlation_id for m in await drain(settings.amqp_url, "ingest")}
    assert found >= {f"L{n}" for n in range(1_000)} | set(confirmed)


async def under_way_or_over(amqp_url: str, process: asyncio.subprocess.Process) -> bool:
    return process.returncode is not None or await exists(amqp_url, "ingest")
