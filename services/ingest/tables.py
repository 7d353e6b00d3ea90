"""A file of unknown kind, opened as a table: its kind is told by its content, its rows come with their line numbers."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, TextIO
from zipfile import BadZipFile, ZipFile

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook

from services.ingest.exports import KNOWN_COLUMNS, Export, column_key, recognise

SAMPLE_BYTES = 262_144
#: A header stands in the first lines or nowhere: reports put a title and a date above it.
HEADER_LINES = 10
DELIMITERS = ",;\t|"
#: A record of more lines is a quote that was never closed.
RECORD_MAX_LINES = 500
ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
#: Text has no control characters but these; Excel's own export ends a file with 0x1A.
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r\x0b\x0c\x1a\x1b")


class ImportFileError(ValueError):
    """The file cannot be imported; the message says what is wrong, where, and what to do."""


class Row(NamedTuple):
    """One row: the line it begins on, its cells without the blanks around them, and what is broken about it."""

    line: int
    cells: list[str]
    problem: str | None = None


class Rows(Protocol):
    """Rows that can be read more than once. `position` of `size` is read, in a unit of its own."""

    @property
    def size(self) -> int: ...
    @property
    def position(self) -> int: ...
    def __iter__(self) -> Iterator[Row]: ...


@dataclass(frozen=True, slots=True)
class Table:
    """A file with a header. `rows` gives what is below it, blank rows left out."""

    path: Path
    #: For the summary: XLSX, XLS, ODS, or for text the encoding too.
    kind: str
    export: Export
    columns: tuple[str, ...]
    rows: Rows

    @property
    def system(self) -> str:
        return self.export.system


def open_table(path: Path) -> Table:
    """Open CSV, TSV, XLSX, XLS or ODS, whatever the file is called.

    Text is streamed. A workbook is loaded whole by calamine: about 1 KB a row of ten columns, 200 MB for 200,000 rows.

    Raises:
        ImportFileError: there is no such file, or it is no table.
    """
    try:
        with path.open("rb") as file:
            sample = file.read(SAMPLE_BYTES)
    except IsADirectoryError:
        raise ImportFileError(f"{path} is a folder: name one file in it") from None
    except OSError as error:
        raise ImportFileError(f"{path} cannot be read: {error.strerror}") from None
    if not sample.strip():
        raise ImportFileError(f"{path} is empty")
    if sample.startswith((ZIP, OLE)):
        return _open_workbook(path, sample)
    return _open_text(path, sample)


# Text


def _open_text(path: Path, sample: bytes) -> Table:
    encoding = _encoding(path, sample)
    text = sample.decode(encoding, "replace")
    if problem := _not_a_table(text):
        raise ImportFileError(f"{path} {problem}")
    head = list(islice(StringIO(text, newline=""), 100))
    delimiter = _delimiter(head)
    header = _find_header(islice(_records(iter(head), delimiter, width=None), HEADER_LINES))
    kind = f"{'TSV' if delimiter == chr(9) else 'CSV'}, {encoding.removesuffix('-sig').upper()}"
    rows = TextRows(path, encoding, delimiter, header)
    return Table(path, kind, recognise(header.cells), tuple(header.cells), rows)


def _encoding(path: Path, sample: bytes) -> str:
    if sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = sample[:2_000]
    for at, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if head[at::2].count(0) > len(head) // 4:
            return encoding
    with path.open("rb") as file:
        return "utf-8-sig" if _is_utf8(file) else "cp1252"


def _is_utf8(lines: Iterable[bytes]) -> bool:
    """Look at the whole file: the first accent may be far down, and a few broken lines do not change what it is."""
    good = bad = 0
    for line in lines:
        if line.isascii():
            continue
        try:
            line.decode()
            good += 1
        except UnicodeDecodeError:
            bad += 1
    return good >= bad


def _not_a_table(text: str) -> str | None:
    first = text.lstrip("\ufeff \t\r\n")[:1]
    if first == "<":
        return "is a web page or XML, whatever its name: open it in a spreadsheet and save it as CSV or XLSX"
    if first in {"{", "["}:
        return "is JSON, not a table: publish it as lead.created, or save it as CSV or XLSX"
    start = text[:10_000]
    if sum(ord(character) in _CONTROL for character in start) > 3 + len(start) // 100:
        return "is neither text nor a workbook: export it as CSV, XLSX, XLS or ODS"
    return None


def _delimiter(head: Sequence[str]) -> str:
    """The delimiter that finds most known columns, then most columns."""
    if head[0].lower().startswith("sep=") and head[0][4:5] in DELIMITERS:
        return head[0][4]

    def score(delimiter: str) -> tuple[int, int]:
        header = _find_header(islice(_records(iter(head), delimiter, width=None), HEADER_LINES))
        return _count_known(header.cells), len(header.cells)

    return max(DELIMITERS, key=score)


class TextRows:
    """A delimited file, read line by line."""

    def __init__(self, path: Path, encoding: str, delimiter: str, header: Row) -> None:
        self._path, self._encoding, self._delimiter, self._header = path, encoding, delimiter, header
        self._text: TextIO | None = None
        self.size = path.stat().st_size

    @property
    def position(self) -> int:
        return self._text.buffer.tell() if self._text and not self._text.closed else 0

    def __iter__(self) -> Iterator[Row]:
        # Bytes that are no characters are kept as lone surrogates, which condemn their row alone.
        errors = "replace" if self._encoding.startswith("utf-16") else "surrogateescape"
        with self._path.open(encoding=self._encoding, errors=errors, newline="") as self._text:
            width = len(self._header.cells)
            for row in _records(self._text, self._delimiter, width):
                if row.line > self._header.line and (row.problem or any(row.cells)):
                    yield row


class _Lines:
    """Lines for csv.reader, which takes as many as a record has; those of the last record can be taken back."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._again: deque[str] = deque()
        self.record: list[str] = []
        #: The line on which the record begins.
        self.first = 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.record) >= RECORD_MAX_LINES:
            raise csv.Error("a quote is not closed")
        line = self._again.popleft() if self._again else next(self._source)
        self.record.append(line)
        return line

    def next_record(self) -> None:
        self.first += len(self.record)
        self.record.clear()

    def give_back_all_but_first(self) -> str:
        first, *others = self.record
        self._again.extendleft(reversed(others))
        self.record = [first]
        return first


