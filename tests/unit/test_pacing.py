"""At most so many mails in any minute, and a stop that is not waited for."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.pacing import MINUTE_S, Pace, wait_s


@pytest.mark.parametrize(
    ("sent_at", "now", "per_minute", "expected"),
    [
        ((), 100.0, 2, 0),
        ((100.0,), 100.0, 2, 0),
        ((100.0, 101.0), 101.0, 2, 59),
        ((100.0, 101.0), 130.0, 2, 30),
        ((100.0, 101.0), 160.0, 2, 0),
        ((10.0, 100.0, 101.0), 130.0, 2, 30),
        ((100.0, 101.0), 101.0, 0, 0),
    ],
)
def test_the_last_mails_say_how_long_to_wait(
    sent_at: tuple[float, ...], now: float, per_minute: int, expected: float
) -> None:
    assert wait_s(sent_at, now, per_minute) == expected


@given(st.lists(st.floats(0, 30), max_size=40), st.integers(1, 10))
def test_no_minute_has_more(pauses: list[float], per_minute: int) -> None:
    """Whenever there is a mail, and each goes as soon as it may."""
    now, sent = 0.0, list[float]()
    for pause in pauses:
        now += pause
        now += wait_s(sent[-per_minute:], now, per_minute)
        sent.append(now)
    for start in sent:
        assert sum(1 for at in sent if start <= at < start + MINUTE_S - 1e-6) <= per_minute


async def test_a_stop_ends_the_wait() -> None:
    stop = asyncio.Event()
    pace = Pace(1, stop)
    assert await pace.turn()
    pace.sent()
    waiting = asyncio.create_task(pace.turn())
    stop.set()
    assert await asyncio.wait_for(waiting, 5) is False


async def test_without_a_limit_nobody_waits() -> None:
    pace = Pace(0, asyncio.Event(), clock=lambda: 0.0)
    for _ in range(100):
        assert await pace.turn()
        pace.sent()
