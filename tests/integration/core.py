"""A consumer whose effect is one INSERT: the core alone, in a test's process or in one of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aio_pika
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.cli.local.nodes import Nodes
from shared.db.session import Database, open_database
from shared.events import LeadAccepted, LeadUnassigned
from shared.messaging import topology
from shared.messaging.envelope import ATTEMPTS, Message, Outgoing
from shared.messaging.loop import consume
from shared.messaging.processing import Deferred, Effect, Handler, Rejected, Subscription
from shared.messaging.publisher import open_publisher
from shared.process import stop_on_signals
from tests.conftest import OURS, VirtualHosts, clone, named, sql
from tests.waiting import eventually

EFFECTS = "CREATE TABLE IF NOT EXISTS effects (lead_id text PRIMARY KEY, saved int NOT NULL DEFAULT 1)"
SAVE = text("""
    INSERT INTO effects (lead_id) SELECT * FROM unnest(CAST(:ids AS text[])) AS id ORDER BY id
    ON CONFLICT DO NOTHING RETURNING lead_id
""")
SUBSCRIPTION = Subscription("assigner", (LeadAccepted,), hold_s=20)


class Insert:
    """Saves lead ids; what an id begins with says what goes wrong."""

    def __init__(self, trouble: Callable[[str], None] = lambda _: None) -> None:
        self.trouble = trouble
        self.batches: list[int] = []

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Sequence[Message], None]:
        self.batches.append(len(batch))
        yield batch

    async def save(self, tx: AsyncConnection, piece: Sequence[Message]) -> Sequence[Effect]:
        effects: list[Effect] = []
        ids = []
        for message in piece:
            lead_id = message.key
            self.trouble(lead_id)
            if lead_id.startswith("poison"):
                os.kill(os.getpid(), signal.SIGKILL)
            elif lead_id.startswith("bug"):
                raise ValueError(f"a bug met {lead_id}")
            elif lead_id.startswith("bad"):
                effects.append(Rejected(message, "it is bad"))
            elif lead_id.startswith("early"):
                effects.append(Deferred(message, "its lead is not known yet"))
            else:
                ids.append(lead_id)
        saved = (await tx.execute(SAVE, {"ids": ids})).scalars().all()
        return effects + [LeadUnassigned(lead_id=lead_id, revision=1, reason="test") for lead_id in saved]


class Freezing(Insert):
    """Stops its process inside the transaction, its rows locked; once, however often the message comes."""

    has_frozen = False

    async def save(self, tx: AsyncConnection, piece: Sequence[Message]) -> Sequence[Effect]:
        effects = await super().save(tx, piece)
        if not self.has_frozen and any(message.key.startswith("frozen") for message in piece):
            self.has_frozen = True
            os.kill(os.getpid(), signal.SIGSTOP)
        return effects


@asynccontextmanager
async def running(
    database_url: str, amqp_url: str, handler: Insert, subscription: Subscription = SUBSCRIPTION
) -> AsyncIterator[asyncio.Task[None]]:
    """A consumer in this process, stopped cleanly at the end."""
    async with open_database(database_url) as database, consuming(database, amqp_url, handler, subscription) as task:
        yield task


@asynccontextmanager
async def consuming(
    database: Database, amqp_url: str, handler: Handler[Any], subscription: Subscription = SUBSCRIPTION
) -> AsyncIterator[asyncio.Task[None]]:
    """The same on a pool that is given."""
    stop = asyncio.Event()
    task = asyncio.create_task(
        consume(
            service="test",
            amqp_url=amqp_url,
            database=database,
            subscription=subscription,
            handler=handler,
            stop=stop,
        )
    )
    try:
        yield task
    finally:
        stop.set()
        await task


class Replica:
    """A consumer as a process of its own, started again whenever it is killed."""

    def __init__(self, database_url: str, amqp_url: str, log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.core", database_url, amqp_url],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def consumer(self) -> psutil.Process | None:
        """The process that consumes; None while it is being started again."""
        return next(iter(psutil.Process(self._supervisor.pid).children()), None)

    def kill(self) -> bool:
        if (consumer := self.consumer()) is None:
            return False
        consumer.kill()
        return True

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        os.killpg(self._supervisor.pid, signal.SIGTERM)
        try:
            return self._supervisor.wait(30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._supervisor.pid, signal.SIGKILL)


class Hosts(VirtualHosts):
    BATCHES = (3, 3)
    KIND = "ground"

    def _done_with(self) -> list[str]:
        """None: they stay until the module is done."""
        return []

    def remove_all(self) -> None:
        self._evaluate(self._removal(self._given))


class Ground:
    """Databases and virtual hosts for a module whose tests kill and freeze servers."""

    def __init__(self, nodes: Nodes, template: str) -> None:
        self.nodes = nodes
        self._hosts = Hosts(nodes)
        self._template = template
        self._made = 0

    def take(self) -> tuple[str, str]:
        """A migrated database and an empty virtual host."""
        self._made += 1
        name = f"{OURS}_ground_{self._made}"
        clone(self.nodes, self._template, name)
        return named(self.nodes.database_url, name), named(self.nodes.amqp_url, self._hosts.take())

    def clean(self) -> None:
        for number in range(self._made):
            sql(self.nodes.database_url, f"DROP DATABASE {OURS}_ground_{number + 1} WITH (FORCE)")
        self._hosts.remove_all()


@contextmanager
def ground_on(nodes: Nodes, template: str, vhosts: VirtualHosts) -> Iterator[Ground]:
    """What tests leave in the broker that are done goes first. Skips where the environment names others' servers."""
    if not (nodes.broker.is_ours and nodes.postgres.is_ours):
        pytest.skip("the environment names the servers: they are not ours to disturb")
    vhosts.remove_done()
    ground = Ground(nodes, template)
    yield ground
    ground.clean()


