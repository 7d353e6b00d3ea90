"""A consumer whose effect is one INSERT: the core alone, in a test's process or in one of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import aio_pika
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.session import Database, open_database
from shared.events import LeadAccepted, LeadUnassigned
from shared.messaging import topology
from shared.messaging.envelope import Message, Outgoing
from shared.messaging.loop import consume
from shared.messaging.processing import Deferred, Effect, Rejected, Subscription
from shared.messaging.publisher import open_publisher
from shared.process import stop_on_signals

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


@asynccontextmanager
async def running(
    database_url: str, amqp_url: str, handler: Insert, subscription: Subscription = SUBSCRIPTION
) -> AsyncIterator[asyncio.Task[None]]:
    """A consumer in this process, stopped cleanly at the end."""
    stop = asyncio.Event()
    async with open_database(database_url) as database:
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


async def lay_out(amqp_url: str, database_url: str) -> None:
    """Declare the topology and make the effects' table."""
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
    async with open_database(database_url) as database, database.begin() as tx:
        await tx.execute(text(EFFECTS))


async def publish(amqp_url: str, lead_ids: Sequence[str], exchange: str = "leads") -> None:
    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish(
            [
                Outgoing(
                    "lead.accepted", LeadAccepted(lead_id=lead_id, revision=1).to_json().encode(), lead_id, exchange
                )
                for lead_id in lead_ids
            ]
        )


async def effects(database_url: str) -> set[str]:
    async with open_database(database_url) as database, database.reading() as connection:
        return set((await connection.execute(text("SELECT lead_id FROM effects"))).scalars())


async def drain(amqp_url: str, queue: str, limit: int = 100_000) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Take all that is ready off a queue."""
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        declared = await channel.declare_queue(queue, passive=True)
        messages = []
        while len(messages) < limit and (message := await declared.get(fail=False)) is not None:
            await message.ack()
            messages.append(message)
        return messages


async def _main(database_url: str, amqp_url: str) -> None:
    stop = stop_on_signals()
    async with open_database(database_url) as database:
        await consume(
            service="test",
            amqp_url=amqp_url,
            database=database,
            subscription=SUBSCRIPTION,
            handler=Insert(),
            stop=stop,
        )


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
