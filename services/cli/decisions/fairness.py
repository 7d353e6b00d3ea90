"""`leadline fairness`: what members received against what they were entitled to, and the policy's promise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nextafter
from typing import Any

from services.assigner import policies
from services.assigner.facts import Member
from services.assigner.policies import POLICIES, PolicyError
from services.cli.decisions.differences import Names
from services.cli.decisions.entitlement import Account, Cause, Entitlement
from services.cli.decisions.history import Decision, Version, bare_lead
from services.cli.decisions.reading import read_names, read_steps, route_sequences, texts_for
from services.cli.decisions.replay import Replay, ReplayError
from services.cli.decisions.tracing import as_it_is
from shared.db.session import Database

#: Chance goes further than that for one member in sixteen thousand.
DEVIATIONS = 4.0
#: Their order decides, not shares: what a member may get are its caps.
BY_ORDER = frozenset({"first_fit", "capped_lot"})


@dataclass(frozen=True, slots=True)
class Promise:
    """What is measured of a policy's promise; it holds up to the limit."""

    measure: str
    measured: float
    limit: float
    holds: bool


@dataclass(frozen=True, slots=True)
class MemberShare:
    """A member's leads. What it missed, by cause, are parts of leads: its share of those given while it was barred."""

    agent: str
    name: str
    received: int
    by_hand: int
    #: None where an order decides, not shares; then its caps say what it may get.
    entitled: float | None
    deviation: float | None
    caps: str
    not_eligible: float
    capped: float
    inactive: float
    joined_later: float


@dataclass(frozen=True, slots=True)
class RouteFairness:
    """A route's members, who is next, and whether the policy keeps its promise."""

    route: str
    policy: str
    leads: int
    next: str
    bound: str
    measure: str | None
    measured: float | None
    limit: float | None
    holds: bool | None
    members: Sequence[MemberShare]


async def fairness(database: Database, route: str | None) -> list[RouteFairness]:
    """Derive from the replay how fair routes were, one or all. CommandError if there is no such route."""
    async with database.reading() as connection:
        sequences = await route_sequences(connection, route)
    names = await read_names(database)
    found = [await _of_route(database, route_id, upto, names) for route_id, upto in sequences.items()]
    return [each for each in found if each is not None]


async def _of_route(database: Database, route_id: int, upto: int, names: Names) -> RouteFairness | None:
    now = await as_it_is(database, route_id, upto)
    if now is None:
        return None
    version, members = now
    policy = version.route.policy
    replay, entitlement = Replay(), Entitlement(policy, members)
    against_its_rule = 0
    async for step in read_steps(database, route_id, upto):
        if step.decision is None or step.version is None:
            continue
        if policy in BY_ORDER and step.version.route.policy == policy and step.decision.is_by_policy:
            texts = await texts_for(database, step.decision)
            against_its_rule += _against_its_rule(replay, step.version, step.decision, texts)
        entitlement.take(step.version, step.decision, replay)
        replay.move(step.version, step.decision, step.decision.given)
    promise = _promise(version, members, replay, entitlement, against_its_rule)
    return RouteFairness(
        route=version.route.name,
        policy=policy,
        leads=replay.received.total(),
        next=_next(version, members),
        bound=POLICIES[policy].bound if policy in POLICIES else "none: the policy is not known",
        measure=promise.measure if promise else None,
        measured=promise.measured if promise else None,
        limit=promise.limit if promise else None,
        holds=promise.holds if promise else None,
        members=_members(policy, members, replay, entitlement, names),
    )


def _against_its_rule(replay: Replay, version: Version, decision: Decision, texts: Mapping[int, str]) -> int:
    """Count the leads that went elsewhere than the rule says."""
    try:
        again = replay.again(version, decision, texts)
    except ReplayError:
        return len(decision.given)
    now = {each.lead.id: each.member.agent_id for each in again.assigned}
    return sum(now.get(lead_id) != decision.given.get(lead_id) for lead_id in now.keys() | decision.given.keys())


