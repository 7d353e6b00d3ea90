"""From leads, members and a moment to who gets what: pure. The shell stores what comes out, and can run it again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from msgspec import Struct

from services.assigner import policies
from services.assigner.eligibility import Unassigned, WhyNot, barrier, for_store, reason, why_not
from services.assigner.facts import Lead, Member, Route
from services.assigner.policies import Policy, PolicyError
from services.assigner.policies.choices import Answer
from services.assigner.policies.params import Params
from services.assigner.roster import Roster

#: What `auto_assign_history` calls a policy's assignments (auto-assign seed).
METHODS = {"fair": "fair_distribution"}
#: The algorithm of a decision that a person took, and of one that nobody had to take.
MANUAL = "manual/1"
NONE = "none"


class Assigned(Struct, frozen=True):
    """A lead, the row by which its agent gets it as it was before the batch, and the agent's count before this lead."""

    lead: Lead
    member: Member
    count_before: int


class Waiting(Struct, frozen=True):
    """A lead that nobody gets now, why, and when that may pass by itself."""

    lead: Lead
    reason: str
    retry_at: datetime | None = None

    @property
    def is_news(self) -> bool:
        """Whether anything of this is not as it stands already."""
        return (self.reason, self.retry_at) != (self.lead.reason, self.lead.retry_at)


@dataclass(frozen=True, slots=True)
class Moment:
    """When is decided: `day` is what daily caps count, which in a lot is the day of its request."""

    now: datetime
    day: date
    is_lot: bool = False


@dataclass(frozen=True, slots=True)
class Decided:
    """A batch's decision: every lead is in one of these. `facts` and the route's version allow to decide again."""

    algorithm: str
    assigned: Sequence[Assigned] = ()
    waiting: Sequence[Waiting] = ()
    #: Leads that stay as they are, whatever a person wished, and why.
    staying: Sequence[Waiting] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: The members after it.
    members: Sequence[Member] = ()

    @property
    def choices(self) -> dict[str, int | str]:
        """Per lead its agent's id, or the reason why it waits or stays."""
        assigned: dict[str, int | str] = {str(each.lead.id): each.member.agent_id for each in self.assigned}
        return assigned | {str(each.lead.id): each.reason for each in (*self.waiting, *self.staying)}

    @property
    def received(self) -> Counter[int]:
        return Counter(each.member.agent_id for each in self.assigned)


@dataclass(frozen=True, slots=True)
class Group:
    """Leads of one store with the rows that count there before they are given, and the policy's answer."""

    leads: Sequence[Lead]
    members: Roster
    answer: Answer


def decide(route: Route, leads: Sequence[Lead], members: Sequence[Member], moment: Moment) -> Decided:
    """Decide on pending leads of a route, in the order given. Nobody gets any where the route's settings are wrong."""
    try:
        policy, params = policies.of(route)
    except PolicyError as error:
        return Decided(NONE, waiting=[Waiting(lead, str(error)) for lead in leads], members=members)
    waiting = []
    open_leads = []
    for lead in leads:
        why: str | None = barrier(lead, params, route.zone, moment.day)
        if why is None and route.mode == "lot" and not moment.is_lot:
            why = _until_its_lot(route, lead)
        if why is None:
            open_leads.append(lead)
        else:
            waiting.append(Waiting(lead, why))
    decided = decide_by(policy, params, route, open_leads, members, moment)
    return replace(decided, waiting=[*waiting, *decided.waiting]) if waiting else decided


def decide_by(
    policy: Policy, params: Params, route: Route, leads: Sequence[Lead], members: Sequence[Member], moment: Moment
) -> Decided:
    """Decide by this policy on leads that nothing bars from the route: what is asked again when history is re-run."""
    members = Roster.of(members)
    groups, after = answers(policy, params, leads, members, is_lot=moment.is_lot)
    assigned: list[Assigned] = []
    waiting: list[Waiting] = []
    for group in groups:
        _sort(route, group, after, moment, assigned, waiting)
    return Decided(policy.algorithm, assigned, waiting, facts=_facts(groups, members, moment), members=after)


def _until_its_lot(route: Route, lead: Lead) -> str:
    """Keep what the last lot said of a lead, which the next may go by; a lead that no lot has seen waits for one."""
    if lead.route_id != route.id or lead.reason is None or lead.reason in set(Unassigned):
        return Unassigned.LOT
    return lead.reason


def answers(
    policy: Policy, params: Params, leads: Sequence[Lead], members: Sequence[Member], *, is_lot: bool
) -> tuple[list[Group], Sequence[Member]]:
    """Ask a policy store by store, each with the members as the one before left them; give the members at the end."""
    groups = []
    roster = Roster.of(members)
    for of_store in _by_store(leads, roster, is_lot=is_lot):
        rows = Roster.of(for_store(roster, of_store[0].store_code))
        answer = policy.choose(of_store, rows, params)
        groups.append(Group(of_store, rows, answer))
        roster = _after(roster, rows, of_store, answer)
    return groups, roster


