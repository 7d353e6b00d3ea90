"""`leadline import`: a CRM's export, published as `lead.created` like any client's leads."""

from __future__ import annotations

import asyncio
import csv
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TextIO, assert_never

import typer
import uvloop
from pydantic_core import to_json
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.ingest.exports import REJECTED_LINE, REJECTED_REASON
from services.ingest.files import (
    ImportedLead,
    ImportFileError,
    Outcome,
    ReadOptions,
    RejectedRow,
    Skipped,
    lay_out,
    open_table,
    read_leads,
)
from shared.events import LeadCreated
from shared.messaging.publisher import Outgoing, PublishError, open_publisher
from shared.process import spare_the_collector
from shared.settings import load_settings

CHUNK = 500
CHUNKS_IN_FLIGHT = 4

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far an import is: the share of the file from 0 to 1, and what became of its rows."""

    share: float
    rows: int
    sent: int
    skipped_closed: int
    rejected: int


Tell = Callable[[Progressed], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What became of the file's rows; `sent` is what would be in a dry run. Blank rows are not counted."""

    file: Path
    #: CSV with its encoding, XLSX, …
    kind: str
    system: str
    is_dry_run: bool
    rows: int
    sent: int
    skipped_closed: int
    #: "Lead Status: Junk Lead" → rows.
    closed_by: Mapping[str, int]
    rejected: int
    rejected_file: Path | None
    #: How 04/05/2024 was read and why; None where no date left it open.
    date_order: str | None
    seconds: float


class RejectedFile:
    """Rejected rows with line and reason, and with their cells, so that they can be corrected and imported again."""

    def __init__(self, source: Path, columns: Sequence[str]) -> None:
        self._source, self._columns = source, columns
        self._file: TextIO | None = None
        self.path: Path | None = None

    def write(self, row: RejectedRow) -> None:
        if self._file is None:
            self._file = self._create()
            csv.writer(self._file).writerow([REJECTED_LINE, REJECTED_REASON, *self._columns])
        csv.writer(self._file).writerow([row.line, row.reason, *row.cells])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _create(self) -> TextIO:
        """Beside the input, or where that is not allowed in the working directory."""
        name = f"{self._source.stem}.rejected.csv"
        problem = ""
        for folder in (self._source.parent, Path.cwd()):
            self.path = folder / name
            try:
                return self.path.open("w", encoding="utf-8-sig", errors="replace", newline="")
            except OSError as error:
                problem = error.strerror or str(error)
        raise ImportFileError(f"the rejected rows cannot be written to {self.path}: {problem}")


class _Import:
    """The state of one run: what is counted, and what waits to be published."""

    def __init__(self, publish: Publish | None, rejected_file: RejectedFile) -> None:
        self._publish, self._rejected_file = publish, rejected_file
        self._waiting: list[Outgoing] = []
        self._on_their_way: deque[tuple[int, asyncio.Task[None]]] = deque()
        self.rows = self.sent = self.rejected = 0
        self.closed_by: Counter[str] = Counter()

    def take(self, outcome: Outcome) -> bool:
        """Count the row; whether enough wait to be published."""
        self.rows += 1
        match outcome:
            case ImportedLead():
                self._waiting.append(Outgoing(LeadCreated.type, outcome.body, outcome.lead_id))
            case Skipped():
                self.closed_by[outcome.closed_by] += 1
            case RejectedRow():
                self.rejected += 1
                self._rejected_file.write(outcome)
            case _:
                assert_never(outcome)
        return len(self._waiting) >= CHUNK

    async def publish(self) -> None:
        """Begin to publish what waits, while the next rows are read; waits first while too much is unconfirmed."""
        count, messages, self._waiting = len(self._waiting), self._waiting, []
        if self._publish is None:
            self.sent += count
            return
        while len(self._on_their_way) >= CHUNKS_IN_FLIGHT:
            await self._confirmed()
        self._on_their_way.append((count, asyncio.ensure_future(self._publish(messages))))
        await asyncio.sleep(0)  # to the broker, before the next rows are read

    async def finish(self) -> None:
        """Return when all is confirmed."""
        if self._waiting:
            await self.publish()
        while self._on_their_way:
            await self._confirmed()

    async def _confirmed(self) -> None:
        count, task = self._on_their_way.popleft()
        try:
            await task
        except PublishError as error:
            await asyncio.gather(*(task for _, task in self._on_their_way), return_exceptions=True)
            raise ImportFileError(self._stopped(error)) from error
        self.sent += count

    def progress(self, share: float) -> Progressed:
        return Progressed(min(share, 1.0), self.rows, self.sent, self.closed_by.total(), self.rejected)

    def _stopped(self, error: PublishError) -> str:
        problem = f"{error}, see LEADLINE_AMQP_URL"
        if not self.sent:
            return f"no lead was confirmed: {problem}"
        return (
            f"stopped after {self.sent:,} leads were sent: {problem}; import the file again, "
            "what has arrived is not doubled"
        )


