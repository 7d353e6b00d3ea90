"""What people write by hand, read: yes and no, days, amounts. What can be read in two ways is not read at all."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from unicodedata import decimal, normalize

YES = frozenset({"y", "yes", "true", "1", "x", "✓", "✔", "on"})
NO = frozenset({"n", "no", "false", "0", "off", "not converted"})
_JOINERS = "\u200c\u200d"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "sept"),
    *("october", "november", "december"),
)
_SEPARATOR = r"[\s./,-]+"
_YEAR_FIRST = re.compile(r"(\d{4})[./-](\d{1,2})[./-](\d{1,2})")
_DAY_FIRST = re.compile(rf"(\d{{1,2}}){_SEPARATOR}(\d{{1,2}}){_SEPARATOR}(\d{{4}}|\d{{2}})")
_COMPACT = re.compile(r"(\d{2})(\d{2})(\d{4})")
_DAY_THEN_NAME = re.compile(rf"(\d{{1,2}})(?:st|nd|rd|th)?(?:{_SEPARATOR})?([a-z]+)(?:{_SEPARATOR})?(\d{{4}}|\d{{2}})")
_NAME_THEN_DAY = re.compile(rf"([a-z]+){_SEPARATOR}(\d{{1,2}})(?:st|nd|rd|th)?{_SEPARATOR}(\d{{4}}|\d{{2}})")
_CURRENCY = re.compile(r"^(?:₹|rs\.?|inr|rupees|[$€£¥])\s*|\s*(?:/-|/=|₹|rs\.?|inr|rupees|only|[$€£¥])$")
#: Plain; in thousands; in lakhs and crores; in thousands with the continent's signs.
_PLAIN = re.compile(r"\d+(\.\d{1,2})?")
_THOUSANDS = re.compile(r"\d{1,3}([, ']\d{3})+(\.\d{1,2})?")
_LAKHS = re.compile(r"\d{1,2}(,\d{2})*,\d{3}(\.\d{1,2})?")
_CONTINENTAL = re.compile(r"\d{1,3}(\.\d{3})+,\d{1,2}")
_LARGEST = Decimal("9999999999.99")


def plain(text: str) -> str:
    """One line, spaces once, compatibility forms and other scripts' digits as plain ones."""
    characters = (str(value) if (value := decimal(c, None)) is not None else c for c in normalize("NFKC", text))
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in characters).split())


def read_yes_or_no(text: str) -> bool | None:
    """Whether it says yes; None if it is neither."""
    word = plain(text).rstrip(".!").casefold()
    return True if word in YES else False if word in NO else None


def read_day(text: str) -> date | None:
    """The day, day before month as the sheet's hint says; None if it is none or can be another."""
    word = plain(text).casefold()
    if found := _YEAR_FIRST.fullmatch(word):
        year, month, day = found.groups()
    elif found := _DAY_FIRST.fullmatch(word) or _COMPACT.fullmatch(word):
        day, month, year = found.groups()
    elif found := _DAY_THEN_NAME.fullmatch(word):
        day, month, year = found[1], _month(found[2]), found[3]
    elif found := _NAME_THEN_DAY.fullmatch(word):
        day, month, year = found[2], _month(found[1]), found[3]
    else:
        return None
    return _day(int(year) + (2000 if len(year) == 2 else 0), int(month), int(day))


def read_amount(text: str) -> Decimal | None:
    """The amount, without its currency; None if it is none, or has over ten digits before or two after the point."""
    word = plain(text).casefold()
    while (bare := _CURRENCY.sub("", word).strip()) != word:
        word = bare
    if _CONTINENTAL.fullmatch(word):
        word = word.replace(".", "").replace(",", ".")
    elif not any(form.fullmatch(word) for form in (_PLAIN, _THOUSANDS, _LAKHS)):
        return None
    amount = Decimal(re.sub("[, ']", "", word))
    return amount if amount <= _LARGEST else None


def _month(name: str) -> str:
    """Its number; 0 for a name that is none."""
    is_known = name in _MONTHS or name in _LONG_MONTHS
    return str(_MONTHS.index(name[:3]) + 1) if is_known else "0"


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
