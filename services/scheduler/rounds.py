"""What the scheduler does again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from shared.errors import in_short
from shared.messaging.failures import Other, classify

log = structlog.get_logger(__name__)


async def every(interval_s: float, name: str, work: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    """Do `work` now and then at every interval, until stopped.

    A broker or a database that is away is tried next time; any other error ends it. `name` tells the rounds apart.
    """
    while not stop.is_set():
        try:
            await work()
        except Exception as error:
            if isinstance(classify(error), Other):
                raise
            log.warning("round.put_off", round=name, error=in_short(error))
        try:
            await asyncio.wait_for(stop.wait(), interval_s)
        except TimeoutError:
            continue
