"""The relay: sends what was committed and not confirmed, of this process or of one that died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import structlog

from shared.db.session import Database
from shared.errors import in_short
from shared.messaging import outbox
from shared.messaging.facts import UNOBSERVED, Observer, OutboxSeen
from shared.messaging.failures import Other, classify
from shared.messaging.publisher import Dispatch

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Confirmed rows go with the next transaction, or after this long without one.
TIDY_S = 1.0
SWEEP_EVERY_TICKS = 5
SWEEP_LIMIT = 20
COUNT_EVERY_TICKS = 15
CONFIRMS_AT_STOP_S = 5


@asynccontextmanager
async def relaying(database: Database, dispatch: Dispatch, observer: Observer = UNOBSERVED) -> AsyncIterator[None]:
    """Relay while the block runs; after it wait for the confirms that still come, and tidy up."""
    is_done = asyncio.Event()
    task = asyncio.create_task(relay(database, dispatch, is_done, observer))
    try:
        yield
        await dispatch.settled(CONFIRMS_AT_STOP_S)
    finally:
        is_done.set()
        await task


async def relay(database: Database, dispatch: Dispatch, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Tidy every second and sweep every five, until `stop`; then tidy once more. What fails is tried again."""
    ticks = 0
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TIDY_S)
        await _try(tidy(database, dispatch))
        ticks += 1
        if ticks % SWEEP_EVERY_TICKS == 0 and not stop.is_set():
            while await _try(sweep(database, dispatch)) and not stop.is_set():
                await _try(tidy(database, dispatch))
        if ticks % COUNT_EVERY_TICKS == 1 and not stop.is_set():
            await _try(count(database, observer))


async def _try(work: Awaitable[T]) -> T | None:
    """One row that cannot be sent, or a bug here, must not stop a service that works; None then."""
    try:
        return await work
    except Exception as error:  # told, and tried again at the next tick
        if isinstance(classify(error), Other):
            log.exception("relay.failed")
        else:
            log.debug("relay.waits", error=in_short(error))
        return None


async def tidy(database: Database, dispatch: Dispatch) -> None:
    """Delete rows whose events are all confirmed, in a transaction of its own."""
    if confirmed := dispatch.confirmed:
        async with database.begin() as tx:
            await outbox.remove(tx, confirmed)
        dispatch.forget(confirmed)


async def sweep(database: Database, dispatch: Dispatch) -> bool:
    """Send rows that are due, and say whether there may be more: an outage may have left many.

    Without a broker that takes them none is claimed, so that an outage makes no row wait longer.
    """
    await dispatch.probe()
    async with database.begin() as tx:
        rows = await outbox.claim(tx, limit=SWEEP_LIMIT, held=dispatch.held)
    for row in rows:
        await dispatch.send(row)
    return len(rows) == SWEEP_LIMIT


async def count(database: Database, observer: Observer) -> None:
    """Tell how much is left to send."""
    async with database.reading() as connection:
        observer.observe(OutboxSeen(*await outbox.left(connection)))
