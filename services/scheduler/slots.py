"""When a route's lots are due: pure. One lot a slot, whoever asks how often: the slot's key is the lot's.

A slot of a day has the local date and time as its key: the hour that autumn has twice gives one lot, and so does the
one that spring leaves out. A slot of an interval has the UTC instant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

#: How long after its time a missed slot is still due.
CATCH_UP = timedelta(hours=6)
#: A slot that is due now has a local date that begins no earlier: where a zone leaves out a whole day, two days back.
DAYS_BACK = 2
DAY_MINUTES = 24 * 60
TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
INTERVAL = re.compile(r"every ([1-9][0-9]{0,3}) minutes")


class ScheduleError(ValueError):
    """An entry of a schedule is neither a time of day nor an interval."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A lot that is due since `occurred_at`, a UTC instant."""

    key: str
    occurred_at: datetime


def latest_due(schedule: Sequence[str], zone: ZoneInfo, now: datetime, created_at: datetime) -> Slot | None:
    """Give the latest slot up to `now`, unless it is older than CATCH_UP or than the route.

    `schedule`: entries such as "20:40", which is local time in `zone`, or "every 30 minutes", counted from midnight
    UTC. Several entries at one instant are one slot.

    Raises:
        ScheduleError: an entry is none of these.
    """
    earliest = max(created_at, now - CATCH_UP)
    slots = (slot for entry in schedule for slot in _slots(entry, zone, now))
    due = [slot for slot in slots if earliest <= slot.occurred_at <= now]
    return max(due, key=lambda slot: (slot.occurred_at, slot.key), default=None)


def check(entry: str) -> None:
    """Raise ScheduleError if an entry is neither a time of day nor an interval."""
    interval = INTERVAL.fullmatch(entry)
    if not TIME_OF_DAY.fullmatch(entry) and not (interval and int(interval[1]) <= DAY_MINUTES):
        raise ScheduleError(f"{entry!r} is neither a time of day such as 20:40 nor such as every 30 minutes")


def _slots(entry: str, zone: ZoneInfo, now: datetime) -> Iterator[Slot]:
    """Give an entry's slots around `now`, of which at least the latest one before it."""
    check(entry)
    if daily := TIME_OF_DAY.fullmatch(entry):
        yield from _daily(time(int(daily[1]), int(daily[2])), zone, now)
    elif interval := INTERVAL.fullmatch(entry):
        yield _within_day(timedelta(minutes=int(interval[1])), now)


def _daily(at: time, zone: ZoneInfo, now: datetime) -> Iterator[Slot]:
    today = now.astimezone(zone).date()
    for days in range(DAYS_BACK + 1):
        day = today - timedelta(days=days)
        # Of an hour that comes twice it is the first; one that is left out comes as if the clock had not been changed.
        yield Slot(f"{day} {at:%H:%M}", datetime.combine(day, at, zone).astimezone(UTC))


def _within_day(interval: timedelta, now: datetime) -> Slot:
    now = now.astimezone(UTC)
    midnight = datetime.combine(now.date(), time(), UTC)
    instant = midnight + (now - midnight) // interval * interval
    return Slot(f"{instant:%Y-%m-%dT%H:%MZ}", instant)