def _records(source: Iterator[str], delimiter: str, width: int | None) -> Iterator[Row]:
    """Read rows; a row with broken quotes costs itself alone, not the rows that it would swallow.

    Quotes are read strictly first. Where that fails the record's first line is read leniently by itself and the lines
    after it are read again.
    """
    lines = _Lines(source)
    while True:
        try:
            for cells in csv.reader(lines, delimiter=delimiter, strict=True):
                row = _checked(lines.first, [cell.strip() for cell in cells], width)
                if row.problem and len(lines.record) > 1:
                    break  # a quote swallowed other rows
                yield row
                lines.next_record()
            else:
                return
        except csv.Error:
            pass
        yield _lenient(lines.first, lines.give_back_all_but_first(), delimiter, width)
        lines.next_record()


def _lenient(line: int, text: str, delimiter: str, width: int | None) -> Row:
    try:
        rows = list(csv.reader([text, "end"], delimiter=delimiter))
    except csv.Error as error:
        return Row(line, [text.strip()[:1_000]], f"cannot be read: {error}")
    cells = [cell.strip() for cell in rows[0]]
    if len(rows) == 1:
        return Row(line, cells, "a quote is opened on this line and not closed")
    if width and len(cells) != width:
        return Row(line, cells, f"has broken quotes: {len(cells)} cells where the header has {width}")
    return Row(line, cells)


def _checked(line: int, cells: list[str], width: int | None) -> Row:
    if not width or len(cells) == width:
        return Row(line, cells)
    if any(cells[width:]):
        return Row(line, cells, f"has {len(cells)} cells where the header has {width}")
    return Row(line, [*cells[:width], *[""] * (width - len(cells))])


# Workbooks


