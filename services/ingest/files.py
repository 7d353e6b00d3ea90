"""Rows of a CRM's export → the bodies of `lead.created`, one row at a time.

A row's id is the CRM's, or comes from the row's content: the same file gives the same ids, so importing it again
creates nothing new.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from pydantic import ValidationError
from pydantic_core import to_json

from services.ingest.attributes import ATTRIBUTES_MAX_BYTES
from services.ingest.dates import DateOrder, find_date_order, read_time
from services.ingest.exports import (
    FIELDS,
    OUR_OWN_COLUMNS,
    SYSTEMS,
    Export,
    column_key,
    flag_columns,
    is_closed_state,
    is_true,
    state_columns,
)
from services.ingest.problems import as_error
from services.ingest.tables import ImportFileError, Row, Table, open_table
from shared.events import LeadCreated

__all__ = [
    "ImportFileError",
    "ImportedLead",
    "Layout",
    "Outcome",
    "ReadOptions",
    "RejectedRow",
    "Skipped",
    "lay_out",
    "open_table",
    "read_leads",
]

_DATES = ("created_at", "pickup_date", "pickup_created_date", "run_date")
#: Without an id a row must have one of these, or it is a total, a remark, an empty form.
_SOMEBODY = ("customer_name", "given_name", "surname", "mobile_number", "email", "document_number", "external_id")
#: How a spreadsheet writes a number that is too long for it; its last digits are lost.
_ROUNDED = re.compile(r"\d(?:[.,]\d+)?e\+\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the person importing decides. `mapping` is field → column."""

    source: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    include_closed: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a table's columns go. Indices are into a row's cells."""

    export: Export
    columns: tuple[str, ...]
    #: The first filled cell is the field's value.
    fields: tuple[tuple[str, tuple[int, ...]], ...]
    #: The filled cells together are the address.
    address: tuple[int, ...]
    attributes: tuple[tuple[str, int], ...]
    states: tuple[int, ...]
    flags: tuple[int, ...]
    date_order: DateOrder
    default_source: str


@dataclass(frozen=True, slots=True)
class ImportedLead:
    """The body of one `lead.created`, valid as the contract has it."""

    line: int
    lead_id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """The CRM calls the lead closed: `closed_by` is the column and its value."""

    line: int
    closed_by: str


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """The row cannot be a lead; the reason is for a person."""

    line: int
    reason: str
    cells: list[str]


Outcome = ImportedLead | Skipped | RejectedRow


def lay_out(table: Table, options: ReadOptions) -> Layout:
    """Decide which column is which field and how its dates are read.

    Raises:
        ImportFileError: `mapping` names a field or column that does not exist, or no column is known.
    """
    columns = {key: index for index, key in reversed(list(enumerate(map(column_key, table.columns))))}
    found = _known_columns(table.export, columns) | _mapped_columns(table, options.mapping, columns)
    if not found:
        names = ", ".join(table.columns[:12])
        raise ImportFileError(
            f"{table.path} has no column that is known (its header: {names}): say which is which, "
            f"for example --map 'mobile_number={table.columns[0]}'"
        )
    address = found.pop("address", ())
    used = {indices[0] for indices in found.values()} | set(address[:1])
    return Layout(
        export=table.export,
        columns=table.columns,
        fields=tuple(found.items()),
        address=address,
        attributes=tuple(
            (name, index)
            for index, name in enumerate(table.columns)
            if index not in used and column_key(name) not in OUR_OWN_COLUMNS
        ),
        states=_places(columns, state_columns(table.export)),
        flags=_places(columns, flag_columns(table.export)),
        date_order=_find_order(table, [index for name in _DATES for index in found.get(name, ())]),
        default_source=(options.source or "").strip() or "Unknown",
    )


def read_leads(rows: Iterable[Row], layout: Layout, *, include_closed: bool = False) -> Iterator[Outcome]:
    """Turn each row into a lead, or say why not. A report's footer is passed over."""
    for row in rows:
        if row.problem:
            yield RejectedRow(row.line, row.problem, row.cells)
        elif layout.export.has_footer and not any(row.cells[1:]):
            continue
        elif not include_closed and (closed_by := _closed_by(row.cells, layout)):
            yield Skipped(row.line, closed_by)
        else:
            yield _read_lead(row, layout)


def _read_lead(row: Row, layout: Layout) -> ImportedLead | RejectedRow:
    try:
        data = _fields(row.cells, layout)
        lead_id = data["lead_id"] = _lead_id(data, row.cells, layout)
        LeadCreated.model_validate(data)
        body = to_json(data)
        _check_attributes(data, body)
    except ValueError as error:
        return RejectedRow(row.line, _reason(error, row.cells), row.cells)
    return ImportedLead(row.line, lead_id, body)


