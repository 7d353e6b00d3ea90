"""The five systems' summary, for people to read."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from services.cli import output
from services.cli.local.demo import on_stack
from services.cli.local.endpoints import Endpoints
from services.cli.local.five import FiveSummary, show_five
from services.cli.local.fivesystems import Outcome, Share

BAR = "█"
_BAR_WIDTH = 24


def demo_five(leads: int, *, as_json: bool) -> None:
    """Bring the stack up, let five systems distribute `leads` between them, and print what each did."""

    def work(endpoints: Endpoints) -> Coroutine[Any, Any, FiveSummary]:
        return _told(endpoints, leads, Console(stderr=True, quiet=as_json))

    summary = on_stack(work)
    if as_json:
        output.show(summary, as_json=True)
    else:
        show(summary, Console(highlight=False))


def show(summary: FiveSummary, console: Console) -> None:
    """Print one panel a system, and what they did together."""
    for outcome in summary.systems:
        console.print(_panel(outcome))
    console.print(_together(summary))
    console.print("The stack goes on running: [bold]./run down[/bold] stops it.")


async def _told(endpoints: Endpoints, leads: int, console: Console) -> FiveSummary:
    with console.status("the stack is up") as status:
        return await show_five(endpoints, leads, status.update)


def _panel(outcome: Outcome) -> Panel:
    members = Table.grid(padding=(0, 2))
    most = max((share.assigned for share in outcome.agents), default=0)
    for share in outcome.agents:
        bar = BAR * round(_BAR_WIDTH * share.assigned / most) if most else ""
        members.add_row(share.name, Text(f"{share.assigned:,}", justify="right"), bar.ljust(_BAR_WIDTH), _limits(share))
    return Panel(
        Group(Text(outcome.rule, style="italic"), members, _ends(outcome)),
        title=f"[bold]{outcome.system}",
        title_align="left",
        width=110,
    )


def _limits(share: Share) -> str:
    """What a member is for, and what it may get at most."""
    caps = [
        f"{cap} {kind}"
        for cap, kind in ((share.max_existing_per_lot, "existing"), (share.max_new_per_lot, "new"))
        if cap is not None
    ]
    parts = [
        share.store,
        share.business_line,
        f"weight {share.weight}" if share.weight != 1 else None,
        f"at most {share.max_load} open" if share.max_load is not None else None,
        f"at most {' and '.join(caps)} a lot" if caps else None,
        f"{share.max_daily_leads} a day" if share.max_daily_leads is not None else None,
    ]
    return ", ".join(part for part in parts if part)


def _ends(outcome: Outcome) -> Text:
    paper = f", {_several(outcome.sheets, 'sheet')}, {_mails(outcome)}" if outcome.sheets else ""
    words = f"{outcome.accepted:,} leads: {outcome.assigned:,} assigned{paper}"
    for reason, leads in outcome.waiting.items():
        words += f"\n{leads:,} wait: {reason}"
    return Text(words)


def _mails(outcome: Outcome) -> str:
    """Who gets what of it by mail."""
    parts = [
        f"{_several(outcome.mails, 'mail')} to agents",
        f"{outcome.store_mails:,} to stores" if outcome.store_mails else "",
        f"{_several(outcome.summaries, 'summary', 'summaries')} of a lot" if outcome.summaries else "",
    ]
    return ", ".join(filter(None, parts))


def _together(summary: FiveSummary) -> Panel:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(justify="right", style="bold")
    for number, words in _facts(summary):
        facts.add_row(number, words)
    return Panel(facts, title="[bold]Five systems, one Leadline", title_align="left", width=110)


def _facts(summary: FiveSummary) -> Iterator[tuple[str, str]]:
    if summary.closed:
        yield f"{summary.closed:,}", "leads of earlier runs closed first, so that places were free"
    yield f"{summary.sent:,}", f"leads sent, {summary.accepted:,} accepted"
    yield f"{summary.assigned:,}", "leads assigned, each by its route's own rule"
    yield f"{summary.waiting:,}", "leads wait, each for a reason that is told"
    yield f"{summary.sheets:,}", f"sheets in {summary.sheets_dir}"
    mails = summary.mails + summary.store_mails + summary.summaries
    yield f"{mails:,}", f"mails in {summary.mail_dir}:"
    yield "", f"{_several(summary.mails, 'sheet')} to agents, {_several(summary.store_mails, 'mail')} to stores"
    yield "", f"{summary.summaries:,} to the office, each about a lot"
    yield f"{summary.seconds:,.1f}", "seconds from the first lead to the last mail"


def _several(number: int, what: str, several: str = "") -> str:
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"
