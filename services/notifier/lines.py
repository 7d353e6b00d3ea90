"""What stays on its line: text that comes from people and may hold anything, as a mail can say it."""

from __future__ import annotations

from datetime import datetime
from unicodedata import category

_LONGEST_NAME = 80
#: Scripts of India need them inside words.
_JOINERS = "\u200c\u200d"


def one_line(value: object, limit: int = _LONGEST_NAME) -> str:
    """The value as text that stays on its line: no control, no formatting and no broken characters."""
    text = "" if value is None else str(value)[: limit * 4]
    line = " ".join("".join(map(_kept, text)).split())
    # Python decodes what looks like an encoded word in a header that is set, line breaks in it too.
    return _cut(line.replace("=?", "= ?"), limit)


def moment(at: datetime | None, zone: str | None) -> str:
    """A time that is in its zone already, with its offset: `2025-11-21 15:00 +05:30 (Asia/Kolkata)`."""
    if at is None:
        return ""
    named = f" ({one_line(zone)})" if zone else ""
    return f"{at.isoformat(sep=' ', timespec='minutes')[:16]} {at.isoformat()[-6:]}{named}"


def _kept(character: str) -> str:
    match category(character):
        case "Cf" if character not in _JOINERS:
            return ""
        case "Cc" | "Cn" | "Co" | "Cs" | "Zl" | "Zp" | "Zs":
            return " "
        case _:
            return character


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
