"""The sheet: every text in its cell, every field named, fillable and its own, the same facts the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date
from itertools import combinations
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.generic import ArrayObject

from services.documents import pdf, seals, sheet
from services.documents.fonts import face
from services.documents.sheet import FIELDS, Box, Line, SheetFacts, SheetRow

LONG_ADDRESS = "Flat 1203, Tower B, Example Heights, 45 Example Cross Road, Sample Nagar, Exampleville 560000, " * 5
KEY = b"a key of this installation"
DEVANAGARI = "राजेश कुमार क्षत्रिय, उदाहरण मार्ग, सेक्टर ४५, बेंगलुरु"
SCRIPTS = (
    "Ann Example",
    "Zoë Müller-Ångström Đặng Thị Ví Dụ",
    "Ελένη Παράδειγμα",
    "Пример Образцова",
    DEVANAGARI,
    "a\u0301 e\u0308\u0332 o" + "\u0301" * 30,
    "no glyphs: 王小明 محمد 😀 \ud800 \ue000",
    "X" * 400,
    LONG_ADDRESS,
    DEVANAGARI * 8,
    "two\nlines\tand\x00controls\u202e",
    " ",
    "",
)


def a_row(number: int = 1, **changes: Any) -> SheetRow:
    """A lead as most are."""
    values: dict[str, object] = {
        "lead_assignment_code": f"L251121A001-{number:04}",
        "rowid": number,
        "lead_date": date(2025, 11, 20),
        "lead_type": "N",
        "mobile_number": "+91 98765 43210",
        "customer_name": f"Ann Example {number}",
        "address": "12 Example Street, Exampleville",
    }
    return SheetRow(**(values | changes))  # type: ignore[arg-type]


def a_sheet(*rows: SheetRow, **changes: object) -> SheetFacts:
    """A sheet of these rows."""
    values: dict[str, object] = {
        "sheet_key": "lot:42:S001:A001",
        "page_group_code": "L251121A001",
        "agent_code": "A001",
        "agent_name": "Agnes Example",
        "batch_date": date(2025, 11, 21),
        "rows": rows,
    }
    return SheetFacts(**(values | changes))  # type: ignore[arg-type]


def render(facts: SheetFacts) -> bytes:
    """The sheet, signed with this installation's key."""
    return pdf.render(facts, KEY)


def read(content: bytes) -> PdfReader:
    """The sheet as another program reads it."""
    return PdfReader(io.BytesIO(content), strict=True)


def widgets_of(page: PageObject) -> list[Any]:
    """The page's form fields in order, without the hidden one."""
    widgets = [widget.get_object() for widget in cast("ArrayObject", page["/Annots"])]
    return [widget for widget in widgets if widget.get("/T") != sheet.MANIFEST]


def ink_of(line: Line) -> Box:
    """What the line blackens."""
    drawn, x, edges = face(line.weight), 0, []
    needs_shaping = "<</ActualText" in drawn.show(line.text, line.size).operators
    for text in [line.text] if needs_shaping else line.text:
        for glyph in drawn._shape(text):
            extents = drawn._font.get_glyph_extents(glyph.number)
            left, top = x + glyph.x_offset + extents.x_bearing, glyph.y_offset + extents.y_bearing
            edges += [(left, top), (left + extents.width, top + extents.height)] if extents.width else []
            x += glyph.advance
    xs, ys = ([edge[axis] * line.size / 1000 for edge in edges or [(0, 0)]] for axis in (0, 1))
    return Box(line.x + min(xs), line.baseline + min(ys), max(xs) - min(xs), max(ys) - min(ys))


def lies_in(inner: Box, outer: Box) -> bool:
    """To a hundredth of a point."""
    return (
        inner.x >= outer.x - 0.01
        and inner.y >= outer.y - 0.01
        and inner.x + inner.width <= outer.x + outer.width + 0.01
        and inner.y + inner.height <= outer.y + outer.height + 0.01
    )


