"""`leadline decisions verify`: history run again, and everything kept held against it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace

from services.cli.decisions import counters
from services.cli.decisions.checking import Check
from services.cli.decisions.differences import Difference
from services.cli.decisions.reading import Snapshot, last_version, lead_texts, read_steps, take_snapshot, texts_for
from shared.db.session import Database

#: So many are told one by one.
MOST = 1_000


@dataclass(frozen=True, slots=True)
class Verified:
    """What was run again: decisions, the leads in them each time it was decided on them, those that were assigned."""

    routes: int
    decisions: int
    leads: int
    assigned: int
    differences: int
    found: Sequence[Difference]


async def verify(database: Database, route: str | None) -> Verified:
    """Run the decisions of a route, or of all, again: those up to the moment at which this begins.

    Counters are held against them as they were at that moment. CommandError if there is no such route.
    """
    snapshot = await take_snapshot(database, route)
    checks = {route_id: Check(route_id, snapshot.names, snapshot.misfits) for route_id in snapshot.routes}
    found: list[Difference] = []
    number = 0
    async for difference in _differences(database, snapshot, checks, is_whole=route is None):
        number += 1
        if number <= MOST:
            found.append(difference)
    return Verified(
        routes=len(checks),
        decisions=sum(check.decisions for check in checks.values()),
        leads=sum(check.leads for check in checks.values()),
        assigned=sum(check.assigned for check in checks.values()),
        differences=number,
        found=await _with_texts(database, found),
    )


async def _differences(
    database: Database, snapshot: Snapshot, checks: dict[int, Check], *, is_whole: bool
) -> AsyncIterator[Difference]:
    for route_id, check in checks.items():
        async for difference in _of_route(database, snapshot, route_id, check):
            yield difference
    for difference in counters.of_agents(snapshot.agents, snapshot.names):
        yield difference
    if is_whole:
        for difference in _of_no_decision(snapshot, checks):
            yield difference


async def _of_route(database: Database, snapshot: Snapshot, route_id: int, check: Check) -> AsyncIterator[Difference]:
    kept = snapshot.routes[route_id]
    async for step in read_steps(database, route_id, kept.sequence):
        for difference in check.reach(step.sequence):
            yield difference
        if step.decision is not None:
            texts = await texts_for(database, step.decision)
            for difference in check.take(step.version, step.decision, texts):
                yield difference
    for difference in check.reach(kept.sequence + 1):
        yield difference
    last = await last_version(database, route_id, kept.sequence)
    for difference in counters.of_route(
        snapshot.names.routes[route_id], kept, check.replay, last.starts if last else {}, snapshot.names
    ):
        yield difference


def _of_no_decision(snapshot: Snapshot, checks: dict[int, Check]) -> Iterator[Difference]:
    """Tell of assignments whose decision none of the routes has."""
    known = {decision_id for check in checks.values() for decision_id in check.misfits_met}
    for decision_id, leads in snapshot.misfits.items():
        if decision_id not in known:
            for lead_id, agent_id in leads.items():
                words = f"is for {snapshot.names.choice(agent_id)} by a decision that no route has"
                yield Difference("assignment", words, None, decision_id, lead_id)


async def _with_texts(database: Database, found: Sequence[Difference]) -> list[Difference]:
    """Give the differences with leads as the CRM calls them."""
    ids = sorted({each.lead_id for each in found if isinstance(each.lead_id, int)})
    texts = await lead_texts(database, ids)
    return [
        replace(each, lead_id=texts.get(each.lead_id, each.lead_id)) if isinstance(each.lead_id, int) else each
        for each in found
    ]
