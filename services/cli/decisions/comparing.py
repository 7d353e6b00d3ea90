"""`leadline whatif`: reads a route's past, lets another policy take it, and compares. Writes nothing."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import text

from services.assigner.policies import POLICIES, Policy
from services.assigner.policies.params import Params, ParamsError, read_params
from services.cli.decisions.courses import Course, WhatIf
from services.cli.decisions.evenness import jain, spread
from services.cli.decisions.history import Version
from services.cli.decisions.reading import last_version, lead_texts, read_steps, route_sequences
from services.cli.failures import CommandError
from shared.db.session import Database

#: What moved an agent's load after it was given.
CLOSES = text("""
    SELECT assignment_records.updated_at, assignment_records.lead_id, assignment_records.method
    FROM assignment_records JOIN assignments ON assignments.id = assignment_records.assignment_id
    WHERE assignments.route_id = :route_id AND assignment_records.method IN ('closed', 'reopened')
      AND (assignment_records.method = 'closed' OR assignment_records.open_after IS NOT NULL)
    ORDER BY assignment_records.id
""")


@dataclass(frozen=True, slots=True)
class WhatIfAsked:
    """Which past, and which policy."""

    route: str
    policy: str
    params: Mapping[str, Any] = field(default_factory=dict)
    since: date | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What an agent received, and what it would have."""

    agent: str
    name: str
    was: int
    was_share: float
    would: int
    would_share: float
    difference: int


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of both ways. Spread and index are of agents who may get leads now.

    A lead that was never part of a decision, since nobody could get it whenever it was looked at, is in neither.
    """

    measure: str
    was: float
    would: float


@dataclass(frozen=True, slots=True)
class Compared:
    """A route's past beside what another policy would have made of it."""

    route: str
    was: str
    would: str
    params: Mapping[str, Any]
    since: date | None
    decisions: int
    leads: int
    #: Leads that went to another agent, or to one at all, or to none.
    moved: int
    measures: Sequence[Measure]
    agents: Sequence[Share]


def param(said: str) -> tuple[str, Any]:
    """Read name=value, the value as JSON where it is some. CommandError if it is neither."""
    name, is_given, value = said.partition("=")
    if not is_given:
        raise CommandError(f"--param {said}: write it as name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


async def what_if(database: Database, asked: WhatIfAsked) -> Compared:
    """Let a policy take a route's past decisions. CommandError if there is no such route, or it does not fit."""
    async with database.reading() as connection:
        ((route_id, upto),) = (await route_sequences(connection, asked.route)).items()
        closes = deque((await connection.execute(CLOSES, {"route_id": route_id})).all())
    last = await last_version(database, route_id, upto)
    if last is None:
        raise CommandError(f"route {asked.route!r} has no history")
    policy = _policy(asked, last)
    what_if = WhatIf(lambda version: (policy, _params(asked, policy, version)))
    number = 0
    async for step in read_steps(database, route_id, upto):
        if step.decision is None or step.version is None:
            continue
        _move(what_if, closes, step.decision.moment.now)
        if asked.since is not None and step.decision.day < asked.since:
            what_if.follow(step.version, step.decision)
            continue
        number += 1
        texts = await lead_texts(database, list(step.decision.choices)) if policy.name == "weighted_random" else {}
        what_if.take(step.version, step.decision, texts)
    return _compared(asked, policy, last, what_if, number)


def _policy(asked: WhatIfAsked, version: Version) -> Policy:
    policy = POLICIES.get(asked.policy)
    if policy is None:
        raise CommandError(f"there is no policy {asked.policy!r}; there are: {', '.join(POLICIES)}")
    if version.route.mode not in policy.modes:
        raise CommandError(f"{asked.policy} works in lots only; route {asked.route!r} assigns leads as they come")
    return policy


def _params(asked: WhatIfAsked, policy: Policy, version: Version) -> Params:
    """Give what was asked for; of the route's own policy, what is not asked for is as the route had it."""
    own = version.route.params if version.route.policy == policy.name else {}
    try:
        return read_params(policy.params, {**own, **asked.params})
    except ParamsError as error:
        raise CommandError(f"{policy.name}: parameter {error}") from error


def _move(what_if: WhatIf, closes: deque[Any], now: datetime) -> None:
    """Apply the closes before a decision."""
    while closes and closes[0].updated_at <= now:
        change = closes.popleft()
        if change.method == "closed":
            what_if.close(change.lead_id)
        else:
            what_if.reopen(change.lead_id)


def _compared(asked: WhatIfAsked, policy: Policy, last: Version, what_if: WhatIf, decisions: int) -> Compared:
    was, would = what_if.was, what_if.would
    return Compared(
        route=asked.route,
        was=last.route.policy,
        would=policy.name,
        params=asked.params,
        since=asked.since,
        decisions=decisions,
        leads=len(what_if.seen),
        moved=sum(was.owners.get(lead_id) != would.owners.get(lead_id) for lead_id in what_if.seen),
        measures=_measures(last, what_if),
        agents=_shares(last, was, would),
    )


def _shares(last: Version, was: Course, would: Course) -> list[Share]:
    names = {row.agent_id: (row.agent_code, row.agent_name) for row in last.members}
    agent_ids = sorted(names.keys() | was.received.keys() | would.received.keys())
    whole = was.received.total() or 1, would.received.total() or 1
    return [
        Share(
            *names.get(agent_id, (f"number {agent_id}", "no member any more")),
            was=was.received[agent_id],
            was_share=was.received[agent_id] / whole[0],
            would=would.received[agent_id],
            would_share=would.received[agent_id] / whole[1],
            difference=would.received[agent_id] - was.received[agent_id],
        )
        for agent_id in agent_ids
    ]


def _measures(last: Version, what_if: WhatIf) -> list[Measure]:
    ways = what_if.was, what_if.would
    eligible = {row.agent_id for row in last.members if row.is_active and row.is_enabled}
    counts = [[way.received[agent_id] for agent_id in eligible] for way in ways]
    found: Sequence[tuple[str, Sequence[float]]] = (
        ("assigned", [way.received.total() for way in ways]),
        ("unassigned", [len(what_if.seen - way.ever) for way in ways]),
        ("spread", [spread(each) for each in counts]),
        ("Jain's index", [round(jain(each), 4) for each in counts]),
        ("caps hit", [way.caps_hit for way in ways]),
    )
    return [Measure(name, was, would) for name, (was, would) in found]