def overlap(one: Box, other: Box) -> bool:
    """Whether they share more than an edge."""
    return (
        min(one.x + one.width, other.x + other.width) - max(one.x, other.x) > 0.01
        and min(one.y + one.height, other.y + other.height) - max(one.y, other.y) > 0.01
    )


def filled_in(text: str) -> SheetRow:
    """The text in every cell that takes one."""
    return a_row(lead_type=text, mobile_number=text, customer_name=text, address=text)


@pytest.mark.parametrize("text", SCRIPTS)
def test_no_text_leaves_its_cell_or_meets_another(text: str) -> None:
    """Ink, not widths: in each script, with the longest text that a field can have."""
    lines = [line for line in [*sheet.label_lines(), *sheet.row_lines(filled_in(text))] if line.text]
    inks = [ink_of(line) for line in lines]
    for line, ink in zip(lines, inks, strict=True):
        assert lies_in(ink, line.box), line
    assert not [(a, b) for a, b in combinations(inks, 2) if a.width and b.width and overlap(a, b)]


@pytest.mark.parametrize("text", SCRIPTS)
def test_the_header_stays_on_the_page(text: str) -> None:
    """Left and right never meet, however long the agent's name."""
    facts = a_sheet(page_group_code=text, agent_name=text, agent_code=text, sheet_key=text)
    inks = [ink_of(line) for line in sheet.header_lines(facts, 8888, 8888) if line.text]
    assert all(lies_in(ink, sheet.PAGE) for ink in inks)
    assert not [(a, b) for a, b in combinations(inks, 2) if a.width and b.width and overlap(a, b)]


@given(st.text(max_size=600))
@example("क" + "\u094d" * 50)
def test_any_text_can_be_printed(text: str) -> None:
    """Never a crash; in no cell more than two lines, and none wider than its cell."""
    row = filled_in(text)
    for line in sheet.row_lines(row):
        width = face(line.weight).width(line.text) * line.size / 1000
        assert line.x + width <= line.box.x + line.box.width
    render(a_sheet(row, agent_name=text, page_group_code=text, sheet_key=text))


def test_cells_and_fields_lie_side_by_side() -> None:
    """Both rows are as wide as the page's text, no box meets another, and a field is under its label."""
    boxes = [*sheet.printed_boxes(), *sheet.field_boxes()]
    assert all(lies_in(box, Box(0, 0, sheet.WIDTH, sheet.BLOCK)) for box in boxes)
    assert sum(box.width * box.height for box in boxes) == pytest.approx(sheet.WIDTH * sheet.BLOCK)
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    labels = [ink_of(line) for line in sheet.label_lines()]
    for box in sheet.field_boxes():
        assert lies_in(sheet.input_box(box), box)
        assert not [label for label in labels if overlap(label, sheet.input_box(box))]


def test_long_texts_end_in_an_ellipsis_and_short_ones_do_not() -> None:
    """Two lines of the address, the first broken between words."""
    first, second = [line.text for line in sheet.row_lines(a_row(address=LONG_ADDRESS)) if line.box.width == 312]
    assert LONG_ADDRESS.startswith(f"{first} {second[:-1]}")
    assert second.endswith("…")
    assert not [line for line in sheet.row_lines(a_row()) if "…" in line.text]


def test_what_is_absent_is_blank() -> None:
    """No None on paper."""
    row = SheetRow("L251121A001-0001", None, None, None, None, None, None)
    facts = a_sheet(row, page_group_code=None, agent_code=None, agent_name=None, batch_date=None)
    assert sheet.row_lines(facts.rows[0]) == []
    assert "None" not in read(render(facts)).pages[0].extract_text()


