"""The relay: sends what was committed and not confirmed, of this process or of one that died."""

from __future__ import annotations

import asyncio

import structlog

from shared.db.session import Database
from shared.messaging import outbox
from shared.messaging.failures import Other, classify
from shared.messaging.publisher import Dispatch

log = structlog.get_logger(__name__)

#: Confirmed rows go with the next transaction, or after this long without one.
TIDY_S = 1.0
SWEEP_EVERY_TICKS = 5
SWEEP_LIMIT = 20


async def relay(database: Database, dispatch: Dispatch, stop: asyncio.Event) -> None:
    """Tidy every second and sweep every five, until `stop`; then once more. A database that is away is waited for."""
    ticks = 0
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), TIDY_S)
        except TimeoutError:
            ticks += 1
        try:
            await tidy(database, dispatch)
            if ticks % SWEEP_EVERY_TICKS == 0:
                await sweep(database, dispatch)
        except Exception as error:
            if isinstance(classify(error), Other):
                raise
            log.debug("relay.waits", error=str(error))


async def tidy(database: Database, dispatch: Dispatch) -> None:
    """Delete rows whose events are all confirmed, in a transaction of its own."""
    if confirmed := dispatch.confirmed:
        async with database.begin() as tx:
            await outbox.remove(tx, confirmed)
        dispatch.forget(confirmed)


async def sweep(database: Database, dispatch: Dispatch) -> int:
    """Send rows that are due; give how many."""
    async with database.begin() as tx:
        rows = await outbox.claim(tx, limit=SWEEP_LIMIT, held=dispatch.held)
    for row in rows:
        await dispatch.send(row)
    return len(rows)
