"""A look as a screen of text, 80 columns wide or wider: what matters most stands on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.monitor.looks import Look, Queue
from services.cli.replicas import outages
from services.cli.standings import Line

FEWEST_MEMBERS = 3
#: Rows of a route besides its members', and of the screen besides its routes, latest assignments and configuration.
ROUTE_ROWS, FIXED_ROWS = 5, 23


def screen(look: Look, zone: ZoneInfo, *, height: int, problem: str | None = None) -> RenderableType:
    """Draw a look. Of each route as many members are shown as `height` rows have room for, and at least three."""
    shown = max(FEWEST_MEMBERS, _rows_left(look, height) // max(1, len(look.lines)))
    parts: list[RenderableType] = [_title(look, zone), *_problems(look, problem), _figures(look)]
    parts += [part for line in look.lines for part in _route(line, shown)]
    parts += [_new(look, zone), _configuration(look.configuration)]
    return Group(*parts)


def _rows_left(look: Look, height: int) -> int:
    """How many rows there are for members of all routes."""
    return height - FIXED_ROWS - len(look.new) - len(look.configuration) - ROUTE_ROWS * len(look.lines)


def _title(look: Look, zone: ZoneInfo) -> Text:
    return Text.assemble(("Leadline", "bold"), f"  {look.at.astimezone(zone):%Y-%m-%d %H:%M:%S %z}")


def _problems(look: Look, problem: str | None) -> list[Text]:
    wrong = [words for words in (problem, look.broker_problem) if words] + outages(look.replicas)
    return [Text(words, style="bold red") for words in wrong]


def _figures(look: Look) -> Table:
    """Queues beside counts."""
    grid = Table.grid(padding=(0, 4))
    grid.add_row(_queues(look.queues), _counts(look))
    return grid


def _table(*columns: str, numbers: Sequence[str] = (), title: str | None = None) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return table


def _queues(queues: Sequence[Queue]) -> Table:
    table = _table("queue", "ready", "consumers", numbers=("ready", "consumers"))
    for queue in queues:
        is_left = queue.ready and not queue.consumers and queue.name != "retry"
        consumers = "" if queue.name == "retry" else str(queue.consumers)
        table.add_row(queue.name, f"{queue.ready:,}", consumers, style="red" if is_left else "")
    return table


def _counts(look: Look) -> Table:
    table = _table("", "all", "a minute", "24 h", numbers=("all", "a minute", "24 h"))
    for name, count in look.counts.items():
        rate = look.rates.get(name)
        day = look.last_24_h.get(name)
        table.add_row(name, f"{count:,}", "" if rate is None else f"{rate:,.0f}", "" if day is None else f"{day:,}")
    for name in ("taken", "closed"):
        table.add_row(name, "", "", f"{look.last_24_h[name]:,}")
    if look.took.p50_s is not None:
        table.add_row("took, half", f"{look.took.p50_s:,.2f} s", "", "")
        table.add_row("took, 99 %", f"{look.took.p99_s:,.2f} s", "", "")
    return table


def _route(line: Line, shown: int) -> list[RenderableType]:
    """A route's line: the figures of its counts, who is next, and the first of its members."""
    figures = Text.assemble(
        ("\n" + line.route, "bold"), f"  {_figures_of(line)}\n", f"next {line.next or 'nobody'}: {line.why}"
    )
    numbers = ("next", "count", "today", "open", "max")
    table = _table("next", "agent", "name", "count", "today", "open", "max", "may get none", numbers=numbers)
    for member in line.members[:shown]:
        table.add_row(
            "" if member.place is None else str(member.place),
            member.agent + (f" at {member.store}" if member.store else ""),
            member.name[:24],
            f"{member.count:,}",
            f"{member.today:,}",
            f"{member.open:,}",
            "" if member.max_load is None else f"{member.max_load:,}",
            member.why_not or "",
            style="" if member.place else "dim",
        )
    rest = len(line.members) - shown
    return [figures, table, *([Text(f"… and {rest:,} more", style="dim")] if rest > 0 else [])]


def _figures_of(line: Line) -> str:
    if line.average is None:
        return ""
    return f"min {line.least:,}  max {line.most:,}  average {line.average:,.1f}  variance {line.variance:,.1f}"


def _new(look: Look, zone: ZoneInfo) -> RenderableType:
    title = "\nlatest assignments" if look.new_count is None else f"\n{look.new_count:,} new assignments"
    if not look.new:
        return Text(title, style="bold")
    table = _table("at", "lead", "source", "agent", "count", "method", numbers=("count",), title=title)
    for each in look.new:
        counts = "" if each["before"] is None else f"{each['before']:,} → {each['after']:,}"
        at = f"{each['at'].astimezone(zone):%H:%M:%S}"
        table.add_row(at, each["lead"][:20], each["source"][:12], each["agent"], counts, each["method"])
    return table


def _configuration(routes: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("route", "for", "policy", "mode", "members", numbers=("members",), title="\nconfiguration")
    for route in routes:
        match = "/".join(route[name] for name in ("source", "store", "line") if route[name]) or "all leads"
        params = ", ".join(f"{name} {value}" for name, value in route["params"].items())
        mode = " ".join([route["mode"], *([", ".join(route["schedule"])] if route["schedule"] else [])])
        policy = route["policy"] + (f" ({params})" if params else "")
        style = "" if route["in_use"] else "dim strike"
        table.add_row(route["route"][:20], match[:20], policy, mode, str(route["members"]), style=style)
    return table
