"""`leadline explain LEAD`: who got it and why, why not the others, and what would have made each of them win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.assigner import explaining, policies
from services.assigner.deciding import answers
from services.assigner.eligibility import Unassigned, for_store
from services.assigner.explaining import Candidate
from services.assigner.facts import Lead, Member, Status
from services.assigner.policies import PolicyError
from services.cli.decisions.checking import BARRIERS
from services.cli.decisions.history import Decision, Version
from services.cli.decisions.replay import ReplayError, rule
from services.cli.decisions.tracing import (
    Standing,
    as_it_is,
    as_met,
    business_lines,
    find_decision,
    find_lead,
    who_gave,
)
from shared.db.session import Database

#: Why not, and what would have won, costs the square of the members.
MOST = 200
#: What has to change where nothing about a member would help.
REMEDIES = {
    Unassigned.NO_ROUTE: "a route that matches its source, store and business line",
    Unassigned.NO_MEMBERS: "a member of its route",
    Unassigned.STORE: "its store must take part: assign_leads of the store",
    Unassigned.LOT: "the route's next lot: by its schedule, or `leadline lot run`",
    Unassigned.STAGE: "its stage, or the route's stage_below",
    Unassigned.AGE: "its date, or the route's max_age_days",
}


@dataclass(frozen=True, slots=True)
class Loser:
    """A member that did not get the lead."""

    agent: str
    why_not: str
    would_win_with: str
    code: str
    change: Mapping[str, Any] | None = None
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A lead's decision. Of one that waits: why, since when, and what must change, by how things are now."""

    lead_id: str
    status: str
    agent: str | None
    why: str
    since: datetime
    retry_at: datetime | None = None
    must_change: str | None = None
    route: str | None = None
    decision_id: int | None = None
    decided_at: datetime | None = None
    kind: str | None = None
    algorithm: str | None = None
    #: Members about whom nothing is said, because they are too many.
    left_out: int | None = None
    candidates: Sequence[Loser] = ()


async def explain(database: Database, lead_id: str) -> Explained:
    """Explain a lead's last decision. CommandError if there is no such lead."""
    lead, standing = await find_lead(database, lead_id)
    told = Explained(lead_id, standing.status, standing.agent_code, "", standing.since, route=standing.route)
    if lead.status is Status.PENDING:
        return await _waiting(database, lead, standing, told)
    decision = await find_decision(database, standing.decision_id) if standing.decision_id is not None else None
    if decision is None or standing.route_id is None:
        return replace(told, why=_never_given(standing))
    told = replace(
        told,
        decision_id=decision.id,
        decided_at=decision.decided_at,
        kind=decision.kind,
        algorithm=decision.algorithm,
    )
    if decision.is_manual:
        by = await who_gave(database, lead.id) or "a person"
        return replace(told, why=f"{by} gave it to this agent by hand, whatever others had received")
    version, members, texts = await as_met(database, standing.route_id, decision)
    return _given(told, lead, version, decision, members, texts, await business_lines(database))


def _given(
    told: Explained,
    lead: Lead,
    version: Version,
    decision: Decision,
    members: Sequence[Member],
    texts: Mapping[int, str],
    lines: Mapping[int, str],
) -> Explained:
    """Tell of a lead that its policy gave: the question it was part of is put again."""
    try:
        policy, params = rule(version, decision.algorithm)
    except ReplayError as error:
        return replace(told, why=f"cannot be told: {error}")
    groups, _ = answers(policy, params, decision.leads(texts), members, is_lot=decision.is_lot)
    for group in groups:
        if any(each.id == lead.id for each in group.leads):
            asked = _asked(group.members)
            said = explaining.explain(decision.algorithm, params, group.leads, group.members, lead.id, agent_ids=asked)
            return replace(
                told,
                why=said.why,
                candidates=[_loser(each, lines) for each in said.candidates],
                left_out=len(group.members) - len(asked) or None,
            )
    return replace(told, why="cannot be told: its decision no longer names it; see `leadline decisions verify`")


async def _waiting(database: Database, lead: Lead, standing: Standing, told: Explained) -> Explained:
    """Tell of a lead that nobody has: as things are now, since that is what can change."""
    why = standing.reason or "it has just come in; nothing was decided yet"
    if standing.is_duplicate:
        why = f"it is a duplicate of {standing.duplicate_of}"
    elif standing.is_order_placed:
        why = "its order is placed"
    told = replace(told, why=why, retry_at=standing.retry_at, must_change=_remedy(why))
    if why in BARRIERS or standing.is_duplicate or standing.is_order_placed:
        return told
    if standing.route_id is None or standing.sequence is None:
        return told
    now = await as_it_is(database, standing.route_id, standing.sequence)
    if now is None:
        return told
    version, members = now
    rows = for_store(members, lead.store_code)
    try:
        policy, params = policies.of(version.route)
    except PolicyError as error:
        return replace(told, must_change=f"the route's settings: {error}")
    if not rows:
        return replace(told, must_change=REMEDIES[Unassigned.NO_MEMBERS])
    asked = _asked(rows)
    said = explaining.explain(policy.algorithm, params, [lead], rows, lead.id, agent_ids=asked)
    lines = await business_lines(database)
    must_change = told.must_change or "anything that a candidate would win with"
    if said.agent_code is not None:
        must_change = f"nothing: agent {said.agent_code} may get it now; whoever looks again gives it"
        if not version.route.retry_pending:
            must_change = f"a person must ask, as the route's retry_pending says; agent {said.agent_code} would get it"
    return replace(
        told,
        algorithm=policy.algorithm,
        must_change=must_change,
        candidates=[_loser(each, lines) for each in said.candidates],
        left_out=len(rows) - len(asked) or None,
    )


def _never_given(standing: Standing) -> str:
    """Say in words what ended a lead that was never given."""
    if standing.is_duplicate:
        return f"nobody got it: it is a duplicate of {standing.duplicate_of}"
    if standing.is_order_placed:
        return "nobody got it: its order was placed"
    return f"nobody got it: it was closed as {standing.reason or 'done'}"


def _remedy(why: str) -> str | None:
    return next((words for reason, words in REMEDIES.items() if reason.value == why), None)


def _asked(members: Sequence[Member]) -> list[int]:
    return sorted(member.agent_id for member in members)[:MOST]


def _loser(candidate: Candidate, lines: Mapping[int, str]) -> Loser:
    change = candidate.change
    return Loser(
        agent=candidate.agent_code,
        why_not=candidate.words,
        would_win_with=change.in_words(lines) if change else candidate.no_change or "",
        code=candidate.code,
        change=dict(change.facts) if change else None,
        place=change.place if change else None,
    )
