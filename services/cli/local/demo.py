"""The demo: the stack up, synthetic leads sent, and a summary counted from the database, the disk and the mailbox."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from services.cli.local import stack
from services.cli.local.endpoints import Endpoints
from services.cli.local.failures import LocalError
from services.cli.local.nodes import STATE
from services.cli.output import table
from services.cli.statistics import Statistics, read_statistics
from services.simulator.run import AtOnce, Plan, SimulationSummary, simulate
from shared.db.session import open_database
from shared.messaging.publisher import open_publisher

LEADS = 500
DUPLICATES_PERCENT = 5.0
MALFORMED_PERCENT = 4.0
LOOK_EVERY_S = 0.5
#: Earlier work is over when nothing has changed for this long.
QUIET_S = 1.0
#: Without any progress for this long, something is wrong.
PATIENCE_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a demo did: its own share, where the stack had worked before."""

    sent: int
    accepted: int
    duplicates: int
    dead: int
    assigned: int
    spread: int
    documents: int
    emails: int
    seconds: float
    sheets_dir: str
    mail_dir: str


@dataclass(frozen=True, slots=True)
class _Counts:
    """All counted at one moment: rows from the database, sheets on disk, mails in the mailbox."""

    statistics: Statistics
    sheets: int
    mails: int

    def since(self, before: _Counts) -> dict[str, int]:
        now, then = self.statistics, before.statistics
        counts = {
            name: getattr(now, name) - getattr(then, name) for name in ("accepted", "duplicates", "dead", "assigned")
        }
        return {**counts, "documents": self.sheets - before.sheets, "emails": self.mails - before.mails}


def demo(leads: int, *, is_quiet: bool) -> tuple[Summary, Statistics]:
    """Bring the stack up, send `leads` messages, and wait until every one has come to its end.

    Raises:
        LocalError: something got stuck; the message says where.

    Interrupted, it leaves no process behind that it has started.
    """
    return on_stack(lambda endpoints: _run(endpoints, leads, is_quiet=is_quiet))


def on_stack(work: Callable[[Endpoints], Coroutine[Any, Any, T]]) -> T:
    """Bring the stack up, work on it, and leave it running; interrupted, leave no process that was started for this."""
    was_up = Endpoints.of() is not None
    endpoints = stack.up()
    try:
        return asyncio.run(work(endpoints))
    except (KeyboardInterrupt, SystemExit):
        if not was_up:
            stack.down()
        raise


def show(summary: Summary, statistics: Statistics) -> None:
    """Print a summary that a person enjoys reading."""
    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(justify="right", style="bold")
    facts.add_row(f"{summary.sent:,}", "messages sent")
    facts.add_row(f"{summary.accepted:,}", "leads accepted")
    facts.add_row(f"{summary.duplicates:,}", "duplicates recognised")
    facts.add_row(f"{summary.dead:,}", "malformed, kept as dead letters")
    facts.add_row(f"{summary.assigned:,}", f"leads assigned, spread {summary.spread} between agents")
    facts.add_row(f"{summary.documents:,}", f"sheets in {summary.sheets_dir}")
    facts.add_row(f"{summary.emails:,}", f"mails in {summary.mail_dir}")
    facts.add_row(f"{summary.seconds:,.1f}", "seconds from the first message to the last mail")
    console.print(Panel(facts, title="Leadline", title_align="left", expand=False))
    agents = [{"agent": each.agent, "name": each.name, "assigned": each.assigned} for each in statistics.agents]
    console.print(table("Who got how many", agents))
    if statistics.dead_letters:
        dead = [{"messages": group["messages"], "why": group["example"]} for group in statistics.dead_letters]
        console.print(table("Dead letters", dead))
    console.print("The stack goes on running: [bold]./run down[/bold] stops it.")


