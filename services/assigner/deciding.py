"""From leads, members and a moment to who gets what: pure. The shell stores what comes out, and can run it again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from services.assigner import policies
from services.assigner.eligibility import Unassigned, WhyNot, for_store
from services.assigner.facts import Lead, Member, Route
from services.assigner.policies.choices import Answer, Choice

#: What `auto_assign_history` calls a policy's assignments (auto-assign seed).
METHODS = {"fair": "fair_distribution"}


@dataclass(frozen=True, slots=True)
class Assigned:
    """A lead and the member who gets it, with that member's counters before."""

    lead: Lead
    member: Member
    count_before: int
    open_before: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A lead that nobody gets now, why, and when that may pass by itself."""

    lead: Lead
    reason: str
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """A batch's decision: every lead is in one of both, and `record` holds what it takes to decide again."""

    algorithm: str
    assigned: Sequence[Assigned] = ()
    waiting: Sequence[Waiting] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, int | str] = field(default_factory=dict)
    #: The members after it.
    members: Sequence[Member] = ()


def decide(route: Route, leads: Sequence[Lead], members: Sequence[Member], now: datetime) -> Decided:
    """Decide on pending leads of a route, in the order given. KeyError if the route's policy is unknown."""
    algorithm, policy = policies.policy(route.policy)
    barred = [Waiting(lead, Unassigned.STORE) for lead in leads if not lead.store_takes_part]
    open_leads = [lead for lead in leads if lead.store_takes_part]
    if route.mode == "lot":
        return Decided(algorithm, waiting=[*barred, *(Waiting(lead, Unassigned.LOT) for lead in open_leads)])
    assigned: list[Assigned] = []
    waiting = barred
    answers: list[Answer] = []
    for group in _by_store(open_leads, members):
        answer = policy(group, for_store(members, group[0].store_code), route.params)
        answers.append(answer)
        members = _applied(group, answer.choices, members, assigned, waiting, route, now)
    return Decided(
        algorithm,
        assigned,
        waiting,
        facts={
            "now": now.isoformat(),
            "answers": [
                {"leads": len(answer.choices), "read": answer.read, "boundary": answer.boundary} for answer in answers
            ],
        },
        choices={
            **{str(each.lead.id): each.member.agent_id for each in assigned},
            **{str(each.lead.id): each.reason for each in waiting},
        },
        members=members,
    )


def _by_store(leads: Sequence[Lead], members: Sequence[Member]) -> list[list[Lead]]:
    """Leads of one store together where a member's row is for one store only; else all together."""
    if all(member.store_code is None for member in members):
        return [list(leads)] if leads else []
    groups: dict[str | None, list[Lead]] = defaultdict(list)
    for lead in leads:
        groups[lead.store_code].append(lead)
    return list(groups.values())


def _applied(
    leads: Sequence[Lead],
    choices: Sequence[Choice],
    members: Sequence[Member],
    assigned: list[Assigned],
    waiting: list[Waiting],
    route: Route,
    now: datetime,
) -> Sequence[Member]:
    """Sort choices into assigned and waiting; give the members with their counters after."""
    by_agent = route.params.get("count", "route") == "agent"
    taken: dict[int, int] = defaultdict(int)
    rows = {member.agent_id: member for member in for_store(members, leads[0].store_code if leads else None)}
    for lead, choice in zip(leads, choices, strict=True):
        if choice.agent_id is None:
            why = choice.reason or Unassigned.NO_MEMBERS
            waiting.append(Waiting(lead, str(why), _retry_at(str(why), route, now)))
            continue
        member, before = rows[choice.agent_id], taken[choice.agent_id]
        count = member.agent_count if by_agent else member.assigned_count
        assigned.append(Assigned(lead, member, count + before, member.open_load + before))
        taken[choice.agent_id] += 1
    if not taken:
        return members
    return [with_more(member, taken.get(member.agent_id, 0)) for member in members]


def with_more(member: Member, leads: int) -> Member:
    """Give a member as it is after receiving some leads."""
    if not leads:
        return member
    return replace(
        member,
        assigned_count=member.assigned_count + leads,
        agent_count=member.agent_count + leads,
        day_count=member.day_count + leads,
        open_load=member.open_load + leads,
    )


def today(route: Route, now: datetime) -> date:
    return now.astimezone(route.zone).date()


def _retry_at(reason: str, route: Route, now: datetime) -> datetime | None:
    """A daily cap passes at the next midnight of the route's zone; no other reason passes at a known time."""
    if reason != WhyNot.DAILY_CAP:
        return None
    return datetime.combine(today(route, now) + timedelta(days=1), time(), route.zone)
