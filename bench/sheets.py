"""Sheets a second: 100 groups of 25 leads, ours against the plain ReportLab way, in one run; and the memory of a lot.

    .venv/bin/python -m bench.sheets [--groups 100] [--leads 25] [--rounds 3]

The plain way prints the same facts and fields with ReportLab's canvas: `drawString`, and one `acroForm` call a field.
It has Helvetica only: no Greek, Cyrillic or Devanagari, no wrapping, no signature. The ways take turns, so that what
else runs on the machine hits all alike; the best round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta

import psutil
from reportlab.lib.pagesizes import A4, landscape
from reportlab.pdfgen.canvas import Canvas

from services.documents.pdf import render
from services.documents.rendering import open_renderer
from services.documents.sheet import (
    COLUMNS,
    FIELDS,
    HEADER,
    MARGIN,
    ROWS_A_PAGE,
    SheetFacts,
    SheetRow,
    bottom,
    field_boxes,
    field_name,
    input_box,
    printed_boxes,
)

KEY = b"a key for the bench"
DAY = date(2025, 11, 21)
LOT_LEADS, LOT_SHEETS = 10_000, 20


def invented(group: int, leads: int) -> SheetFacts:
    """A sheet of plausible leads."""
    code = f"L251121{group:04}"
    rows = tuple(
        SheetRow(
            lead_assignment_code=f"{code}-{number:04}",
            rowid=number,
            lead_date=DAY - timedelta(days=number % 5),
            lead_type="EN"[number % 2],
            mobile_number=f"+91 98{group:03} {number:05}",
            customer_name=f"Given{number % 97} Surname{group % 89}",
            address=f"{number} Example Street, Sample Nagar, Exampleville 5600{number % 90:02}, beside the market",
        )
        for number in range(1, leads + 1)
    )
    return SheetFacts(f"lot-1-S1-{group:04}", code, f"{group:04}", f"Agent {group}", DAY, rows)


def render_plainly(facts: SheetFacts) -> bytes:
    """The sheet as a newcomer to ReportLab writes it."""
    canvas = Canvas(buffer := io.BytesIO(), pagesize=landscape(A4))
    pages = [facts.rows[start : start + ROWS_A_PAGE] for start in range(0, len(facts.rows), ROWS_A_PAGE)]
    for number, rows in enumerate(pages, 1):
        canvas.setFont("Helvetica-Bold", 12)
        canvas.drawString(MARGIN, HEADER.y + 24, f"Page Group Code: {facts.page_group_code}")
        canvas.drawString(MARGIN, HEADER.y + 7, f"Agent: {facts.agent_code} - {facts.agent_name}")
        canvas.drawString(MARGIN + 600, HEADER.y + 24, f"Batch Date: {facts.batch_date}")
        canvas.drawString(MARGIN + 600, HEADER.y + 7, f"Page {number} of {len(pages)}")
        for place, row in enumerate(rows):
            _draw_row(canvas, row, bottom(place))
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _draw_row(canvas: Canvas, row: SheetRow, y: float) -> None:
    canvas.setFont("Helvetica", 9)
    for column, box in zip(COLUMNS, printed_boxes(), strict=True):
        canvas.rect(MARGIN + box.x, y + box.y, box.width, box.height)
        canvas.drawString(MARGIN + box.x + 3, y + box.y + 28, column.label)
        canvas.drawString(MARGIN + box.x + 3, y + box.y + 12, str(getattr(row, column.attribute) or "")[:60])
    for field, box in zip(FIELDS, map(input_box, field_boxes()), strict=True):
        canvas.drawString(MARGIN + box.x + 3, y + box.y + box.height + 1, field.label)
        place = {"x": MARGIN + box.x, "y": y + box.y, "width": box.width, "height": box.height}
        name = field_name(row.lead_assignment_code, field.name)
        if field.choices:
            options = [choice or " " for choice in field.choices]
            canvas.acroForm.choice(name=name, tooltip=field.label, options=options, value=" ", **place)
        else:
            canvas.acroForm.textfield(name=name, tooltip=field.label, maxlen=field.max_length, **place)


async def timed(way: Callable[[], Awaitable[int]]) -> tuple[float, float, int]:
    """Seconds, seconds of CPU here and in the workers, and bytes made."""
    started, worked = time.perf_counter(), _worked()
    size = await way()
    return time.perf_counter() - started, _worked() - worked, size


def _worked() -> float:
    process = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


async def compare(sheets: Sequence[SheetFacts], rounds: int, workers: int) -> tuple[float, ...]:
    """Print a table, and give sheets a second of each way: plain, ours in one process, ours in workers."""
    async with open_renderer(workers) as renderer:
        await renderer(sheets[:8], KEY)
        render_plainly(sheets[0])

        async def plainly() -> int:
            return sum(len(render_plainly(facts)) for facts in sheets)

        async def ours() -> int:
            return sum(len(render(facts, KEY)) for facts in sheets)

        async def in_workers() -> int:
            chunks = [sheets[start : start + 25] for start in range(0, len(sheets), 25)]
            return sum([len(content) for chunk in chunks for content in await renderer(chunk, KEY)])

        ways = {"plain ReportLab": plainly, "ours, one process": ours, f"ours, {workers} workers": in_workers}
        found = {name: [await timed(way)] for name, way in ways.items()}
        for _ in range(rounds - 1):
            for name, way in ways.items():
                found[name].append(await timed(way))
    base = min(found["plain ReportLab"])[0]
    print(f"{'way':<20} {'sheets/s':>9} {'times':>6} {'CPU ms a sheet':>15} {'kB a sheet':>11}")
    for name, results in found.items():
        seconds, worked, size = min(results)
        print(
            f"{name:<20} {len(sheets) / seconds:9.1f} {base / seconds:6.1f} {worked / len(sheets) * 1000:15.1f}"
            f" {size / len(sheets) / 1000:11.1f}"
        )
    return tuple(len(sheets) / min(results)[0] for results in found.values())


async def memory(workers: int) -> None:
    """Print what this process and its workers hold while a lot is rendered sheet by sheet, at its begin and at most."""
    async with open_renderer(workers) as renderer:
        await renderer([invented(n, LOT_LEADS // LOT_SHEETS) for n in range(workers)], KEY)
        before = most = _resident()
        for group in range(LOT_SHEETS):
            await renderer([invented(group, LOT_LEADS // LOT_SHEETS)], KEY)
            most = max(most, _resident())
    print(f"a lot of {LOT_LEADS:,} leads on {LOT_SHEETS} sheets: {before:.0f} MB before, {most:.0f} MB at most")


def _resident() -> float:
    """MB of this process and its children."""
    process = psutil.Process()
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=100)
    parser.add_argument("--leads", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    options = parser.parse_args()
    sheets = [invented(group, options.leads) for group in range(options.groups)]
    asyncio.run(compare(sheets, options.rounds, options.workers))
    asyncio.run(memory(options.workers))


if __name__ == "__main__":
    main()