async def _run(endpoints: Endpoints, leads: int, *, is_quiet: bool) -> tuple[Summary, Statistics]:
    before = await _at_rest(endpoints)
    began = time.monotonic()
    plan = Plan(
        seed=secrets.randbits(32),
        pace=AtOnce(),
        count=leads,
        duplicates=DUPLICATES_PERCENT,
        malformed=MALFORMED_PERCENT,
    )
    with _progress(leads, is_quiet=is_quiet) as progress:
        async with open_publisher(endpoints.amqp_url, "demo") as publisher:
            sending = asyncio.create_task(simulate(publisher.publish, plan, asyncio.Event()))
            after = await _until_done(endpoints, before, leads, progress, sending)
            sent = (await sending).sent
    counts = after.since(before)
    summary = Summary(
        sent=sent,
        spread=after.statistics.spread,
        seconds=round(time.monotonic() - began, 2),
        sheets_dir=endpoints.sheets_dir,
        mail_dir=endpoints.mail_dir,
        **counts,
    )
    return summary, after.statistics


async def _at_rest(endpoints: Endpoints) -> _Counts:
    """Count what was there before, once earlier work has come to its end."""
    before = await _count(endpoints)
    quiet_since = began = time.monotonic()
    while time.monotonic() - quiet_since < QUIET_S:
        if time.monotonic() - began > PATIENCE_S:
            raise LocalError("the stack is busy with something else: try again when `leadline stats` stands still")
        await asyncio.sleep(LOOK_EVERY_S)
        if (now := await _count(endpoints)) != before:
            before, quiet_since = now, time.monotonic()
    return before


async def _until_done(
    endpoints: Endpoints, before: _Counts, leads: int, progress: _Progress, sending: asyncio.Task[SimulationSummary]
) -> _Counts:
    """Look until every message has come to its end and every lead has its mail."""
    last: dict[str, int] = {}
    moved_at = time.monotonic()
    while True:
        now = await _count(endpoints)
        counts = now.since(before)
        progress.show(counts)
        if _is_done(counts, leads):
            return now
        if counts != last:
            last, moved_at = counts, time.monotonic()
        if time.monotonic() - moved_at > PATIENCE_S:
            sending.cancel()
            raise LocalError(f"stuck for {PATIENCE_S:.0f} s at {counts}; see {STATE / 'log'}")
        await asyncio.sleep(LOOK_EVERY_S)


def _is_done(counts: dict[str, int], leads: int) -> bool:
    ended = counts["accepted"] + counts["duplicates"] + counts["dead"]
    return ended == leads and counts["assigned"] == counts["documents"] == counts["emails"] == counts["accepted"]


async def _count(endpoints: Endpoints) -> _Counts:
    async with open_database(endpoints.database_url, application_name="leadline demo") as database:
        statistics = await read_statistics(database)
    return _Counts(statistics, _files(endpoints.sheets_dir, "*.pdf"), _files(endpoints.mail_dir, "*.eml"))


def _files(folder: str, pattern: str) -> int:
    return sum(1 for _ in Path(folder).rglob(pattern))


class _Progress:
    """A bar for each station, at a terminal; nothing elsewhere."""

    STATIONS = (("accepted", "stored"), ("assigned", "assigned"), ("documents", "sheets"), ("emails", "mails"))

    def __init__(self, bars: Progress, leads: int) -> None:
        self._bars = bars
        self._tasks = {name: bars.add_task(label, total=leads) for name, label in self.STATIONS}

    def show(self, counts: dict[str, int]) -> None:
        refused = counts["duplicates"] + counts["dead"]
        for name, task in self._tasks.items():
            self._bars.update(task, completed=counts[name] + refused)


@contextlib.contextmanager
def _progress(leads: int, *, is_quiet: bool) -> Iterator[_Progress]:
    bars = Progress(TextColumn("{task.description:>9}"), BarColumn(40), MofNCompleteColumn())
    console = Console(stderr=True, quiet=is_quiet or not Console(stderr=True).is_terminal)
    with Live(bars, console=console, refresh_per_second=8, transient=True):
        yield _Progress(bars, leads)
