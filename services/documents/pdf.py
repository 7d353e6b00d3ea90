"""The sheet as a PDF with a form: facts → bytes, by nothing but arithmetic. The same facts and key are the same bytes.

Each field has an appearance of its own: a shared one makes sheets smaller, but tools that fill fields in place (pypdf)
would then show the text of the last field in all of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from reportlab.pdfbase.acroform import PDFFromString
from reportlab.pdfbase.pdfdoc import PDFDocument

from services.documents.fonts import Weight, face
from services.documents.seals import Manifest, manifest_of, page_code, write_manifest
from services.documents.sheet import (
    BLOCK,
    FIELD_ROW,
    FIELDS,
    HEADER,
    MANIFEST,
    MARGIN,
    PAGE,
    PRINTED_ROW,
    ROWS_A_PAGE,
    WIDTH,
    Box,
    Field,
    Line,
    SheetFacts,
    SheetRow,
    bottom,
    clean,
    field_boxes,
    field_label,
    header_lines,
    input_box,
    label_lines,
    partial_name,
    printed_boxes,
    row_lines,
)

_FONTS = {Weight.REGULAR: "R", Weight.BOLD: "B"}
_COMBO = 1 << 17
_EMPTY = "/Tx BMC EMC"
_EMPTY_FORM = b"<</Type/XObject/Subtype/Form/BBox[0 0 0 0]/Length %d>>stream\n%b\nendstream" % (
    len(_EMPTY),
    _EMPTY.encode(),
)


def render(facts: SheetFacts, key: bytes) -> bytes:
    """The sheet as a PDF of A4 pages with a form, signed with the key."""
    manifest = manifest_of(facts, key)
    pages = [facts.rows[start : start + ROWS_A_PAGE] for start in range(0, len(facts.rows), ROWS_A_PAGE)] or [()]
    ink = _Ink()
    contents = [
        ink.page(header_lines(facts, number, len(pages), _code(manifest, rows, key)), rows)
        for number, rows in enumerate(pages, 1)
    ]
    document = _Document(facts, write_manifest(manifest, key))
    document.add_fonts(ink.used)
    for content, rows in zip(contents, pages, strict=True):
        document.add_page(content, rows)
    return document.finish()


def _code(manifest: Manifest, rows: Iterable[SheetRow], key: bytes) -> str:
    return page_code(manifest, [row.lead_assignment_code for row in rows], key)


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
        return f"q 1 0 0 1 {MARGIN:g} {bottom(place):g} cm\n{frame}\n{self.text(row_lines(row))}\nQ"

    def text(self, lines: Iterable[Line]) -> str:
        """The operators that print these lines."""
        return "\n".join(["BT", *map(self._line, lines), "ET"])

    def _line(self, line: Line) -> str:
        glyphs = face(line.weight).show(line.text, line.size)
        self.used[line.weight] |= glyphs.numbers
        return f"/{_FONTS[line.weight]} {line.size:g} Tf 1 0 0 1 {line.x:.2f} {line.baseline:.2f} Tm {glyphs.operators}"


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


class _Document:
    """ReportLab's document, given finished objects: building a form field by field is what makes it slow."""

    def __init__(self, facts: SheetFacts, manifest: str) -> None:
        self._document = PDFDocument(invariant=1, compression=1, pdfVersion=(1, 7), lang="en")
        self._document.setTitle(clean(f"Leads {clean(facts.page_group_code)}"))
        self._document.setSubject(clean(facts.sheet_key))
        self._document.setAuthor("Leadline")
        self._document.setKeywords(manifest)
        self._manifest = manifest
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
        hidden = [] if self._parents else [self._add_manifest()]
        page = self._next + len(rows) * (1 + 2 * len(FIELDS))
        widgets = [number for place, row in enumerate(rows) for number in self._add_fields(row, place, page)] + hidden
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
        name = _pdf_text(partial_name(row.lead_assignment_code))
        self._parents.append(self._add(b"<</T%b/Kids[%b]>>" % (name, _references(widgets).encode())))
        row_name = "" if row.rowid is None else f"Row {row.rowid}: "
        for number, form in zip(widgets, _forms(), strict=True):
            x, y = MARGIN + form.box.x, bottom(place) + form.box.y
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

    def _add_manifest(self) -> int:
        """Add the field that carries the manifest: hidden, and only to be read."""
        number = self._add(
            f"<</Type/Annot/Subtype/Widget/FT/Tx/T({MANIFEST})/V({self._manifest})/Ff 1/F 2/Rect[0 0 0 0]"
            f"/DA(/Helv 10 Tf 0 g)/AP<</N {self._next + 1} 0 R>>>>".encode()
        )
        self._add(_EMPTY_FORM)
        self._parents.append(number)
        return number

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
    rest = (
        f"{field_label(field, brackets='[]')})/T({field.name}){kind}/DA(/Helv 10 Tf 0 g)/Type/Annot/Subtype/Widget/F 4"
    )
    appearance = (
        f"<</Type/XObject/Subtype/Form/BBox[0 0 {box.width:.2f} {box.height:.2f}]/Resources<</Font<</Helv %d 0 R>>>>"
        f"/Length {len(_EMPTY)}>>stream\n{_EMPTY}\nendstream"
    )
    return _Form(box, rest.encode(), appearance.encode())


def _pdf_text(text: str) -> bytes:
    return f"<FEFF{text.encode('utf-16-be', 'replace').hex()}>".encode()


def _references(numbers: Iterable[int]) -> str:
    return " ".join(f"{number} 0 R" for number in numbers)
