"""A consumer that the broker has forgotten, and a queue that is not what it must be."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import aio_pika
import pytest
from aiormq.channel import Channel
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.session import open_database
from shared.health import Health
from shared.messaging import broker, topology
from shared.messaging.envelope import Message
from shared.messaging.facts import Consuming, Fact, NotConsuming
from shared.messaging.loop import consume
from shared.messaging.processing import Effect
from shared.messaging.topology import TopologyError
from shared.messaging.watchdog import DeafConsumerError, StuckHandlerError, Vigilance
from shared.messaging.wire import Tap, Wire
from tests.integration.core import SUBSCRIPTION, Insert, effects, lay_out, publish, running
from tests.waiting import eventually

WATCHED = replace(SUBSCRIPTION, vigilance=Vigilance(every_s=0.1, quiet_limit_s=1))
QUEUE = SUBSCRIPTION.queue


async def delete(amqp_url: str, *, and_declare: bool) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await channel.queue_delete(QUEUE)
        if and_declare:
            await topology.declare(channel)


async def is_saved(database_url: str, *lead_ids: str) -> bool:
    return set(lead_ids) <= await effects(database_url)


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client misses that the broker cancels its consumer, as older ones did."""
    init = broker.ConsumerChannel.__init__

    def deaf(self: broker.ConsumerChannel, channel: Channel, wire: Wire, tap: Tap) -> None:
        init(self, channel, wire, tap)
        channel.on_consumer_cancel_callbacks.clear()

    monkeypatch.setattr(broker.ConsumerChannel, "__init__", deaf)


async def test_a_cancel_that_the_client_misses(database_url: str, amqp_url: str, unheard: None) -> None:
    """The watchdog sees a queue without consumers, and the consumer comes back to it."""
    await lay_out(amqp_url, database_url)
    async with running(database_url, amqp_url, Insert(), WATCHED):
        await publish(amqp_url, ["before"])
        await eventually(lambda: is_saved(database_url, "before"), within=10)
        await delete(amqp_url, and_declare=False)
        await asyncio.sleep(0.5)  # the broker has told the consumer's channel
        await delete(amqp_url, and_declare=True)
        await publish(amqp_url, ["after"])
        await eventually(lambda: is_saved(database_url, "after"), within=20)


async def test_a_queue_that_is_deleted_and_at_once_declared_anew(database_url: str, amqp_url: str) -> None:
    """RabbitMQ 3.10 then names a consumer to which it delivers nothing; an idle consumer is registered anew."""
    await lay_out(amqp_url, database_url)
    renewing = replace(WATCHED, vigilance=replace(WATCHED.vigilance, renew_after_s=2))
    async with running(database_url, amqp_url, Insert(), renewing):
        await publish(amqp_url, ["before"])
        await eventually(lambda: is_saved(database_url, "before"), within=10)
        await delete(amqp_url, and_declare=True)
        await publish(amqp_url, ["after"])
        await eventually(lambda: is_saved(database_url, "after"), within=20)


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_queue_that_is_deleted_for_a_while(
    database_url: str, amqp_url: str, is_told: bool, request: pytest.FixtureRequest
) -> None:
    """It is waited for, also by a consumer that was not told; readiness says so; then it goes on by itself."""
    if not is_told:
        request.getfixturevalue("unheard")
    await lay_out(amqp_url, database_url)
    facts: list[Fact] = []
    health = Health(facts.append)
    stop = asyncio.Event()
    async with open_database(database_url) as database:
        task = asyncio.create_task(
            consume(
                service="test",
                amqp_url=amqp_url,
                database=database,
                subscription=WATCHED,
                handler=Insert(),
                stop=stop,
                observer=health,
            )
        )
        await eventually(lambda: Consuming(QUEUE) in facts, within=20)
        assert await is_ready(health)
        await delete(amqp_url, and_declare=False)
        await eventually(lambda: says(health, "no queue 'assigner'"), within=20)
        await delete(amqp_url, and_declare=True)
        await eventually(lambda: is_ready(health), within=20)
        await publish(amqp_url, ["after"])
        await eventually(lambda: is_saved(database_url, "after"), within=20)
        stop.set()
        await task


