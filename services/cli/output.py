"""How a command's value is shown: as JSON, or as a table for people. The one place that prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table


def show(value: object, *, as_json: bool, zone: ZoneInfo | None = None) -> None:
    """Print a frozen value. For people: scalars line by line, then each list of rows as a table."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    if as_json:
        sys.stdout.write(json.dumps(plain, default=_as_text, ensure_ascii=False) + "\n")
        sys.stdout.flush()  # who reads a command's progress line by line is not to wait for its end
        return
    console = Console(highlight=False)
    if not isinstance(plain, Mapping):
        console.print(_in_words(plain, zone))
        return
    tables = {name: rows for name, rows in plain.items() if _is_table(rows)}
    grid = Table.grid(padding=(0, 3))
    for name, content in plain.items():
        if name not in tables and content is not None:
            grid.add_row(name.replace("_", " "), _in_words(content, zone))
    console.print(grid)
    for name, rows in tables.items():
        console.print(table(name.replace("_", " "), rows, zone))


def table(title: str, rows: Sequence[Mapping[str, Any]], zone: ZoneInfo | None = None) -> Table:
    """Rows as a table, numbers to the right, without the columns that are empty in every row."""
    rows = [{name: row[name] for name in row if any(each[name] is not None for each in rows)} for row in rows]
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for name in rows[0]:
        is_number = isinstance(rows[0][name], int | float) and not isinstance(rows[0][name], bool)
        drawn.add_column(name.replace("_", " "), justify="right" if is_number else "left")
    for row in rows:
        drawn.add_row(*(_in_words(content, zone) for content in row.values()))
    return drawn


def _is_table(content: object) -> bool:
    return isinstance(content, list | tuple) and bool(content) and all(isinstance(row, Mapping) for row in content)


def _in_words(content: object, zone: ZoneInfo | None) -> str:
    match content:
        case None | "":
            words = "-"
        case bool():
            words = "yes" if content else "no"
        case int():
            words = f"{content:,}"
        case float():
            words = f"{content:,.2f}"
        case datetime():
            words = (content.astimezone(zone) if zone else content).isoformat(sep=" ", timespec="seconds")
        case Mapping():
            words = ", ".join(f"{name} {_in_words(part, zone)}" for name, part in content.items()) or "none"
        case list() | tuple():
            words = ", ".join(_in_words(part, zone) for part in content) or "none"
        case _:
            words = str(content)
    return words


def _as_text(content: object) -> str:
    return content.isoformat() if isinstance(content, date | datetime) else str(content)