async def import_file(
    path: Path,
    options: ReadOptions,
    *,
    publish: Publish | None,
    show_progress: bool = False,
    tell: Tell | None = None,
) -> ImportSummary:
    """Publish every open lead of the file in chunks, a few of them unconfirmed at most; without `publish` only count.

    Rejected rows go to `NAME.rejected.csv` in a dry run too. `tell` is called after each chunk.

    Raises:
        ImportFileError: the file is no table, an option does not fit it, or the broker is away.
    """
    started = time.perf_counter()
    table = open_table(path)
    layout = lay_out(table, options)
    with ExitStack() as stack:
        rejected_file = RejectedFile(path, table.columns)
        stack.callback(rejected_file.close)
        progress = stack.enter_context(_progress(show_progress))
        bar = progress.add_task(path.name, total=table.rows.size)
        run = _Import(publish, rejected_file)
        for outcome in read_leads(table.rows, layout, include_closed=options.include_closed):
            if run.take(outcome):
                await run.publish()
                if tell is not None:
                    await tell(run.progress(table.rows.position / max(table.rows.size, 1)))
            if run.rows % CHUNK == 0:
                progress.update(bar, completed=table.rows.position)
        await run.finish()
    return ImportSummary(
        file=path,
        kind=table.kind,
        system=table.system,
        is_dry_run=publish is None,
        rows=run.rows,
        sent=run.sent,
        skipped_closed=run.closed_by.total(),
        closed_by=dict(run.closed_by.most_common()),
        rejected=run.rejected,
        rejected_file=rejected_file.path,
        date_order=str(layout.date_order) if layout.date_order.evidence else None,
        seconds=round(time.perf_counter() - started, 3),
    )


def _progress(is_shown: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (is_shown and console.is_terminal))


def import_command(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, XLSX, XLS or ODS; the content counts, not the name.")],
    source: Annotated[str | None, typer.Option(help="The source of rows that name none.")] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", metavar="FIELD=COLUMN", help="Which column is which field; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; say what would be sent.")] = False,
    include_closed: Annotated[
        bool, typer.Option("--include-closed", help="Send leads too that their CRM calls closed; they get assigned.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Import a CRM's export: Zoho, HubSpot, Salesforce, Meta Lead Ads, Google Ads, or a plain table.

    Importing a file twice creates nothing new.
    """
    options = ReadOptions(source=source, mapping=_parse_mapping(mapping or []), include_closed=include_closed)
    spare_the_collector()
    summary = uvloop.run(_run(file, options, dry_run=dry_run, show_progress=not as_json))
    if as_json:
        sys.stdout.write(to_json(asdict(summary), indent=2).decode() + "\n")
    else:
        Console(highlight=False).print(_in_words(summary), markup=False, soft_wrap=True)


async def _run(file: Path, options: ReadOptions, *, dry_run: bool, show_progress: bool) -> ImportSummary:
    if dry_run:
        return await import_file(file, options, publish=None, show_progress=show_progress)
    async with open_publisher(load_settings().amqp_url, "leadline-import") as publisher:
        return await import_file(file, options, publish=publisher.publish, show_progress=show_progress)


def _parse_mapping(pairs: Sequence[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        name, equals, column = (part.strip() for part in pair.partition("="))
        if not (name and equals and column):
            raise ImportFileError(f"--map {pair}: write FIELD=COLUMN, for example --map customer_name=Client")
        mapping[name] = column
    return mapping


def _in_words(summary: ImportSummary) -> str:
    would = "would be sent (dry run)" if summary.is_dry_run else "sent"
    lines = [
        f"{summary.file.name}: {summary.system}, {summary.kind}, {summary.rows:,} rows in {summary.seconds:.1f} s",
        f"  {summary.sent:>9,}  {would}",
        f"  {summary.skipped_closed:>9,}  closed in their CRM, skipped",
        *(f"             {count:>9,}  {reason}" for reason, count in summary.closed_by.items()),
        f"  {summary.rejected:>9,}  rejected" + (f", see {summary.rejected_file}" if summary.rejected_file else ""),
    ]
    if summary.date_order:
        lines.append(f"  dates like 04/05/2024 were read {summary.date_order}")
    return "\n".join(lines)
