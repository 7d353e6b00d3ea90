"""What came back on a sheet: field values → outcomes, and what a person must look at. Pure.

A row is taken or goes to review as a whole: half of what an agent wrote may say something else than all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import islice

from services.documents.seals import Manifest, row_signature
from services.documents.sheet import FIELDS, MANIFEST, PAYMENT_MODES, ROWS_A_PAGE, SheetRow, read_field_name, row_lines
from services.documents.written import plain, read_amount, read_day, read_yes_or_no

_NAMES = frozenset(field.name for field in FIELDS)
_LABELS = {field.name: field.label for field in FIELDS}
#: What says something about an order, and so needs Conv.
_ORDER = ("order_no", "order_date", "value", "payment_mode", "payment_amt")
_LONGEST = {field.name: field.max_length for field in FIELDS if field.max_length}
_LONGEST_CODE = 64
#: Rows that are none of the sheet's are shown up to here: a file may claim any number.
MOST_STRANGERS = 20
_EARLIEST = date(2000, 1, 1)
#: What a page says where its text can still be read.
_LEGIBLE = "PageGroupCode:"

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReturnedForm:
    """A file as it came back: what may be its manifest, its fields by full name, and the text of each page."""

    manifests: tuple[str, ...]
    fields: Mapping[str, str]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Filled:
    """What an agent wrote about a lead."""

    is_converted: bool | None = None
    order_number: str | None = None
    order_date: date | None = None
    order_value: Decimal | None = None
    payment_mode: str | None = None
    payment_amount: Decimal | None = None
    remarks: str | None = None

    @property
    def is_won(self) -> bool:
        """Whether the lead is closed by it."""
        return bool(self.is_converted and self.order_number)


@dataclass(frozen=True, slots=True)
class Printed:
    """An assignment that the sheet was printed for, as it stands now. `held_by`: who has the lead, if anybody."""

    assignment_id: int
    lead_id: str
    agent_code: str
    row: SheetRow
    is_current: bool
    is_begun: bool
    held_by: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be recorded for an assignment."""

    printed: Printed
    filled: Filled


@dataclass(frozen=True, slots=True)
class Review:
    """What a person must look at: the row as it was filled in, and why it was not taken, or not simply."""

    code: str
    reason: str
    values: Values
    printed: Printed | None = None


def judge(
    form: ReturnedForm, manifest: Manifest, printed: Mapping[str, Printed], *, key: bytes, today: date
) -> tuple[list[Outcome], list[Review]]:
    """Part a sheet's rows into outcomes and reviews; a row that nobody has touched is neither.

    A lead that is another's by now has both. `printed`: the sheet's assignments by code. `key`: the manifest's.
    """
    outcomes: list[Outcome] = []
    reviews: list[Review] = []
    sent = rows_of(form.fields)
    strange = islice((code for code in sent if code not in manifest.rows), MOST_STRANGERS)
    for code in (*manifest.rows, *strange):
        values, of_row = sent.get(code, {}), printed.get(code)
        if problem := _unlike_printed(form, manifest, code, of_row, key) if code in manifest.rows else "":
            reviews.append(Review(code, problem, values, of_row))
        elif values and (code not in manifest.rows or of_row is None):
            reviews.append(Review(plain(code)[:_LONGEST_CODE], f"the code {code!r} is none of this sheet's", values))
        elif values and of_row is not None:
            filled, problems = read_row(values, today)
            if problems:
                reviews.append(Review(code, "; ".join(problems), values, of_row))
                continue
            outcomes.append(Outcome(of_row, filled))
            if not of_row.is_current:
                reviews.append(Review(code, _given_away(of_row), values, of_row))
    return outcomes, reviews


def rows_of(fields: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Give what was filled in, by the lead's code and the field; what is blank is left out."""
    rows: dict[str, dict[str, str]] = {}
    for name, value in fields.items():
        code, field = read_field_name(name)
        if field in _NAMES and code != MANIFEST and (text := plain(value)):
            rows.setdefault(code, {})[field] = text
    return rows


def read_row(values: Values, today: date) -> tuple[Filled, list[str]]:
    """Read a row that has been touched; with what cannot be right about it, in words."""
    conv = values.get("conv")
    filled = Filled(
        is_converted=read_yes_or_no(conv) if conv else None,
        order_number=values.get("order_no"),
        order_date=read_day(values.get("order_date", "")),
        order_value=read_amount(values.get("value", "")),
        payment_mode=_payment_mode(values.get("payment_mode", "")),
        payment_amount=read_amount(values.get("payment_amt", "")),
        remarks=values.get("remarks"),
    )
    return filled, [*_unread(values, filled), *_contradictions(values, filled, today)]


def _unread(values: Values, filled: Filled) -> Iterator[str]:
    """What is written, and is not what is asked for."""
    read = {
        "conv": (filled.is_converted, "neither Y nor N"),
        "order_date": (filled.order_date, "no date as DD/MM/YYYY"),
        "value": (filled.order_value, "no amount"),
        "payment_mode": (filled.payment_mode, f"none of {', '.join(PAYMENT_MODES)}"),
        "payment_amt": (filled.payment_amount, "no amount"),
    }
    for name, (value, wanted) in read.items():
        if name in values and value is None:
            yield f"{_LABELS[name]} says {values[name]!r}, which is {wanted}"
    for name, longest in _LONGEST.items():
        if len(values.get(name, "")) > longest:
            yield f"{_LABELS[name]} has more than {longest} characters"


def _contradictions(values: Values, filled: Filled, today: date) -> Iterator[str]:
    """What can be read, and cannot be so."""
    about_order = [_LABELS[name] for name in _ORDER if name in values]
    if about_order and "conv" not in values:
        yield f"Conv is empty, but there is {', '.join(about_order)}"
    if about_order and filled.is_converted is False:
        yield f"Conv says no, but there is {', '.join(about_order)}"
    if filled.order_date is not None and not _EARLIEST <= filled.order_date <= today:
        yield f"Order Date {filled.order_date.isoformat()} is not in the past"


def _unlike_printed(form: ReturnedForm, manifest: Manifest, code: str, printed: Printed | None, key: bytes) -> str:
    """Say how the row's first line differs from what our records say was printed; nothing if it does not."""
    if printed is None:
        return ""
    signature = row_signature(manifest.sheet_key, printed.row, key)
    if signature != manifest.rows[code]:
        return "what was printed of the lead is not what our records say"
    text = _page_of(form.texts, manifest, code)
    missing = [line for line in _plain_lines(printed.row) if _LEGIBLE in text and _squeezed(line) not in text]
    return f"the printed row was changed: {missing[0]!r} is not on the page" if missing else ""


def _page_of(texts: Sequence[str], manifest: Manifest, code: str) -> str:
    """The text of the row's page, without spaces; nothing where pages were taken out or added."""
    if len(texts) != -(-len(manifest.rows) // ROWS_A_PAGE):
        return ""
    return _squeezed(texts[list(manifest.rows).index(code) // ROWS_A_PAGE])


def _plain_lines(row: SheetRow) -> list[str]:
    """What of a row any tool reads back as it was printed: other scripts and accents depend on the tool."""
    return [line.text for line in row_lines(row) if line.text.isascii()]


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _payment_mode(text: str) -> str | None:
    return next((mode for mode in PAYMENT_MODES if mode.casefold() == text.casefold()), None)


def _given_away(printed: Printed) -> str:
    now = f"agent {printed.held_by} has it now" if printed.held_by else "nobody has it now"
    return f"the lead was taken from agent {printed.agent_code} before the sheet came back: {now}"
