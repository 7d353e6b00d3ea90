"""When lots are due, in any zone and on the days when clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.slots import CATCH_UP, ScheduleError, Slot, latest_due

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
KOLKATA, BERLIN, NEW_YORK = "Asia/Kolkata", "Europe/Berlin", "America/New_York"
ZONES = (KOLKATA, BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns")

case = pytest.param


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + "+00:00")


def due(schedule: str, zone: str, now: str, created_at: datetime = LONG_AGO) -> tuple[str, str] | None:
    """The key and the instant of the slot that is due."""
    slot = latest_due(schedule.split(", "), ZoneInfo(zone), at(now), created_at)
    return None if slot is None else (slot.key, f"{slot.occurred_at:%Y-%m-%d %H:%M}")


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "expected"),
    [
        case("20:40", KOLKATA, "2026-01-05 15:09:59", None, id="a second too early"),
        case("20:40", KOLKATA, "2026-01-05 15:10", ("2026-01-05 20:40", "2026-01-05 15:10"), id="its moment"),
        case("20:40", KOLKATA, "2026-01-05 21:10", ("2026-01-05 20:40", "2026-01-05 15:10"), id="6 h later"),
        case("20:40", KOLKATA, "2026-01-05 21:10:01", None, id="more than 6 h later"),
        case("20:40", KOLKATA, "2026-01-05 19:00", ("2026-01-05 20:40", "2026-01-05 15:10"), id="next day there"),
        case("20:40", NEW_YORK, "2026-01-06 02:00", ("2026-01-05 20:40", "2026-01-06 01:40"), id="next day here"),
        case("09:00, 12:00", KOLKATA, "2026-01-05 06:31", ("2026-01-05 12:00", "2026-01-05 06:30"), id="latest"),
        case("12:00, 09:00", KOLKATA, "2026-01-05 06:29", ("2026-01-05 09:00", "2026-01-05 03:30"), id="before it"),
        case("02:30", BERLIN, "2026-03-29 01:29", None, id="in spring, before the hour that is left out"),
        case("02:30", BERLIN, "2026-03-29 01:30", ("2026-03-29 02:30", "2026-03-29 01:30"), id="spring"),
        case("02:30", BERLIN, "2026-10-25 00:30", ("2026-10-25 02:30", "2026-10-25 00:30"), id="autumn"),
        case("02:30", BERLIN, "2026-10-25 01:30", ("2026-10-25 02:30", "2026-10-25 00:30"), id="autumn, again"),
        case("01:30", NEW_YORK, "2026-11-01 06:45", ("2026-11-01 01:30", "2026-11-01 05:30"), id="its autumn"),
        case("20:40", BERLIN, "2026-03-28 19:40", ("2026-03-28 20:40", "2026-03-28 19:40"), id="winter time"),
        case("20:40", BERLIN, "2026-03-29 18:40", ("2026-03-29 20:40", "2026-03-29 18:40"), id="summer time"),
        case("22:00", "Pacific/Apia", "2011-12-30 12:00", ("2011-12-29 22:00", "2011-12-30 08:00"), id="no 30th"),
        case("every 30 minutes", KOLKATA, "2026-01-05 10:44", ("2026-01-05T10:30Z", "2026-01-05 10:30"), id="half"),
        case("every 7 minutes", KOLKATA, "2026-01-05 23:59", ("2026-01-05T23:55Z", "2026-01-05 23:55"), id="odd"),
        case("every 7 minutes", KOLKATA, "2026-01-06 00:00", ("2026-01-06T00:00Z", "2026-01-06 00:00"), id="anew"),
        case("every 30 minutes", BERLIN, "2026-10-25 01:00", ("2026-10-25T01:00Z", "2026-10-25 01:00"), id="3rd"),
        case("every 1440 minutes", KOLKATA, "2026-01-05 06:01", None, id="midnight is too long ago"),
    ],
)  # fmt: skip
def test_the_slot_that_is_due(schedule: str, zone: str, now: str, expected: tuple[str, str] | None) -> None:
    """The latest up to now, of the last six hours; local time for a time of day, UTC for an interval."""
    assert due(schedule, zone, now) == expected


def test_a_slot_before_the_route_was_made_is_not_due() -> None:
    """One at the moment it was made is."""
    assert due("20:40", KOLKATA, "2026-01-05 15:11", created_at=at("2026-01-05 15:10:01")) is None
    assert due("20:40", KOLKATA, "2026-01-05 15:11", created_at=at("2026-01-05 15:10")) is not None


def test_two_entries_at_one_instant_are_one_slot() -> None:
    """In whatever order they stand."""
    both = due("17:30, every 30 minutes", KOLKATA, "2026-01-05 12:10")

    assert both == due("every 30 minutes, 17:30", KOLKATA, "2026-01-05 12:10")


@pytest.mark.parametrize("entry", ["24:00", "9:00", "20:40:00", "every 0 minutes", "every 1441 minutes", "daily", ""])
def test_what_is_no_schedule_is_refused(entry: str) -> None:
    """In words that name it."""
    with pytest.raises(ScheduleError, match=f"{entry!r} is neither"):
        due(entry, KOLKATA, "2026-01-05 12:00")


times = st.times().map(lambda time: f"{time:%H:%M}")
intervals = st.integers(1, 1440).map(lambda minutes: f"every {minutes} minutes")
schedules = st.lists(times | intervals, min_size=1, max_size=3)
moments = st.datetimes(datetime(2011, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(schedules, st.sampled_from(ZONES), moments, moments)
def test_what_is_due_has_come_and_is_neither_too_old_nor_older_than_its_route(
    schedule: list[str], zone: str, now: datetime, created_at: datetime
) -> None:
    """And it stays due, under the same key, until the next one comes or its six hours are over."""
    slot = latest_due(schedule, ZoneInfo(zone), now, created_at)

    if slot is None:
        return
    assert max(created_at, now - CATCH_UP) <= slot.occurred_at <= now
    assert latest_due(schedule, ZoneInfo(zone), slot.occurred_at, created_at) == slot


@given(times, st.sampled_from(ZONES), moments)
def test_a_time_of_day_is_due_once_a_day(entry: str, zone: str, start: datetime) -> None:
    """Looked at for a week as often as it may be missed, every date that the week has in full has its one slot."""
    step = timedelta(hours=5)
    looks = [start + step * number for number in range(7 * 24 // 5)]
    slots = {slot for now in looks if (slot := latest_due([entry], ZoneInfo(zone), now, LONG_AGO)) is not None}

    keys = [slot.key for slot in slots]
    assert len(set(keys)) == len(keys)
    days = {now.astimezone(ZoneInfo(zone)).date() for now in looks}
    assert {f"{day} {entry}" for day in sorted(days)[1:-1]} <= set(keys)


@given(st.integers(1, 360), moments)
def test_an_interval_is_due_at_its_multiples_of_a_utc_day(minutes: int, now: datetime) -> None:
    """The latest of them, less than an interval ago."""
    slot = latest_due([f"every {minutes} minutes"], ZoneInfo(KOLKATA), now, LONG_AGO)

    assert isinstance(slot, Slot)
    assert (slot.occurred_at.hour * 60 + slot.occurred_at.minute) % minutes == 0
    assert now - slot.occurred_at < timedelta(minutes=minutes)