def decide_by_hand(route: Route, leads: Sequence[Lead], members: Sequence[Member], moment: Moment) -> Decided:
    """Give leads to the agent whom a person named, as far as its limits allow, whatever others have received.

    `members` are the agent's rows, for one store each or for all the others. What it may not get stays as it is.
    """
    rows = members
    agent = members[0]
    assigned: list[Assigned] = []
    staying = [Waiting(lead, Unassigned.STORE) for lead in leads if not lead.store_takes_part]
    open_leads = [lead for lead in leads if lead.store_takes_part]
    for lead in open_leads:
        (row,) = for_store(rows, lead.store_code)
        if (why := why_not(lead, row)) is None:
            assigned.append(Assigned(lead, row, _count(route, row)))
            rows = [member.after([lead], by_this_row=member is row) for member in rows]
        else:
            staying.append(Waiting(lead, why))
    facts = {
        "now": moment.now.isoformat(),
        "to": agent.agent_id,
        # It need not be a member, of whom the route's version would say this.
        "agent": {name: getattr(agent, name) for name in ("is_active", "max_load", "business_line_id")},
        "leads": [[lead.id, lead.business_line_id, lead.store_code] for lead in open_leads],
        "loads": {agent.agent_id: agent.open_load},
    }
    return Decided(MANUAL, assigned, staying=staying, facts=facts, members=rows)


def _by_store(leads: Sequence[Lead], members: Roster, *, is_lot: bool) -> list[list[Lead]]:
    """Leads of one store together where a member's row is for one store only; else all together.

    In a lot the stores come in order of their codes: the order in which leads were read decides nothing.
    """
    if not members.has_stores:
        return [list(leads)] if leads else []
    groups: dict[str | None, list[Lead]] = defaultdict(list)
    for lead in leads:
        groups[lead.store_code].append(lead)
    if is_lot:
        return [groups[store] for store in sorted(groups, key=lambda store: (store is None, store or ""))]
    return list(groups.values())


def _after(members: Roster, rows: Roster, leads: Sequence[Lead], answer: Answer) -> Roster:
    """Give all rows of all members as they are after an answer that chose among `rows`."""
    received: dict[int, list[Lead]] = defaultdict(list)
    for lead, choice in zip(leads, answer.choices, strict=True):
        if choice.agent_id is not None:
            received[choice.agent_id].append(lead)
    got = {agent_id: (rows.row(agent_id), its) for agent_id, its in received.items()}
    return members.after(got, answer.lines if rows is members else None)


def _sort(
    route: Route,
    group: Group,
    after: Sequence[Member],
    moment: Moment,
    assigned: list[Assigned],
    waiting: list[Waiting],
) -> None:
    """Sort a group's choices into assigned and waiting."""
    counts: dict[int, int] = {}
    reasons: dict[tuple[int | None, str], str] = {}
    for lead, choice in zip(group.leads, group.answer.choices, strict=True):
        if choice.agent_id is None:
            kind = lead.business_line_id, lead.lead_type
            why = choice.reason or reasons.get(kind) or reason(lead, for_store(after, lead.store_code) or after)
            if choice.reason is None:
                reasons.setdefault(kind, why)
            waiting.append(Waiting(lead, why, _retry_at(why, route, moment)))
        else:
            row = group.members.row(choice.agent_id)
            count = counts.setdefault(row.agent_id, _count(route, row))
            assigned.append(Assigned(lead, row, count))
            counts[row.agent_id] = count + 1


def _count(route: Route, member: Member) -> int:
    """What the history calls an agent's count: what it received, over all routes where that decides."""
    return member.agent_count if route.counts_all_routes else member.assigned_count


def _facts(groups: Sequence[Group], members: Roster, moment: Moment) -> dict[str, Any]:
    """What was read that neither a route's version nor its history holds: enough to decide again, and no more.

    Of loads, in a stream, only those of members with a limit who were chosen, or were full from the start: whoever
    else has room was not chosen for another reason. In a lot how much room decides, so there all with a limit. Counts
    over all routes only of the chosen; the others stand behind the boundary.
    """
    chosen = {choice.agent_id for group in groups for choice in group.answer.choices}
    limited = [(each, each.max_load) for each in members if each.max_load is not None] if members.has_limits else []
    return {
        "now": moment.now.isoformat(),
        "answers": [
            {
                "store": group.leads[0].store_code,
                "leads": [_lead_facts(lead, is_lot=moment.is_lot) for lead in group.leads],
                "read": group.answer.read,
                "boundary": list(group.answer.boundary.items()),
            }
            for group in groups
        ],
        "loads": {
            member.agent_id: member.open_load
            for member, max_load in limited
            if moment.is_lot or member.agent_id in chosen or member.open_load >= max_load
        },
    }


def _lead_facts(lead: Lead, *, is_lot: bool) -> list[Any]:
    """What may be otherwise later: in a lot also what its order and its caps go by."""
    facts: list[Any] = [lead.id, lead.business_line_id]
    return [*facts, lead.lead_type, lead.created_at.isoformat(), lead.reason] if is_lot else facts


def today(route: Route, now: datetime) -> date:
    return now.astimezone(route.zone).date()


def _retry_at(why: str, route: Route, moment: Moment) -> datetime | None:
    """A daily cap passes at the next midnight of the route's zone; no other reason passes at a known time."""
    if why != WhyNot.DAILY_CAP or moment.is_lot:
        return None
    return datetime.combine(moment.day + timedelta(days=1), time(), route.zone)
