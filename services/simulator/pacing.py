"""When how many leads are due: pure, the time is passed in."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

#: How often a cycle has so many leads: the seed's probabilities, in per cent.
CYCLE_WEIGHTS: Mapping[int, int] = {1: 25, 2: 20, 3: 10, 4: 20, 5: 25}


class CycleSizes:
    """How many leads each cycle has: the seed's weights, cut to `at_least` … `at_most` and renormalised.

    Raises:
        ValueError: if nothing is left.
    """

    def __init__(self, at_least: int, at_most: int, rng: Random) -> None:
        self._weights = {size: weight for size, weight in CYCLE_WEIGHTS.items() if at_least <= size <= at_most}
        if not self._weights:
            raise ValueError(f"no cycle has {at_least} to {at_most} leads: LEADS_MIN and LEADS_MAX lie within 1 to 5")
        self._rng = rng

    def draw(self) -> int:
        point = self._rng.random() * sum(self._weights.values())
        for size, weight in self._weights.items():
            point -= weight
            if point < 0:
                return size
        return max(self._weights)


class Pacer:
    """A rate that catches up what it missed, but never more than the last second's worth. The first is due at once.

    Times are seconds of a monotonic clock.
    """

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._owed = 1.0
        self._seen_s = now_s

    def take(self, now_s: float, at_most: int) -> int:
        """Say how many are due now, and count them as sent."""
        backlog = max(self._per_s, 1.0)
        self._owed = min(self._owed + (now_s - self._seen_s) * self._per_s, backlog)
        self._seen_s = now_s
        due = min(int(self._owed), at_most)
        self._owed -= due
        return due

    def wait_s(self) -> float:
        """Say how long it is until one is due."""
        return max(0.0, (1 - self._owed) / self._per_s)
