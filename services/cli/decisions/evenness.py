"""How evenly leads lie. Pure."""

from __future__ import annotations

from collections.abc import Collection


def spread(counts: Collection[int]) -> int:
    """Give the most that anybody has less the least."""
    return max(counts) - min(counts) if counts else 0


def jain(counts: Collection[int]) -> float:
    """Give Jain's index: 1 if all have the same, 1/n if one has everything."""
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else 1.0