async def lay_out(amqp_url: str, database_url: str) -> None:
    """Declare the topology and make the effects' table."""
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
    async with open_database(database_url) as database, database.begin() as tx:
        await tx.execute(text(EFFECTS))


async def publish(amqp_url: str, lead_ids: Sequence[str], exchange: str = "leads", attempts: int = 0) -> None:
    """Send an event for each; with `attempts` as copies that have failed so often."""
    headers = {ATTEMPTS: attempts} if attempts else {}
    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish(
            [
                Outgoing(
                    "lead.accepted",
                    LeadAccepted(lead_id=lead_id, revision=1).to_json().encode(),
                    lead_id,
                    exchange,
                    headers,
                )
                for lead_id in lead_ids
            ]
        )


async def effects(database_url: str) -> set[str]:
    async with open_database(database_url, application_name="looking") as database, database.reading() as connection:
        return set((await connection.execute(text("SELECT lead_id FROM effects"))).scalars())


async def drain(amqp_url: str, queue: str) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Take all that is ready off a queue."""
    messages: list[aio_pika.abc.AbstractIncomingMessage] = []
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        declared = await channel.declare_queue(queue, passive=True)
        while (first := await declared.get(no_ack=True, fail=False)) is not None:
            messages.append(first)
            await _take(channel, queue, messages)
    return messages


async def _take(channel: aio_pika.abc.AbstractChannel, queue: str, messages: list[Any]) -> None:
    """Take what the broker says is ready: as a consumer, since to get them one by one takes its time."""
    declared = await channel.declare_queue(queue, passive=True)
    wanted = len(messages) + (declared.declaration_result.message_count or 0)

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        messages.append(message)

    tag = await declared.consume(take, no_ack=True)
    with suppress(AssertionError):
        await eventually(lambda: len(messages) >= wanted, within=5)
    await declared.cancel(tag)


async def _main(database_url: str, amqp_url: str) -> None:
    stop = stop_on_signals()
    async with open_database(database_url) as database:
        await consume(
            service="test",
            amqp_url=amqp_url,
            database=database,
            subscription=SUBSCRIPTION,
            handler=Freezing(),
            stop=stop,
        )


def _supervise(database_url: str, amqp_url: str) -> int:
    """Run the consumer in a process of its own, and again whenever it is killed, until SIGTERM; give its last status.

    It is forked, not started anew, because a restart must be quick: a poison message takes twenty-one.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)  # the group's, so the consumer gets it too
    while True:
        if not (child := os.fork()):
            asyncio.run(_main(database_url, amqp_url))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            return status


if __name__ == "__main__":
    sys.exit(_supervise(*sys.argv[1:]))