def _open_workbook(path: Path, sample: bytes) -> Table:
    kind = _workbook_kind(path, sample)
    try:
        with path.open("rb") as file:
            workbook = CalamineWorkbook.from_filelike(file)
        sheets = [workbook.get_sheet_by_name(name) for name in workbook.sheet_names]
    except CalamineError as error:
        problem = "is protected by a password" if "assword" in str(error) else f"cannot be read as {kind}: {error}"
        raise ImportFileError(f"{path} {problem}: save it again without, or as CSV") from None
    found = [(sheet, _find_header(islice(_sheet_rows(sheet), HEADER_LINES))) for sheet in sheets if sheet.height]
    if not found:
        raise ImportFileError(f"{path} is empty: no sheet of it has a row")
    sheet, header = max(found, key=lambda pair: _count_known(pair[1].cells))
    rows = SheetRows(sheet, header)
    return Table(path, kind, recognise(header.cells), tuple(header.cells), rows)


def _workbook_kind(path: Path, sample: bytes) -> str:
    if sample.startswith(OLE):
        return "XLS"
    try:
        with ZipFile(path) as archive:
            names = frozenset(archive.namelist())
    except BadZipFile:
        raise ImportFileError(f"{path} is a damaged workbook or archive: export it again") from None
    for inside, kind in (("xl/workbook.xml", "XLSX"), ("xl/workbook.bin", "XLSB"), ("content.xml", "ODS")):
        if inside in names:
            return kind
    raise ImportFileError(f"{path} is an archive, not a table: unpack it and import what is inside")


class SheetRows:
    """One sheet of a workbook, which calamine holds in memory."""

    def __init__(self, sheet: CalamineSheet, header: Row) -> None:
        self._sheet, self._header = sheet, header
        self.size = sheet.height
        self.position = 0

    def __iter__(self) -> Iterator[Row]:
        width = len(self._header.cells)
        for row in islice(_sheet_rows(self._sheet), self._header.line, None):
            self.position = row.line
            if any(row.cells):
                yield _checked(row.line, row.cells, width)


def _sheet_rows(sheet: CalamineSheet) -> Iterator[Row]:
    for line, cells in enumerate(sheet.iter_rows(), start=1):
        yield Row(line, [_cell_text(cell) for cell in cells])


def _cell_text(value: object) -> str:
    """What a person would have typed: 4563.0 is 4563, a date is ISO, a number that Excel has rounded shows it."""
    match value:
        case str():
            return value.strip()
        case bool():
            return "true" if value else "false"
        case datetime() | date():
            return value.isoformat()
        case float() if value.is_integer() and _is_exact(int(value)):
            return str(int(value))
        case float():
            return f"{value:.15g}"
        case _:
            return str(value)


def _is_exact(number: int) -> bool:
    """Excel keeps 15 digits and makes the others 0; other programs keep all up to 2**53."""
    return abs(number) < 10**15 or (abs(number) < 2**53 and number % 10 != 0)


# Headers


def _find_header(rows: Iterable[Row]) -> Row:
    """The row with the most known columns; without any, the first with two cells."""
    candidates = [row for row in rows if any(row.cells)] or [Row(1, [""])]
    known = max(candidates, key=lambda row: _count_known(row.cells))
    if not _count_known(known.cells):
        known = next((row for row in candidates if len(row.cells) > 1), candidates[0])
    return Row(known.line, _unique(known.cells))


def _count_known(cells: Iterable[str]) -> int:
    return len({key for key in map(column_key, cells) if key in KNOWN_COLUMNS})


def _unique(names: Sequence[str]) -> list[str]:
    """Name columns without a name by their number, the second of two equal ones as such; drop empty ones at the end."""
    names = [" ".join(name.split()) for name in names]
    width = max((number for number, name in enumerate(names, start=1) if name), default=0)
    seen: Counter[str] = Counter()
    unique = []
    for number, name in enumerate(names[:width], start=1):
        seen[column_key(name)] += 1
        count = seen[column_key(name)]
        unique.append(f"column {number}" if not name else name if count == 1 else f"{name} ({count})")
    return unique
