"""Rates: so many at once, so many a second for long, each caller by itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.api.buckets import CALLERS_MAX, Buckets


def test_a_burst_and_then_the_rate() -> None:
    buckets = Buckets(rate=2, burst=3)

    assert [buckets.take("a", 0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", 0) == 0, "others have their own"
    assert buckets.take("a", 0.25) == 0.25
    assert buckets.take("a", 0.5) == 0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60))
def test_no_more_than_the_burst_and_the_rate(pauses: list[float]) -> None:
    buckets, now, taken = Buckets(rate=1, burst=5), 0.0, 0
    for pause in pauses:
        now += pause
        taken += buckets.take("a", now) == 0

    assert taken <= 5 + now + 1e-6


def test_callers_are_forgotten_the_longest_away_first() -> None:
    buckets = Buckets(rate=1, burst=1)
    for caller in range(CALLERS_MAX + 1):
        buckets.take(caller, 0)

    assert buckets.take(0, 0) == 0, "forgotten, and so new"
    assert buckets.take(CALLERS_MAX, 0) > 0