class Stuck(Insert):
    """Never comes back from its first message."""

    async def save(self, tx: AsyncConnection, piece: Sequence[Message]) -> Sequence[Effect]:
        await super().save(tx, piece)
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_handler_that_does_not_come_back_ends_the_process(database_url: str, amqp_url: str) -> None:
    """A supervisor can then start another; what it held goes to whoever comes next, and no lock is left in the way."""
    await lay_out(amqp_url, database_url)
    await publish(amqp_url, ["first", "second"])
    impatient = replace(WATCHED, vigilance=replace(WATCHED.vigilance, stuck_after_s=1))
    with pytest.raises(StuckHandlerError, match="assigner: the handler has been at one piece for 1 s"):
        async with running(database_url, amqp_url, Stuck(), impatient) as task:
            await asyncio.wait_for(asyncio.shield(task), 30)
    async with running(database_url, amqp_url, Insert()):
        await eventually(lambda: is_saved(database_url, "first", "second"), within=20)


HANGS = """
import asyncio, time
from shared import process
from shared.messaging.facts import Stuck

async def serve(settings, stop, observer):
    observer.observe(Stuck("assigner", "it hangs"))
    await asyncio.to_thread(time.sleep, 600)

process.GRACE_S = 0.2
process.run_service("assigner", serve)
"""


async def test_a_process_whose_handler_hangs_in_a_thread_ends_all_the_same() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANGS),
        env={**os.environ, "LEADLINE_DATABASE_URL": "postgresql://nowhere", "LEADLINE_AMQP_URL": "amqp://nowhere"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 4, errors
    assert b"consumer.stuck" in errors


async def is_ready(health: Health) -> bool:
    return await health.problems() == []


async def says(health: Health, words: str) -> bool:
    return any(words in problem for problem in await health.problems())


async def test_a_broker_that_forgets_again_and_again_ends_the_process(
    database_url: str, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor can then start another."""
    await lay_out(amqp_url, database_url)
    facts: list[Fact] = []
    health = Health(facts.append)

    async def unknown(*_: object) -> broker.QueueState:
        return broker.QueueState(ready=3, consumers=0)

    monkeypatch.setattr(broker, "queue_state", unknown)
    async with open_database(database_url) as database:
        with pytest.raises(DeafConsumerError, match="the broker knows of no consumer, on one new channel after"):
            await asyncio.wait_for(
                consume(
                    service="test",
                    amqp_url=amqp_url,
                    database=database,
                    subscription=WATCHED,
                    handler=Insert(),
                    stop=asyncio.Event(),
                    observer=health,
                ),
                60,
            )
    assert facts.count(NotConsuming(QUEUE, "the broker knows of no consumer")) == 4


async def declare_classic(amqp_url: str, queue: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await channel.declare_queue(queue, durable=True)


async def test_a_service_refuses_a_queue_with_other_arguments(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    """One line that says which queue, how it differs and what to do; no traceback; an exit code of its own."""
    await declare_classic(amqp_url, "ingest")
    variables = {"LEADLINE_DATABASE_URL": database_url, "LEADLINE_AMQP_URL": amqp_url}
    for name in ("ingest", "assigner"):
        await declare_classic(amqp_url, name)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"services.{name}"),
            env={**os.environ, **variables},
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 3, errors
        (line,) = [line for line in errors.decode().splitlines() if "topology.wrong" in line]
        assert f"'{name}' is not as Leadline declares it" in line
        assert "setup --migrate-queues" in line
        assert "Traceback" not in errors.decode()


async def test_a_consumer_waits_for_a_queue_that_is_not_there_yet(amqp_url: str) -> None:
    """Only other arguments are refused, and to ask makes no queue: it would have no bindings."""
    async with broker.connect(amqp_url, "test") as connection:
        await topology.refuse_other_arguments(connection, QUEUE)
        assert await topology.other_arguments(connection, QUEUE) is None
        assert "is missing" in str(await topology.missing_or_other(connection, QUEUE))
        await declare_classic(amqp_url, QUEUE)
        with pytest.raises(TopologyError, match="inequivalent arg"):
            await topology.refuse_other_arguments(connection, QUEUE)
        assert len(await topology.problems(connection)) == 4 + 12
