"""Waiting for what the services do with a request, and saying what is not running when nothing comes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from sqlalchemy import text

from shared.db.session import Database
from shared.events import Event
from shared.messaging import broker, outbox
from shared.messaging.publisher import PublishError, open_publisher
from shared.settings import Settings

T = TypeVar("T")

SERVICE = "cli"
LOOK_EVERY_S = 0.25
#: A row is the relays' after 5 s.
PUBLISH_WITHIN_S = 4.0

IS_UNSENT = text("SELECT EXISTS (SELECT 1 FROM outbox WHERE id = :id)")


async def ask(settings: Settings, database: Database, event: Event) -> int:
    """Publish an event, or leave it to the relays of the services where the broker does not take it at once.

    Gives the id of its outbox row, which goes once it is published.
    """
    async with database.begin() as tx:
        (row,) = await outbox.add(tx, SERVICE, [event])
    with suppress(PublishError, TimeoutError):
        async with asyncio.timeout(PUBLISH_WITHIN_S), open_publisher(settings.amqp_url, "leadline cli") as publisher:
            await publisher.publish(row.messages)
        async with database.begin() as tx:
            await outbox.remove(tx, [row.id])
    return row.id


async def wait_for(look: Callable[[], Awaitable[T | None]], timeout_s: float) -> T | None:
    """Look at once, then every quarter of a second, until there is something; None when there is nothing in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = await look()
        if found is not None or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(LOOK_EVERY_S)


async def why_nothing_came(settings: Settings, database: Database, row_id: int, queue: str) -> str:
    """Say what keeps a request from being answered: what does not run, or what is before it."""
    async with database.reading() as connection:
        is_unsent = (await connection.execute(IS_UNSENT, {"id": row_id})).scalar_one()
    try:
        async with broker.connect(settings.amqp_url, "leadline cli") as connection_to_broker:
            state = await broker.queue_state(connection_to_broker, queue)
    except broker.BROKER_ERRORS as error:
        return f"the broker does not answer, see LEADLINE_AMQP_URL: {error}"
    if not state.consumers:
        return f"no {queue.partition('.')[0]} is running: nobody consumes the queue {queue!r}"
    if is_unsent:
        return "the request is still in the outbox: no service has sent it yet"
    return f"{state.ready:,} messages are ready in the queue {queue!r}, which has {state.consumers} consumers"
