"""How fast mails may go: at most so many in any minute."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

MINUTE_S = 60.0


def wait_s(sent_at: Sequence[float], now: float, per_minute: int) -> float:
    """How long to wait until one more may go, given when the last ones went, oldest first. 0 a minute is no limit."""
    if not per_minute or len(sent_at) < per_minute:
        return 0.0
    return max(0.0, sent_at[-per_minute] + MINUTE_S - now)


class Pace:
    """The pace of one process. Nothing is held while its turn is waited for."""

    def __init__(self, per_minute: int, stop: asyncio.Event, clock: Callable[[], float] = monotonic) -> None:
        self._per_minute = per_minute
        self._stop = stop
        self._clock = clock
        self._sent_at: deque[float] = deque(maxlen=per_minute or 1)

    async def turn(self) -> bool:
        """Wait until a mail may go; False if the service is to stop before."""
        while (left := wait_s(tuple(self._sent_at), self._clock(), self._per_minute)) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), left)
            if self._stop.is_set():
                return False
        return True

    def sent(self) -> None:
        """A mail goes now."""
        self._sent_at.append(self._clock())
