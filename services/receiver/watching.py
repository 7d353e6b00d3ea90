"""Looks at a place every so often until stopped; what is away is tried again next time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from shared.errors import in_short
from shared.messaging.failures import Other, classify

log = structlog.get_logger(__name__)


async def watch(place: str, look: Callable[[], Awaitable[int]], every_s: float, stop: asyncio.Event) -> None:
    """Look now and at every interval. `look` gives how many sheets it received."""
    while not stop.is_set():
        try:
            received = await look()
        except Exception as error:
            if isinstance(classify(error), Other):
                raise
            log.warning("receiver.put_off", place=place, error=in_short(error))
        else:
            if received:
                log.info("receiver.received", place=place, sheets=received)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue
