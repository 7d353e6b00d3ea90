"""Counters that are kept, held against what can be counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from services.cli.decisions.differences import Difference, Names
from services.cli.decisions.replay import Replay, Row


@dataclass(frozen=True, slots=True)
class RouteCounters:
    """What is kept of a route's members."""

    sequence: int
    #: Per agent: received, and begun with.
    members: Mapping[int, tuple[int, int]]
    days: Mapping[tuple[date, Row], int]


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter as it is kept, and as it can be counted."""

    name: str
    agent_id: int
    kept: int
    counted: int
    page_group_code: str | None = None


def of_route(
    route: str, kept: RouteCounters, replay: Replay, starts: Mapping[str, int], names: Names
) -> Iterator[Difference]:
    """Hold a route's counters against what its decisions gave; `starts`: its last version's."""
    for agent_id in sorted(kept.members.keys() | replay.received.keys()):
        received, start = kept.members.get(agent_id, (0, 0))
        begun = starts.get(str(agent_id), 0)
        whose = names.agent(agent_id)
        if received != replay.received[agent_id]:
            words = f"assigned_count of {whose} is {received:,}; its decisions gave {replay.received[agent_id]:,}"
            yield Difference("counter", words, route)
        if start != begun:
            yield Difference("counter", f"start_count of {whose} is {start:,}; its version says {begun:,}", route)
    for day, row in sorted(kept.days.keys() | {key for key, leads in replay.on_days.items() if leads}):
        leads, given = kept.days.get((day, row), 0), replay.on_days[day, row]
        if leads != given:
            of_row = f"{names.agent(row[0])}, {f'store {row[1]}' if row[1] else 'all stores'}"
            yield Difference("counter", f"leads on {day} of {of_row} are {leads:,}; decisions gave {given:,}", route)


def of_agents(counted: Iterable[Counted], names: Names) -> Iterator[Difference]:
    """Hold counters over all routes against what was counted."""
    for each in counted:
        if each.kept != each.counted:
            whose = f"of {names.agent(each.agent_id)}" if each.page_group_code is None else f"of {each.page_group_code}"
            yield Difference("counter", f"{each.name} {whose} is {each.kept:,}; counted {each.counted:,}")