def _fields(cells: list[str], layout: Layout) -> dict[str, object]:
    prefixes, test_mark = layout.export.prefixes, layout.export.test_mark
    data: dict[str, object] = {"source": layout.default_source}
    for name, indices in layout.fields:
        for index in indices:
            if value := cells[index]:
                data[name] = value.removeprefix(prefixes.get(name, ""))
                break
    if address := [cells[index].removeprefix(prefixes.get("address", "")) for index in layout.address if cells[index]]:
        data["address"] = ", ".join(address)
    for name in _DATES:
        if name in data:
            data[name] = _read_date(name, str(data[name]), layout)
    if attributes := {name: value for name, index in layout.attributes if (value := cells[index])}:
        data["attributes"] = attributes
    if test_mark and any(cell.startswith(test_mark) for cell in cells):
        raise ValueError("is a test of the form, not a person")
    return data


def _read_date(name: str, text: str, layout: Layout) -> str:
    try:
        return read_time(text, layout.date_order.order)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _lead_id(data: Mapping[str, object], cells: list[str], layout: Layout) -> str:
    system = layout.export.system
    known = str(data.get("lead_id", ""))
    if not known:
        if not any(name in data for name in _SOMEBODY):
            raise ValueError("has no id, and no name, phone number or e-mail address either")
        return f"{system}:row-{_fingerprint(cells, layout.columns)}"
    if _ROUNDED.fullmatch(known):
        raise ValueError(f"lead_id: a spreadsheet has rounded {known}: format the column as text and export again")
    if system == "file" and known.partition(":")[0] in SYSTEMS:
        return known
    return f"{system}:{known}"


def _fingerprint(cells: list[str], columns: tuple[str, ...]) -> str:
    """The row's content, whatever the order of its columns, its blanks and its capitals."""
    content = sorted(
        f"{key}={' '.join(cell.casefold().split())}"
        for name, cell in zip(columns, cells, strict=True)
        if cell and (key := column_key(name)) not in OUR_OWN_COLUMNS
    )
    return blake2b("\n".join(content).encode(errors="surrogatepass"), digest_size=12).hexdigest()


def _closed_by(cells: list[str], layout: Layout) -> str | None:
    for index in layout.flags:
        if (value := cells[index]) and is_true(value):
            return f"{layout.columns[index]}: {value}"
    for index in layout.states:
        if (value := cells[index]) and is_closed_state(layout.export, value):
            return f"{layout.columns[index]}: {value}"
    return None


def _check_attributes(data: Mapping[str, object], body: bytes) -> None:
    """What ingest would refuse, seen in the finished body: attributes are the only values the model does not read."""
    if rb"\u0000" in body.replace(rb"\\", b""):
        raise ValueError("must not have the character NUL (U+0000)")
    if len(body) > ATTRIBUTES_MAX_BYTES and (size := len(to_json(data.get("attributes")))) > ATTRIBUTES_MAX_BYTES:
        raise ValueError(f"must have at most {ATTRIBUTES_MAX_BYTES:,} bytes in columns without a field, has {size:,}")


def _reason(error: ValueError, cells: list[str]) -> str:
    if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell):
        return "has bytes that are no characters in the file's encoding"
    if isinstance(error, ValidationError):
        return as_error(error).reason
    return str(error)


# Columns


def _known_columns(export: Export, columns: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    found = {name: tuple(columns[key] for key in keys if key in columns) for name, keys in export.aliases().items()}
    return {name: indices for name, indices in found.items() if indices}


def _mapped_columns(table: Table, mapping: Mapping[str, str], columns: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    for name, column in mapping.items():
        if name not in FIELDS:
            raise ImportFileError(f"--map {name}={column}: there is no field {name}{_hint(name, FIELDS)}")
        if column_key(column) not in columns:
            raise ImportFileError(
                f"--map {name}={column}: {table.path} has no column {column}{_hint(column, table.columns)}"
            )
    return {name: (columns[column_key(column)],) for name, column in mapping.items()}


def _hint(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


def _places(columns: Mapping[str, int], keys: frozenset[str]) -> tuple[int, ...]:
    return tuple(sorted(index for key, index in columns.items() if key in keys))


def _find_order(table: Table, indices: list[int]) -> DateOrder:
    if not indices:
        return DateOrder(table.export.day_month)
    values = (
        (row.line, row.cells[index]) for row in table.rows if not row.problem for index in indices if row.cells[index]
    )
    return find_date_order(values, table.export.day_month)
