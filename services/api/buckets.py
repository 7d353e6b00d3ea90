"""How many requests a caller may make: a bucket of tokens each, filled at a steady rate. Pure: the time is given."""

from __future__ import annotations

from collections import OrderedDict

CALLERS_MAX = 10_000


class Buckets:
    """One bucket a caller. Who has not called for long is forgotten, and has a full one again."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, caller: object, now_s: float) -> float:
        """Take a token: 0 if there was one, else the seconds until there is."""
        tokens, at = self._buckets.pop(caller, (self._burst, now_s))
        tokens = min(self._burst, tokens + (now_s - at) * self._rate)
        is_there = tokens >= 1
        self._buckets[caller] = (tokens - 1 if is_there else tokens, now_s)
        if len(self._buckets) > CALLERS_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if is_there else (1 - tokens) / self._rate
