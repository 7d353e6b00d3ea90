"""From leads, members and a moment to who gets what: pure. The shell stores what comes out, and can run it again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from services.assigner import policies
from services.assigner.eligibility import Unassigned, WhyNot, for_store, reason
from services.assigner.facts import Lead, Member, Route
from services.assigner.policies.choices import Answer
from services.assigner.policies.fair import FairParams, place
from services.assigner.policies.params import Params, read_params

#: What `auto_assign_history` calls a policy's assignments (auto-assign seed).
METHODS = {"fair": "fair_distribution"}


@dataclass(frozen=True, slots=True)
class Assigned:
    """A lead, the member who gets it as it was before the batch, and the count that decided, as it was before this."""

    lead: Lead
    member: Member
    count_before: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A lead that nobody gets now, why, and when that may pass by itself."""

    lead: Lead
    reason: str
    retry_at: datetime | None = None

    @property
    def is_news(self) -> bool:
        """Whether anything of this is not as it stands already."""
        return (self.reason, self.retry_at) != (self.lead.reason, self.lead.retry_at)


@dataclass(frozen=True, slots=True)
class Decided:
    """A batch's decision: every lead is in one of both. `facts` and the route's version allow to decide again."""

    algorithm: str
    assigned: Sequence[Assigned] = ()
    waiting: Sequence[Waiting] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: The members after it.
    members: Sequence[Member] = ()

    @property
    def choices(self) -> dict[str, int | str]:
        """Per lead its agent's id, or the reason why it waits."""
        assigned: dict[str, int | str] = {str(each.lead.id): each.member.agent_id for each in self.assigned}
        return assigned | {str(each.lead.id): each.reason for each in self.waiting}

    @property
    def received(self) -> Counter[int]:
        return Counter(each.member.agent_id for each in self.assigned)


def decide(route: Route, leads: Sequence[Lead], members: Sequence[Member], now: datetime) -> Decided:
    """Decide on pending leads of a route, in the order given. KeyError if the route's policy is unknown.

    ParamsError if the policy does not allow the route's parameters.
    """
    policy = policies.POLICIES[route.policy]
    params = read_params(policy.params, route.params)
    if route.mode == "stream":
        members = [member.without_lot_caps() for member in members]
    assigned: list[Assigned] = []
    waiting = [Waiting(lead, Unassigned.STORE) for lead in leads if not lead.store_takes_part]
    open_leads = [lead for lead in leads if lead.store_takes_part]
    if route.mode == "lot":
        waiting += [Waiting(lead, Unassigned.LOT) for lead in open_leads]
        open_leads = []
    answers: list[dict[str, Any]] = []
    for group in _by_store(open_leads, members):
        candidates = for_store(members, group[0].store_code)
        answer = policy.choose(group, candidates, params)
        answers.append(_facts(group, candidates, answer, params))
        members = _sort(route, group, members, answer, now, assigned, waiting)
    return Decided(policy.algorithm, assigned, waiting, {"now": now.isoformat(), "answers": answers}, members)


def _by_store(leads: Sequence[Lead], members: Sequence[Member]) -> list[list[Lead]]:
    """Leads of one store together where a member's row is for one store only; else all together."""
    if all(member.store_code is None for member in members):
        return [list(leads)] if leads else []
    groups: dict[str | None, list[Lead]] = defaultdict(list)
    for lead in leads:
        groups[lead.store_code].append(lead)
    return list(groups.values())


def _sort(
    route: Route,
    leads: Sequence[Lead],
    members: Sequence[Member],
    answer: Answer,
    now: datetime,
    assigned: list[Assigned],
    waiting: list[Waiting],
) -> Sequence[Member]:
    """Sort choices into assigned and waiting; give the members with their counters after."""
    rows = {member.agent_id: member for member in for_store(members, leads[0].store_code)}
    received: dict[int | None, list[Lead]] = defaultdict(list)
    for lead, choice in zip(leads, answer.choices, strict=True):
        received[choice.agent_id].append(lead)
    counts = dict(answer.read)
    after = [member.after(received.get(member.agent_id, ())) for member in members]
    reasons: dict[tuple[str | None, int | None], str] = {}
    for lead, choice in zip(leads, answer.choices, strict=True):
        if choice.agent_id is None:
            kind = lead.store_code, lead.business_line_id
            why = choice.reason or reasons.get(kind) or reason(lead, for_store(after, lead.store_code) or after)
            reasons.setdefault(kind, why)
            waiting.append(Waiting(lead, why, _retry_at(why, route, now)))
        else:
            assigned.append(Assigned(lead, rows[choice.agent_id], counts[choice.agent_id]))
            counts[choice.agent_id] += 1
    return after


def _facts(leads: Sequence[Lead], members: Sequence[Member], answer: Answer, params: Params) -> dict[str, Any]:
    """What was read that a route's version does not hold: enough to decide again, and no more.

    The leads in their order; counts of the chosen, and boundaries that say why all others lost; load and day's count of
    limited members, unless they stand behind every boundary.
    """
    return {
        "leads": [[lead.id, lead.store_code, lead.business_line_id] for lead in leads],
        "read": answer.read,
        "boundary": list(answer.boundary.items()),
        "limited": {
            member.agent_id: [member.open_load, member.day_count]
            for member in members
            if member.is_limited and _may_matter(member, answer, params)
        },
    }


def _may_matter(member: Member, answer: Answer, params: Params) -> bool:
    """Whether a member's limits may have decided: only `fair` has boundaries that nobody behind them can cross."""
    if not isinstance(params, FairParams):
        return True
    return any(at is None or place(member, params) < at for at in answer.boundary.values())


def today(route: Route, now: datetime) -> date:
    return now.astimezone(route.zone).date()


def _retry_at(why: str, route: Route, now: datetime) -> datetime | None:
    """A daily cap passes at the next midnight of the route's zone; no other reason passes at a known time."""
    if why != WhyNot.DAILY_CAP:
        return None
    return datetime.combine(today(route, now) + timedelta(days=1), time(), route.zone)
