"""Rows a second of `leadline import`, up to a confirm for each, with nobody consuming."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.ground import Ground
from bench.leads import leads
from bench.ways import Leadline

COLUMNS = {
    "lead_id": "Lead ID",
    "source": "Source",
    "store_code": "Store Code",
    "country": "Country",
    "document_type": "Document Type",
    "document_number": "Document Number",
    "customer_name": "Customer Name",
    "mobile_number": "Mobile Number",
    "email": "Email",
    "address": "Address",
    "customer_type": "Customer Type",
    "created_at": "Created At",
}
PART = 50_000


@dataclass(frozen=True, slots=True)
class Import:
    """What an import took."""

    rows: int
    rows_per_s: float
    #: Microseconds of processor time a row of the import itself.
    worked_us: float
    resident_mb: float


async def measure(ground: Ground, rows: int) -> Import:
    """Import a CSV of so many rows in a process of its own."""
    setting = await Leadline().set_up(ground)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "leads.csv"
        await asyncio.to_thread(_write, path, rows)
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("leadline"),
            "import",
            path,
            "--json",
            stdout=asyncio.subprocess.PIPE,
            env=setting.environment,
        )
        reading = asyncio.create_task(process.communicate())
        watched = psutil.Process(process.pid)
        most, worked = 0, 0.0
        while not reading.done():
            try:
                most = max(most, watched.memory_info().rss)
                worked = sum(watched.cpu_times()[:2])
            except psutil.Error:
                break
            await asyncio.sleep(0.1)
        output, _ = await reading
    told = json.loads(output)
    assert told["sent"] == rows, told
    return Import(rows, rows / told["seconds"], worked * 1e6 / rows, most / 1e6)


def _write(path: Path, rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS.values())
        for start in range(0, rows, PART):
            for lead in leads(min(PART, rows - start), seed=1_000 + start):
                fields = json.loads(lead.body)
                writer.writerow([fields[name] for name in COLUMNS])