@pytest.mark.parametrize(("leads", "pages"), [(0, 1), (1, 1), (7, 1), (8, 2), (25, 4), (120, 18)])
def test_each_page_says_whose_it_is(leads: int, pages: int) -> None:
    """Page group, agent, date and page on every page, and each lead once."""
    reader = read(render(a_sheet(*(a_row(number) for number in range(1, leads + 1)))))
    texts = [page.extract_text() for page in reader.pages]
    assert len(texts) == pages
    for number, text in enumerate(texts, 1):
        assert "Page Group Code: L251121A001" in text
        assert "Agent: A001 - Agnes Example" in text
        assert "Batch Date: 2025-11-21" in text
        assert f"Page {number} of {pages}" in text
    printed = [line for line in "\n".join(texts).splitlines() if "Ann Example" in line]
    assert len(printed) == leads


def test_names_can_be_searched_and_copied() -> None:
    """The characters are kept, not only their shapes."""
    names = ["Zoë Müller", "Ελένη Παράδειγμα μΩ", "Пример Образцова"]
    text = read(render(a_sheet(*(a_row(customer_name=name) for name in names)))).pages[0].extract_text()
    for name in names:
        assert name in text


def test_every_field_can_be_filled_and_read_back() -> None:
    """All fields of all leads, by their documented names, each showing its own value."""
    rows = [a_row(number) for number in range(1, 10)]
    writer = PdfWriter(clone_from=read(render(a_sheet(*rows))))
    filled = {
        sheet.field_name(row.lead_assignment_code, field.name): field.choices[-1]
        if field.choices
        else f"{field.name} {row.rowid}"
        for row in rows
        for field in FIELDS
    }
    writer.update_page_form_field_values(None, filled, auto_regenerate=False)
    writer.write(kept := io.BytesIO())
    reader = read(kept.getvalue())
    found = reader.get_fields() or {}
    assert {name: found[name].value for name in filled} == filled
    shown = [widget["/AP"]["/N"].get_data() for page in reader.pages for widget in widgets_of(page)]
    for value, appearance in zip(filled.values(), shown, strict=True):
        assert value.encode() in appearance


def test_fields_come_in_reading_order_each_with_tooltip_and_appearance() -> None:
    """Tab goes along a lead's row, then to the next lead; the names are a contract."""
    reader = read(render(a_sheet(a_row(1), a_row(2))))
    [page] = reader.pages
    widgets = widgets_of(page)
    names = ["conv", "order_no", "order_date", "value", "payment_mode", "payment_amt", "remarks"]
    assert [widget["/T"] for widget in widgets] == names * 2
    assert page.get("/Tabs") == "/R"
    assert len({widget["/AP"].raw_get("/N").idnum for widget in widgets}) == len(widgets)
    assert [widget["/TU"] for widget in widgets[:3]] == [
        "Row 1: Conv [Y/N]",
        "Row 1: Order No",
        "Row 1: Order Date [DD/MM/YYYY]",
    ]
    assert [widget["/Opt"][:3] for widget in widgets[:7] if "/Opt" in widget] == [["", "Y", "N"], ["", "Cash", "Card"]]
    assert all(widget["/P"].get_object() == page for widget in widgets)


@given(st.text(min_size=1).filter(str.isprintable), st.sampled_from([field.name for field in FIELDS]))
@example("A.B%2E", "conv")
def test_a_field_name_tells_its_code_and_field(code: str, field: str) -> None:
    """Whatever stands in the code."""
    assert sheet.read_field_name(sheet.field_name(code, field)) == (code, field)


def test_a_code_with_a_dot_is_one_level_of_the_form() -> None:
    """The reader finds the field by its full name."""
    code = "L251121Ä.1%-0001"
    fields = read(render(a_sheet(a_row(lead_assignment_code=code)))).get_fields() or {}
    assert sheet.field_name(code, "conv") in fields


def test_the_same_facts_are_the_same_bytes() -> None:
    """Whatever has been printed before; other facts are other bytes."""
    mixed = a_sheet(*(a_row(customer_name=text) for text in SCRIPTS))
    first = render(mixed)
    other = render(a_sheet(a_row(customer_name="ज्ञानेश्वर")))
    assert render(mixed) == first
    assert other != render(a_sheet(a_row(customer_name="ज्ञानेश्वरी")))


