"""The sheet that an agent fills in: facts → PDF bytes, by nothing but arithmetic. The same facts are the same bytes.

Each lead has a row that is printed and, under it, a row of form fields named `{lead_assignment_code}.{field}`. Each
field has an appearance of its own: a shared one makes sheets smaller, but tools that fill fields in place (pypdf) would
then show the text of the last field in all of them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from unicodedata import category, normalize

from reportlab.pdfbase.acroform import PDFFromString
from reportlab.pdfbase.pdfdoc import PDFDocument

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
_FONTS = {Weight.REGULAR: "R", Weight.BOLD: "B"}
_COMBO = 1 << 17


def render(facts: SheetFacts) -> bytes:
    """The sheet as a PDF of A4 pages with a form."""
    pages = [facts.rows[start : start + ROWS_A_PAGE] for start in range(0, len(facts.rows), ROWS_A_PAGE)] or [()]
    ink = _Ink()
    contents = [ink.page(header_lines(facts, number, len(pages)), rows) for number, rows in enumerate(pages, 1)]
    document = _Document(facts)
    document.add_fonts(ink.used)
    for content, rows in zip(contents, pages, strict=True):
        document.add_page(content, rows)
    return document.finish()


def field_name(lead_assignment_code: str, field: str) -> str:
    """The full name of a form field."""
    return f"{_partial_name(lead_assignment_code)}.{field}"


def read_field_name(name: str) -> tuple[str, str]:
    """The code and the field that `field_name` was given."""
    code, _, field = name.rpartition(".")
    return code.replace("%2E", ".").replace("%25", "%"), field


def header_lines(facts: SheetFacts, number: int, count: int) -> list[Line]:
    """What stands on top and at the foot of each page."""
    left, right = Box(HEADER.x, HEADER.y, 560, HEADER.height), Box(HEADER.x + 574, HEADER.y, 200, HEADER.height)
    foot_left, foot_right = Box(MARGIN, FOOT, 380, 11), Box(MARGIN + 394, FOOT, 380, 11)
    agent = " - ".join(filter(None, (clean(facts.agent_code), clean(facts.agent_name))))
    return [
        _fitted(f"Page Group Code: {clean(facts.page_group_code)}", 14, Weight.BOLD, left, 24),
        _fitted(f"Agent: {agent}", 12, Weight.BOLD, left, 7),
        _flush_right(f"Batch Date: {clean(facts.batch_date)}", 12, Weight.BOLD, right, 24),
        _flush_right(f"Page {number} of {count}", 10.5, Weight.REGULAR, right, 7),
        _fitted(_INSTRUCTION, _LABEL_SIZE, Weight.REGULAR, foot_left, 3),
        _flush_right(clean(facts.sheet_key), _LABEL_SIZE, Weight.REGULAR, foot_right, 3),
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
    fields = [(_label(field), box) for field, box in zip(FIELDS, field_boxes(), strict=True)]
    return [
        Line(label, box.x + _PADDING, box.y + box.height - 8, _LABEL_SIZE, Weight.REGULAR, box)
        for label, box in [*printed, *fields]
    ]


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


class _Ink:
    """Page contents, and the glyphs that they use."""

    def __init__(self) -> None:
        self.used: dict[Weight, set[int]] = {weight: set() for weight in Weight}

    def page(self, header: Iterable[Line], rows: Iterable[SheetRow]) -> bytes:
        """The operators that print a page."""
        rule = f"1 w {HEADER.x:g} {HEADER.y:g} m {HEADER.x + HEADER.width:g} {HEADER.y:g} l S"
        blocks = [self._block(row, place) for place, row in enumerate(rows)]
        return "\n".join([rule, self.text(header), *blocks]).encode()

    def _block(self, row: SheetRow, place: int) -> str:
        frame, glyphs = _frame()
        self.used[Weight.REGULAR] |= glyphs
        return f"q 1 0 0 1 {MARGIN:g} {_bottom(place):g} cm\n{frame}\n{self.text(row_lines(row))}\nQ"

    def text(self, lines: Iterable[Line]) -> str:
        """The operators that print these lines."""
        return "\n".join(["BT", *map(self._line, lines), "ET"])

    def _line(self, line: Line) -> str:
        glyphs = face(line.weight).show(line.text, line.size)
        self.used[line.weight] |= glyphs.numbers
        return f"/{_FONTS[line.weight]} {line.size:g} Tf 1 0 0 1 {line.x:.2f} {line.baseline:.2f} Tm {glyphs.operators}"


class _Document:
    """ReportLab's document, given finished objects: building a form field by field is what makes it slow."""

    def __init__(self, facts: SheetFacts) -> None:
        self._document = PDFDocument(invariant=1, compression=1, pdfVersion=(1, 7), lang="en")
        self._document.setTitle(clean(f"Leads {clean(facts.page_group_code)}"))
        self._document.setSubject(clean(facts.sheet_key))
        self._document.setAuthor("Leadline")
        self._document.Reference(self._document.Pages)
        self._pages = self._document.objectcounter
        self._helvetica = self._add(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
        self._parents: list[int] = []
        self._resources = 0

    def add_fonts(self, used: dict[Weight, set[int]]) -> None:
        """Embed what the pages use. Comes before them."""
        fonts = "".join(f"/{_FONTS[weight]} {face(weight).embed(used[weight], self._add)} 0 R" for weight in Weight)
        self._resources = self._add(f"<</ProcSet[/PDF/Text]/Font<<{fonts}>>>>".encode())

    def add_page(self, content: bytes, rows: Sequence[SheetRow]) -> None:
        """Add a page with the fields of its rows."""
        self._document.updateSignature(content)
        packed = zlib.compress(content)
        stream = self._add(b"<</Filter/FlateDecode/Length %d>>stream\n%b\nendstream" % (len(packed), packed))
        page = self._next + len(rows) * (1 + 2 * len(FIELDS))
        widgets = [number for place, row in enumerate(rows) for number in self._add_fields(row, place, page)]
        self._add_object(
            page_object := PDFFromString(
                f"<</Type/Page/Parent {self._pages} 0 R/MediaBox[0 0 {PAGE.width:g} {PAGE.height:g}]/Tabs/R"
                f"/Resources {self._resources} 0 R/Contents {stream} 0 R/Annots[{_references(widgets)}]>>".encode()
            )
        )
        self._document.Pages.addPage(page_object)

    def finish(self) -> bytes:
        """The whole file."""
        self._document.Catalog.AcroForm = PDFFromString(
            f"<</Fields[{_references(self._parents)}]/DA(/Helv 10 Tf 0 g)"
            f"/DR<</Font<</Helv {self._helvetica} 0 R>>>>>>".encode()
        )
        return bytes(self._document.GetPDFData(None))

    def _add_fields(self, row: SheetRow, place: int, page: int) -> list[int]:
        """Add the row's node and under it its fields, each with its appearance; the fields' object numbers."""
        parent = self._next
        widgets = [parent + 1 + 2 * index for index in range(len(FIELDS))]
        name = _pdf_text(_partial_name(row.lead_assignment_code))
        self._parents.append(self._add(b"<</T%b/Kids[%b]>>" % (name, _references(widgets).encode())))
        row_name = "" if row.rowid is None else f"Row {row.rowid}: "
        for number, form in zip(widgets, _forms(), strict=True):
            x, y = MARGIN + form.box.x, _bottom(place) + form.box.y
            self._add(
                b"<</Parent %d 0 R/P %d 0 R/AP<</N %d 0 R>>/Rect[%.2f %.2f %.2f %.2f]/TU(%b%b>>"
                % (
                    parent,
                    page,
                    number + 1,
                    x,
                    y,
                    x + form.box.width,
                    y + form.box.height,
                    row_name.encode(),
                    form.rest,
                )
            )
            self._add(form.appearance % self._helvetica)
        return widgets

    @property
    def _next(self) -> int:
        return int(self._document.objectcounter) + 1

    def _add(self, body: bytes) -> int:
        return self._add_object(PDFFromString(body))

    def _add_object(self, body: PDFFromString) -> int:
        self._document.Reference(body)
        return int(self._document.objectcounter)


@dataclass(frozen=True, slots=True)
class _Form:
    """What all fields of one column have in common, as bytes."""

    box: Box
    rest: bytes
    appearance: bytes


@cache
def _forms() -> tuple[_Form, ...]:
    return tuple(_form(field, input_box(box)) for field, box in zip(FIELDS, field_boxes(), strict=True))


def _form(field: Field, box: Box) -> _Form:
    if field.choices:
        options = "".join(f"({choice})" for choice in field.choices)
        kind = f"/FT/Ch/Ff {_COMBO}/Opt[{options}]"
    else:
        kind = f"/FT/Tx/MaxLen {field.max_length}"
    rest = f"{_label(field, brackets='[]')})/T({field.name}){kind}/DA(/Helv 10 Tf 0 g)/Type/Annot/Subtype/Widget/F 4"
    appearance = (
        f"<</Type/XObject/Subtype/Form/BBox[0 0 {box.width:.2f} {box.height:.2f}]/Resources<</Font<</Helv %d 0 R>>>>"
        f"/Length {len(_EMPTY)}>>stream\n{_EMPTY}\nendstream"
    )
    return _Form(box, rest.encode(), appearance.encode())


_EMPTY = "/Tx BMC EMC"


def _label(field: Field, brackets: str = "()") -> str:
    return f"{field.label} {brackets[0]}{field.hint}{brackets[1]}" if field.hint else field.label


def _bottom(place: int) -> float:
    """Where the block at this place of a page stands."""
    return HEADER.y - (place + 1) * (BLOCK + GAP)


def _side_by_side(widths: Iterable[float], y: float, height: float) -> Iterator[Box]:
    x = 0.0
    for width in widths:
        yield Box(x, y, width, height)
        x += width


@cache
def _frame() -> tuple[str, frozenset[int]]:
    """What is the same in each lead's block: shade, lines, the edge where all text ends, labels; and their glyphs."""
    shade = f"0.94 g 0 {FIELD_ROW:g} {WIDTH:g} {PRINTED_ROW:g} re f 0 g"
    boxes = (*printed_boxes(), *field_boxes())
    cells = " ".join(f"{box.x:g} {box.y:g} {box.width:g} {box.height:g} re" for box in boxes)
    ink = _Ink()
    labels = ink.text(label_lines())
    outline = f"0 0 {WIDTH:g} {BLOCK:g} re"
    frame = f"{shade} 0.5 w {cells} S 1.2 w {outline} S {outline} W n\n{labels}"
    return frame, frozenset(ink.used[Weight.REGULAR])


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


def _partial_name(code: str) -> str:
    """A dot parts the names of a form's levels, so a code's own dots are written otherwise."""
    return code.replace("%", "%25").replace(".", "%2E")


def _pdf_text(text: str) -> bytes:
    return f"<FEFF{text.encode('utf-16-be', 'replace').hex()}>".encode()


def _references(numbers: Iterable[int]) -> str:
    return " ".join(f"{number} 0 R" for number in numbers)
