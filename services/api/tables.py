"""Rows as CSV or XLSX, such that no cell is taken for a formula. Pure, but for the file that XLSX is written to.

A spreadsheet takes text that begins with = + - @ for a formula, and runs it. In CSV such text gets an apostrophe before
it; a telephone number, which is no formula whatever reads it, stays as it is. XLSX says of each cell what it is.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import xlsxwriter

#: Also what some programs skip before they look: tabs, returns, and full-width signs.
FORMULA = re.compile("[=+\\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
TELEPHONE = re.compile(r"\+[0-9]{6,15}")
XLSX_ROWS_MAX = 1_048_575
CELL_MAX = 32_767


def safe(content: Any) -> Any:
    """Give a cell for CSV."""
    text = _plain(content)
    if isinstance(text, str) and FORMULA.match(text) and not TELEPHONE.fullmatch(text):
        return "'" + text
    return text


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, has_header: bool) -> str:
    """Give rows as CSV (RFC 4180), the header before them if it is wanted."""
    written = io.StringIO()
    writer = csv.writer(written)
    if has_header:
        writer.writerow(columns)
    writer.writerows([safe(row[column]) for column in columns] for row in rows)
    return written.getvalue()


class Workbook:
    """An XLSX file that grows row by row; of what does not fit into a sheet, the rest is left out."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self._book = xlsxwriter.Workbook(str(path), options)
        self._sheet = self._book.add_worksheet("Leadline")
        self._columns = columns
        self._rows = 0
        for place, column in enumerate(columns):
            self._sheet.write_string(0, place, column)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows below those that are there."""
        for row in rows:
            if self._rows >= XLSX_ROWS_MAX:
                return
            self._rows += 1
            for place, column in enumerate(self._columns):
                self._write(place, _plain(row[column]))

    def close(self) -> None:
        self._book.close()

    def _write(self, place: int, content: Any) -> None:
        match content:
            case None:
                return
            case bool():
                self._sheet.write_boolean(self._rows, place, content)
            case int() | float() | Decimal():
                self._sheet.write_number(self._rows, place, content)
            case _:
                self._sheet.write_string(self._rows, place, str(content)[:CELL_MAX])


def _plain(content: Any) -> Any:
    match content:
        case datetime():
            return content.isoformat(sep=" ", timespec="seconds")
        case date():
            return content.isoformat()
        case None | bool() | int() | float() | Decimal():
            return content
        case _:
            return str(content)