def _promise(
    version: Version, members: Sequence[Member], replay: Replay, entitlement: Entitlement, against_its_rule: int
) -> Promise | None:
    """Measure what the policy promises. None: nothing that this route's own history could show."""
    params: Any
    try:
        policy, params = policies.of(version.route)
    except PolicyError:
        return None
    measured: float
    limit: float
    match policy.name:
        case "first_fit" | "capped_lot":
            measure, measured, limit = "leads that went past one who stood before", float(against_its_rule), 0.0
        case "smooth_weighted":
            # Less than 1, not 1 itself.
            measure, measured = "furthest from a weight's share while the same were eligible", entitlement.furthest
            limit = nextafter(1, 0)
        case "weighted_random":
            measure, limit = "furthest from a weight's share, in standard deviations", DEVIATIONS
            measured = max((each.deviations for each in entitlement.accounts.values()), default=0.0)
        case "even_split":
            measure, measured, limit = "most that one got in a lot", entitlement.most_at_once, params.ceiling
        case "fair" if params.count == "route":
            measure, limit = "widest gap between members eligible for the same leads", 1
            measured = _gap(members, replay, entitlement.accounts)
        case _:
            return None
    return Promise(measure, round(measured, 6), limit, measured <= limit)


def _gap(members: Sequence[Member], replay: Replay, accounts: Mapping[int, Account]) -> int:
    """Give the widest gap among those who were eligible for the same leads, and began alike."""
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for member in {member.agent_id: member for member in members}.values():
        count = replay.received[member.agent_id] + member.start_count
        alike[accounts[member.agent_id].signature, member.start_count].append(count)
    return max((max(counts) - min(counts) for counts in alike.values()), default=0)


def _next(version: Version, members: Sequence[Member]) -> str:
    """Say who would get a lead that any member may get."""
    if version.route.policy == "weighted_random":
        return "by chance"
    if version.route.policy in {"capped_lot", "even_split"}:
        return "by the next lot"
    try:
        policy, params = policies.of(version.route)
    except PolicyError as error:
        return f"nobody: {error}"
    rows = [member for member in members if member.store_code is None]
    (choice,) = policy.choose([bare_lead()], rows, params).choices
    return next((row.agent_code for row in rows if row.agent_id == choice.agent_id), "nobody")


def _members(
    policy: str, members: Sequence[Member], replay: Replay, entitlement: Entitlement, names: Names
) -> list[MemberShare]:
    rows: dict[int, list[Member]] = defaultdict(list)
    for member in members:
        rows[member.agent_id].append(member)
    agent_ids = sorted(rows.keys() | {agent_id for agent_id, leads in replay.received.items() if leads})
    return [
        _member(policy, agent_id, rows[agent_id], replay, entitlement.accounts[agent_id], names)
        for agent_id in agent_ids
    ]


def _member(
    policy: str, agent_id: int, rows: Sequence[Member], replay: Replay, account: Account, names: Names
) -> MemberShare:
    is_by_order = policy in BY_ORDER
    missed = {cause: round(leads, 2) for cause, leads in account.missed.items()}
    return MemberShare(
        agent=names.agents.get(agent_id, f"number {agent_id}"),
        name=rows[0].agent_name if rows else "no member any more",
        received=replay.received[agent_id],
        by_hand=account.by_hand,
        entitled=None if is_by_order else round(account.entitled, 2),
        deviation=None if is_by_order else round(account.deviation, 2),
        caps="; ".join(_caps(row) for row in rows),
        not_eligible=missed[Cause.NOT_ELIGIBLE],
        capped=missed[Cause.CAPPED],
        inactive=missed[Cause.INACTIVE],
        joined_later=missed[Cause.JOINED_LATER],
    )


def _caps(row: Member) -> str:
    """Say what a row may get at most."""
    caps = {
        "open": row.max_load,
        "a day": row.max_daily_leads,
        "existing a lot": row.max_existing_per_lot,
        "new a lot": row.max_new_per_lot,
    }
    words = ", ".join(f"{cap} {name}" for name, cap in caps.items() if cap is not None) or "none"
    return f"store {row.store_code}: {words}" if row.store_code is not None else words
