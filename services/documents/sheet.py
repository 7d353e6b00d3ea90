"""What the sheet that an agent fills in says, and where: facts → lines, cells and fields.

Each lead has a row that is printed and, under it, a row of form fields named `{lead_assignment_code}.{field}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from unicodedata import category, normalize

from services.documents.fonts import Weight, face


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One lead on a sheet. What is None is printed as blank."""

    lead_assignment_code: str
    rowid: int | None
    lead_date: date | None
    lead_type: str | None
    mobile_number: str | None
    customer_name: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class SheetFacts:
    """All that a sheet says. Rows are printed in this order; their codes are distinct."""

    sheet_key: str
    page_group_code: str | None
    agent_code: str | None
    agent_name: str | None
    batch_date: date | None
    rows: tuple[SheetRow, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in points, from its lower left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text from (x, baseline), and the box that it stays in."""

    text: str
    x: float
    baseline: float
    size: float
    weight: Weight
    box: Box


@dataclass(frozen=True, slots=True)
class Field:
    """A field to fill in. With choices it is a list to choose from."""

    name: str
    label: str
    hint: str
    width: float
    max_length: int = 0
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A printed cell: which attribute of the row, under which label."""

    attribute: str
    label: str
    width: float
    size: float = 10.5
    weight: Weight = Weight.REGULAR


#: The name of the hidden field that says which sheet this is, signed. No code of a lead: they have digits.
MANIFEST = "leadline"
PAYMENT_MODES = ("Cash", "Card", "UPI", "Bank transfer", "Cheque", "Other")
#: The fields of each lead, in tab order. Their names are what a returned sheet is read by.
FIELDS = (
    Field("conv", "Conv", "Y/N", 60, choices=("", "Y", "N")),
    Field("order_no", "Order No", "", 122, max_length=64),
    Field("order_date", "Order Date", "DD/MM/YYYY", 112, max_length=32),
    Field("value", "Value", "0.00", 90, max_length=32),
    Field("payment_mode", "Payment Mode", "", 106, choices=("", *PAYMENT_MODES)),
    Field("payment_amt", "Payment Amt", "0.00", 98, max_length=32),
    Field("remarks", "Remarks", "", 186, max_length=500),
)
COLUMNS = (
    Column("rowid", "Row", 48, 12, Weight.BOLD),
    Column("lead_date", "Lead Date", 76),
    Column("lead_type", "Type", 36, weight=Weight.BOLD),
    Column("mobile_number", "Mobile No", 112, weight=Weight.BOLD),
    Column("customer_name", "Customer Name", 190, weight=Weight.BOLD),
    Column("address", "Address", 312),
)

PAGE = Box(0, 0, 841.89, 595.28)
MARGIN, FOOT = 34.0, 24.0
WIDTH = 774.0
HEADER = Box(MARGIN, PAGE.height - 62, WIDTH, 38)
FIELD_ROW, PRINTED_ROW, GAP = 28.0, 38.0, 4.0
BLOCK = FIELD_ROW + PRINTED_ROW
ROWS_A_PAGE = 7
_PADDING = 3.0
_LABEL_SIZE, _FIELD_LABEL = 7.5, 10.0
_FIRST_BASELINE, _LEADING = 20.5, 12.5
_LONGEST_TEXT = 500
_ELLIPSIS = "…"
#: Two marks on a composed letter would stand in the next line.
_PILE_OF_MARKS = re.compile("([\u0300-\u036f])[\u0300-\u036f]+")
_INSTRUCTION = "Fill in the white fields, save, and send this file back."


def field_name(lead_assignment_code: str, field: str) -> str:
    """The full name of a form field."""
    return f"{partial_name(lead_assignment_code)}.{field}"


def read_field_name(name: str) -> tuple[str, str]:
    """The code and the field that `field_name` was given."""
    code, _, field = name.rpartition(".")
    return code.replace("%2E", ".").replace("%25", "%"), field


def partial_name(code: str) -> str:
    """A dot parts the names of a form's levels, so a code's own dots are written otherwise."""
    return code.replace("%", "%25").replace(".", "%2E")


def header_lines(facts: SheetFacts, number: int, count: int, code: str = "") -> list[Line]:
    """What stands on top and at the foot of each page; `code` is what the page is signed by."""
    left, right = Box(HEADER.x, HEADER.y, 560, HEADER.height), Box(HEADER.x + 574, HEADER.y, 200, HEADER.height)
    foot_left, foot_right = Box(MARGIN, FOOT, 380, 11), Box(MARGIN + 394, FOOT, 380, 11)
    agent = " - ".join(filter(None, (clean(facts.agent_code), clean(facts.agent_name))))
    return [
        _fitted(f"Page Group Code: {clean(facts.page_group_code)}", 14, Weight.BOLD, left, 24),
        _fitted(f"Agent: {agent}", 12, Weight.BOLD, left, 7),
        _flush_right(f"Batch Date: {clean(facts.batch_date)}", 12, Weight.BOLD, right, 24),
        _flush_right(f"Page {number} of {count}", 10.5, Weight.REGULAR, right, 7),
        _fitted(_INSTRUCTION, _LABEL_SIZE, Weight.REGULAR, foot_left, 3),
        _flush_right(
            " · ".join(filter(None, (code, clean(facts.sheet_key)))), _LABEL_SIZE, Weight.REGULAR, foot_right, 3
        ),
    ]


def row_lines(row: SheetRow) -> list[Line]:
    """A lead's printed values, two lines at most in each cell, from the block's lower left corner."""
    return [
        Line(text, box.x + _PADDING, BLOCK - _FIRST_BASELINE - _LEADING * place, column.size, column.weight, box)
        for column, box in zip(COLUMNS, printed_boxes(), strict=True)
        for place, text in enumerate(
            wrap(clean(getattr(row, column.attribute)), box.width - 2 * _PADDING, column.size, column.weight, lines=2)
        )
    ]


def label_lines() -> list[Line]:
    """The labels of a lead's cells and fields."""
    printed = [(column.label, box) for column, box in zip(COLUMNS, printed_boxes(), strict=True)]
    fields = [(field_label(field), box) for field, box in zip(FIELDS, field_boxes(), strict=True)]
    return [
        Line(label, box.x + _PADDING, box.y + box.height - 8, _LABEL_SIZE, Weight.REGULAR, box)
        for label, box in [*printed, *fields]
    ]


def field_label(field: Field, brackets: str = "()") -> str:
    """A field's label, with its hint in these brackets."""
    return f"{field.label} {brackets[0]}{field.hint}{brackets[1]}" if field.hint else field.label


@cache
def printed_boxes() -> tuple[Box, ...]:
    """The cells of the printed row, from the block's lower left corner."""
    return tuple(_side_by_side([column.width for column in COLUMNS], FIELD_ROW, PRINTED_ROW))


@cache
def field_boxes() -> tuple[Box, ...]:
    """The cells of the row to fill in. A field takes its cell's width, under the label."""
    return tuple(_side_by_side([field.width for field in FIELDS], 0, FIELD_ROW))


def input_box(box: Box) -> Box:
    """Where the field lies in its cell."""
    return Box(box.x + 0.5, box.y + 0.5, box.width - 1, box.height - _FIELD_LABEL - 1)


def bottom(place: int) -> float:
    """Where the block at this place of a page stands."""
    return HEADER.y - (place + 1) * (BLOCK + GAP)


def clean(value: object) -> str:
    """One line of what can be printed. Control characters are spaces, what is no character shows as a box."""
    text = "" if value is None else str(value)[:_LONGEST_TEXT]
    if not text.isascii() or not text.isprintable():
        text = _PILE_OF_MARKS.sub(r"\1", "".join(map(_printable, normalize("NFC", text))))
    return " ".join(text.split())


def wrap(text: str, width: float, size: float, weight: Weight, *, lines: int) -> list[str]:
    """The text in at most so many lines of at most this width, broken between words where there are any."""
    broken: list[str] = []
    room = width * 1000 / size
    while text:
        cut = face(weight).fitting(text, room)
        if cut == len(text):
            return [*broken, text]
        if len(broken) == lines - 1:
            cut = face(weight).fitting(text, room - face(weight).width(_ELLIPSIS))
            return [*broken, text[:cut].rstrip() + _ELLIPSIS]
        space = text.rfind(" ", 1, cut + 1)
        end = space if space > 0 else max(cut, 1)
        broken.append(text[:end])
        text = text[end:].lstrip()
    return broken


def _side_by_side(widths: Iterable[float], y: float, height: float) -> Iterator[Box]:
    x = 0.0
    for width in widths:
        yield Box(x, y, width, height)
        x += width


def _fitted(text: str, size: float, weight: Weight, box: Box, above: float) -> Line:
    [line] = wrap(text, box.width, size, weight, lines=1) or [""]
    return Line(line, box.x, box.y + above, size, weight, box)


def _flush_right(text: str, size: float, weight: Weight, box: Box, above: float) -> Line:
    line = _fitted(text, size, weight, box, above)
    return replace(line, x=box.x + box.width - face(weight).width(line.text) * size / 1000)


def _printable(character: str) -> str:
    """The character itself if it can stand in a line of text."""
    match category(character):
        case "Cs" | "Co" | "Cn":
            return "\ufffd"
        case "Cc" | "Zl" | "Zp" | "Zs":
            return " "
        case "Cf" if character not in "\u200c\u200d":
            return ""
        case _:
            return character
