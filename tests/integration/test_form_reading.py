"""Returned files read in a process of their own: whatever tool has filled them in, whatever it does to the reader."""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.documents import formreader
from services.documents.formreader import RefusedError, read_form
from services.documents.pdf import render
from services.documents.reading import Refused, read_returned
from services.documents.returns import ReturnedForm
from services.documents.seals import manifest_of, read_manifest
from services.documents.sheet import FIELDS, field_name
from shared.events import SHEET_MAX_BYTES
from tests import filling
from tests.unit.test_sheet import KEY, a_row, a_sheet

SHEET = a_sheet(*(a_row(number) for number in range(1, 10)))
CONTENT = render(SHEET, KEY)
VALUES = {
    field_name(row.lead_assignment_code, field.name): field.choices[-1]
    if field.choices
    else f"{field.name} é {row.rowid}"
    for row in SHEET.rows
    for field in FIELDS
}
TOOLS = {
    "pypdf": filling.by_pypdf,
    "pypdf, appended": filling.by_pypdf_incrementally,
    "qpdf": filling.by_qpdf,
    "PDFium": filling.by_pdfium,
    "pages taken over": filling.by_page_only,
    "hidden field lost": filling.without_hidden_field,
}


@pytest.mark.parametrize("tool", TOOLS)
async def test_every_tool_is_read_alike(tool: str) -> None:
    """All fields of all rows, the signed manifest, and the text of the pages."""
    form = await read_returned(TOOLS[tool](CONTENT, VALUES))
    assert isinstance(form, ReturnedForm)
    assert {name: value for name, value in form.fields.items() if value} == VALUES
    assert (manifest_of(SHEET, KEY), KEY) in [read_manifest(text, [KEY]) for text in form.manifests]
    assert [page.count("Ann Example") for page in form.texts] == [7, 2]


async def test_a_sheet_that_came_back_blank_has_no_values() -> None:
    """As it was sent out."""
    form = await read_returned(CONTENT)
    assert isinstance(form, ReturnedForm)
    assert not any(form.fields.values())


def changed(change: Callable[[pikepdf.Pdf], None], **options: object) -> bytes:
    """The sheet, with something done to it."""
    with pikepdf.open(io.BytesIO(CONTENT)) as pdf:
        change(pdf)
        pdf.save(content := io.BytesIO(), **options)  # type: ignore[arg-type]
    return content.getvalue()


def with_script_on_open(pdf: pikepdf.Pdf) -> None:
    pdf.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert('hello')")


def with_script_on_a_field(pdf: pikepdf.Pdf) -> None:
    action = pdf.make_indirect(pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="1"))
    pdf.pages[1].Annots[3].AA = pikepdf.Dictionary(K=action)


def with_launch(pdf: pikepdf.Pdf) -> None:
    pdf.pages[0].Annots[0].A = pikepdf.Dictionary(S=pikepdf.Name.Launch, F="calc.exe")


def without_fields(pdf: pikepdf.Pdf) -> None:
    del pdf.Root.AcroForm
    for page in pdf.pages:
        del page.Annots


def with_a_bomb(pdf: pikepdf.Pdf) -> None:
    """A page of 3 GB, in 3 MB."""
    packer, megabyte, checksum = zlib.compressobj(9), b" " * 1_000_000, 1
    # Packed once and repeated: each block stands for itself.
    first, other = (packer.compress(megabyte) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    for _ in range(3_000):
        checksum = zlib.adler32(megabyte, checksum)
    packed = first + other * 2_999 + packer.flush()[:-4] + checksum.to_bytes(4, "big")
    bomb = pikepdf.Stream(pdf, b"")
    bomb.write(packed, filter=pikepdf.Name.FlateDecode)
    pdf.pages[0].Contents = pdf.make_indirect(bomb)


def with_a_loop(pdf: pikepdf.Pdf) -> None:
    """A field that is its own kid, and its own parent."""
    field = pdf.Root.AcroForm.Fields[0]
    field.Kids = pikepdf.Array([field])
    field.Parent = field


REFUSED: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "no PDF": (lambda: b"PK\x03\x04 a spreadsheet", "it is no PDF"),
    "nothing": (lambda: b"", "it is no PDF"),
    "half of one": (lambda: CONTENT[:3000], "it is broken"),
    "encrypted": (
        lambda: changed(lambda _: None, encryption=pikepdf.Encryption(owner="a", user="b")),
        "it is encrypted: save it without a password",
    ),
    "huge": (lambda: CONTENT + b" " * SHEET_MAX_BYTES, "bytes; at most 25,000,000 are read"),
    "a script on opening": (lambda: changed(with_script_on_open), "it carries a script or an action"),
    "a script on a field": (lambda: changed(with_script_on_a_field), "it carries a script or an action"),
    "a program to launch": (lambda: changed(with_launch), "it carries a script or an action"),
    "printed": (lambda: changed(without_fields), "it has no form fields"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_read_is_refused_in_words(what: str) -> None:
    """For whoever sent it."""
    make, words = REFUSED[what]
    answer = await read_returned(make())
    assert isinstance(answer, Refused)
    assert words in answer.reason


@pytest.mark.parametrize("harm", [with_a_bomb, with_a_loop])
async def test_what_would_harm_the_reader_ends_within_bounds(harm: Callable[[pikepdf.Pdf], None]) -> None:
    """Refused, or read without what does the harm; either way there is an answer."""
    answer = await asyncio.wait_for(read_returned(changed(harm)), 60)
    assert isinstance(answer, Refused | ReturnedForm)


async def test_a_reader_that_takes_too_long_is_ended() -> None:
    """And the file refused."""
    answer = await read_returned(CONTENT, within_s=0.001)
    assert answer == Refused("reading it takes more than 0.001 seconds")


async def test_too_many_pages_or_objects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are looked at."""
    monkeypatch.setattr(formreader, "MAX_PAGES", 1)
    with pytest.raises(RefusedError, match="it has 2 pages; at most 1"):
        read_form(CONTENT)
    monkeypatch.undo()
    monkeypatch.setattr(formreader, "MAX_OBJECTS", 10)
    with pytest.raises(RefusedError, match="objects; at most 10"):
        read_form(CONTENT)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_file_is_read_or_raises(data: st.DataObject) -> None:
    """Bytes changed anywhere: an answer or an exception, never a loop without end."""
    content = bytearray(CONTENT)
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Exception):  # the process that reads tells whatever is raised as a broken file
        assert set(read_form(bytes(content))) == {"manifests", "fields", "texts"}
