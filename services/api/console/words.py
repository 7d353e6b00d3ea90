"""Numbers, times and lengths of time in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

#: What stands where there is nothing.
DASH = "\N{EN DASH}"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: float | None, digits: int = 0) -> str:
    """Give a number with its thousands apart; an dash for none."""
    return DASH if value is None else f"{value:,.{digits}f}"


def lasting(seconds: float | None) -> str:
    """Give a length of time in its two largest units: 3 h 12 min."""
    if seconds is None:
        return DASH
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left, words = int(seconds), []
    for size, unit in _UNITS:
        if left >= size:
            words.append(f"{left // size} {unit}")
        left %= size
    return " ".join(words[:2])


def moment(at: datetime, zone: ZoneInfo) -> str:
    """Give a time in a zone, with its offset."""
    local = at.astimezone(zone)
    offset = f"{local:%z}"
    return f"{local:%Y-%m-%d %H:%M:%S} {offset[:3]}:{offset[3:]}"


def size(count: int | None) -> str:
    """Give a file's size."""
    if count is None:
        return DASH
    return f"{count:,} B" if count < 1_000 else f"{count / 1_000:,.0f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Give a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def line(values: Sequence[float], width: int, height: int) -> str:
    """Give the points of a line through values, for an SVG of that size; the highest touches the top."""
    most = max(values, default=0) or 1
    step = width / max(len(values) - 1, 1)
    return " ".join(f"{place * step:.1f},{height - value / most * height:.1f}" for place, value in enumerate(values))
