"""Dates as the known systems write them, and how a file means 04/05/2024. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

DayMonth = Literal["day first", "month first"]

_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_CLOCK = (
    r"(?:(?:[T,\s]|at\b)+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?P<offset>z|utc|gmt|[+-]\d{2}:?\d{2})?)?"
)


def _shape(date: str) -> re.Pattern[str]:
    return re.compile(rf"{_WEEKDAY}{date}{_CLOCK}", re.IGNORECASE)


_YEAR_FIRST = _shape(r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})")
_NUMBERS = _shape(r"(?P<one>\d{1,2})(?P<mark>[-/.])(?P<two>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2})")
_DAY_NAME = _shape(r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[-/.\s]+(?P<name>[a-z]{3,9})\.?[-/.,\s]+(?P<year>\d{4}|\d{2})")
_NAME_DAY = _shape(r"(?P<name>[a-z]{3,9})\.?[-\s]+(?P<day>\d{1,2})(?:st|nd|rd|th)?[-,\s]+(?P<year>\d{4})")
_EPOCH = re.compile(r"\d{10}(?:\d{3})?")
_SERIAL = re.compile(r"\d{5}(?:\.\d+)?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: Rows that are looked at before one order is taken for granted.
ORDER_SAMPLE = 1_000


def read_time(text: str, order: DayMonth) -> str:
    """Any way of writing a date that the known systems have → ISO 8601; without an offset where none is written.

    Raises:
        ValueError: it is no date; the message is a reason for a person.
    """
    try:
        return (_read_numbers(text) or _read_written(text, order)).isoformat()
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is no date that can be read ({order})") from None


def _read_numbers(text: str) -> datetime | None:
    """A spreadsheet's serial number, or seconds or milliseconds since 1970."""
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(text[:10]), UTC)
    if _SERIAL.fullmatch(text):
        return datetime(1899, 12, 30) + timedelta(seconds=round(float(text) * 86_400))  # noqa: DTZ001  # no zone known
    return None


def _read_written(text: str, order: DayMonth) -> datetime:
    for shape in (_YEAR_FIRST, _DAY_NAME, _NUMBERS, _NAME_DAY):
        if match := shape.fullmatch(text):
            return _build(match.groupdict(), order)
    raise ValueError(text)


def _build(part: dict[str, str | None], order: DayMonth) -> datetime:
    year = int(part["year"] or 0)
    if year < 100:
        year += 1900 if year >= 70 else 2000
    day, month = _day_and_month(part, order)
    hour = int(part["hour"] or 0)
    if half := part["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(hour)
        hour = hour % 12 + (12 if half[0] in "pP" else 0)
    return datetime(year, month, day, hour, int(part["minute"] or 0), int(part["second"] or 0), tzinfo=_zone(part))


def _day_and_month(part: dict[str, str | None], order: DayMonth) -> tuple[int, int]:
    if name := part.get("name"):
        return int(part["day"] or 0), _MONTHS.index(name[:3].casefold()) + 1
    if "one" not in part:
        return int(part["day"] or 0), int(part["month"] or 0)
    one, two = int(part["one"] or 0), int(part["two"] or 0)
    # 05.04.2024 is written where the day comes first, whatever the file's slashes mean.
    return (one, two) if order == "day first" or part["mark"] == "." else (two, one)


def _zone(part: dict[str, str | None]) -> timezone | None:
    offset = part["offset"]
    if offset is None or offset[0] not in "+-":
        return UTC if offset else None
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


@dataclass(frozen=True, slots=True)
class DateOrder:
    """How 04/05/2024 is read in this file, and why."""

    order: DayMonth
    #: In words; None where no date of the file leaves it open.
    evidence: str | None = None

    def __str__(self) -> str:
        return f"{self.order} ({self.evidence})" if self.evidence else self.order


def find_date_order(values: Iterable[tuple[int, str]], default: DayMonth) -> DateOrder:
    """Decide by the values (line, text): the majority of those with a number above 12; read on until there is one."""
    votes: Counter[DayMonth] = Counter()
    first: dict[DayMonth, str] = {}
    is_open = False
    for count, (line, text) in enumerate(values):
        if count >= ORDER_SAMPLE and (votes or not is_open):
            break
        match = _NUMBERS.fullmatch(text)
        if match is None or match["mark"] == ".":
            continue
        is_open = True
        one, two = int(match["one"]), int(match["two"])
        if (one > 12) != (two > 12):
            order: DayMonth = "day first" if one > 12 else "month first"
            votes[order] += 1
            first.setdefault(order, f"line {line} has {text}")
    if not is_open:
        return DateOrder(default)
    if not votes:
        return DateOrder(default, "assumed: no date of the file tells")
    order = votes.most_common(1)[0][0]
    return DateOrder(order, first[order])