def test_what_the_font_lacks_shows_as_its_box() -> None:
    """Glyph 0, which Noto draws."""
    shown = face(sheet.COLUMNS[0].weight).show("王", 10)
    assert shown.numbers == {0}
    assert shown.operators == "<0000> Tj"


def test_devanagari_is_shaped_and_keeps_its_text() -> None:
    """क्षि is one conjunct with its sign before it, not five glyphs in a row."""
    text = "क्षि"
    regular = face(sheet.COLUMNS[1].weight)
    shown = regular.show(text, 10)
    assert len(shown.numbers) == 2
    assert not shown.numbers & {regular._glyphs[character] for character in "क्ष"}
    assert f"FEFF{text.encode('utf-16-be').hex()}" in shown.operators


def test_a_syllable_is_never_cut() -> None:
    """However little room there is, a line ends where a syllable ends."""
    regular, text = face(sheet.COLUMNS[1].weight), "क्षत्रिय"
    cuts = {regular.fitting(text, room) for room in range(regular.width(text) + 1)}
    assert cuts == {0, 3, 7, 8}


# The signed code.


def test_a_sheet_carries_its_signed_manifest_twice() -> None:
    """In a hidden read-only field and in the document's keywords; its short form is printed on each page."""
    facts = a_sheet(*(a_row(number) for number in range(1, 10)))
    reader = read(render(facts))
    field = (reader.get_fields() or {})[sheet.MANIFEST]
    assert reader.metadata is not None
    assert field.value == reader.metadata["/Keywords"]
    assert field["/Ff"] == 1
    manifest = seals.manifest_of(facts, KEY)
    assert seals.read_manifest(str(field.value), [b"a newer key", KEY]) == (manifest, KEY)
    codes = [row.lead_assignment_code for row in facts.rows]
    for page, on_it in zip(reader.pages, (codes[:7], codes[7:]), strict=True):
        assert seals.page_code(manifest, on_it, KEY) in page.extract_text()


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
        lambda text: text.replace(".", "..", 1),
        lambda text: seals.write_manifest(seals.Manifest("lot-7-S1-0001", {"L1-0001": "0" * 24}), b"another key"),
        lambda text: "",
        lambda text: "LEADLINE1.%%%.\ud800",
        lambda text: f"LEADLINE1.AAAA.{'0' * 64}",
        lambda text: f"LEADLINE1.{text.split('.')[1][:-8]}.{text.split('.')[2]}",
    ],
)
def test_a_manifest_that_is_not_ours_is_none(changed: Callable[[str], str]) -> None:
    """Changed, forged, cut or of another installation."""
    manifest = seals.manifest_of(a_sheet(a_row()), KEY)
    assert seals.read_manifest(changed(seals.write_manifest(manifest, KEY)), [KEY]) is None


@given(st.text(max_size=200))
def test_any_text_can_be_asked_for_a_manifest(text: str) -> None:
    """Never a crash."""
    assert seals.read_manifest(text, [KEY]) is None
    assert seals.read_manifest(f"LEADLINE1.{text}.{text}", [KEY]) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"rowid": 2},
        {"lead_date": None},
        {"lead_type": "E"},
        {"mobile_number": "+91 98765 43211"},
        {"customer_name": "Ann Example"},
        {"address": None},
        {"customer_name": "Ann Example 112 Example Street", "address": ", Exampleville"},
        {"lead_assignment_code": "L251121A001-0002"},
    ],
)
def test_each_printed_fact_is_signed(changes: dict[str, Any]) -> None:
    """Also where one fact ends and the next begins; and on another sheet the same row is another."""
    assert seals.row_signature("S", a_row(**changes), KEY) != seals.row_signature("S", a_row(), KEY)
    assert seals.row_signature("T", a_row(), KEY) != seals.row_signature("S", a_row(), KEY)
