"""Waiting in place with everything unacknowledged: for a dependency to answer, or between two tries of an open breaker.

A wait ends early when the process is to stop or the channel is lost, and is given up after the time to hold.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping

import structlog

from shared.errors import in_short
from shared.messaging.facts import UNOBSERVED, Observer, Probe, Waits
from shared.messaging.settling import Settlement

log = structlog.get_logger(__name__)

PAUSE_LIMIT_S = 15.0
FIRST_PAUSE_S = 1.0


class Waiting:
    """What a consumer waits for, and for how long yet."""

    def __init__(self, queue: str, hold_s: float, probes: Mapping[str, Probe], observer: Observer = UNOBSERVED) -> None:
        self._queue = queue
        self._observer = observer
        self._hold_s = hold_s
        self._probes = probes
        self._settlement: Settlement
        self._broken_since: float | None = None
        self._pause_s = FIRST_PAUSE_S
        #: In words; None when all is well.
        self.what: str | None = None

    def begin(self, settlement: Settlement) -> None:
        """Wait on a new channel from now on: for nothing yet, unless the breaker is open."""
        self._settlement = settlement
        if self._broken_since is None:
            self._for(None)

    def over(self) -> None:
        """Something went through."""
        self._for(None)
        self._broken_since = None
        self._pause_s = FIRST_PAUSE_S

    def _for(self, what: str | None, *, is_breaker: bool = False) -> None:
        if what != self.what:
            self.what = what
            self._observer.observe(Waits(self._queue, what, is_breaker))

    async def for_dependency(self, dependency: str, error: BaseException) -> bool:
        """Wait until a dependency answers again; False if the wait was given up."""
        self._for(f"{dependency} to answer")
        log.warning("outage.begins", waits_for=dependency, error=in_short(error))
        probe = self._probes.get(dependency, _no_probe)
        async for _ in self._pauses():
            try:
                await probe()
            except Exception as still:  # whatever it is, the dependency is not back
                log.debug("outage.lasts", waits_for=dependency, error=in_short(still))
            else:
                self._for(None)
                log.info("outage.over", waited_for=dependency)
                return True
        return False

    async def between_tries(self, fingerprint: str, error: BaseException, *, in_place: bool) -> bool:
        """Pause with the breaker open; False if what is held must go: its time is over, or it cannot stay in place."""
        now = asyncio.get_running_loop().time()
        if self._broken_since is None:
            log.error("breaker.open", queue=self._queue, error_type=fingerprint, exc_info=error)
            self._broken_since = now
        self._for(f"the cause of {fingerprint} to be mended", is_breaker=True)
        if not in_place:
            await self._settlement.pause(FIRST_PAUSE_S)
            return False
        if now - self._broken_since >= self._hold_s:
            self._broken_since = now
            return False
        pause, self._pause_s = self._pause_s, min(self._pause_s * 2, PAUSE_LIMIT_S)
        return await self._settlement.pause(pause)

    async def _pauses(self) -> AsyncIterator[None]:
        """Yield after growing pauses, until the limit, the end of the channel or the stop of the process."""
        pause, passed = 0.2, 0.0
        while passed < self._hold_s:
            wait = pause * random.uniform(0.7, 1.3)
            if not await self._settlement.pause(wait):
                return
            yield
            passed += wait
            pause = min(pause * 2, PAUSE_LIMIT_S / 3)


async def _no_probe() -> None:
    """Nothing to ask: the work itself shows whether it is back."""
