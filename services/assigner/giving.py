"""Gives leads of a route away, under its lock: decides, holds the agents' counters, writes, records and tells."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.deciding import MANUAL, METHODS, NONE, Assigned, Decided, Moment, Waiting
from services.assigner.facts import Lead, Member, Route, Status
from services.assigner.queries.assignments import assign, begin_anew, wait
from services.assigner.queries.counters import Counters, move_agents
from services.assigner.queries.decisions import Giving, add_decision, add_giving
from services.assigner.queries.records import Record, add_records, columns
from shared.events import Event, LeadAssigned, LeadUnassigned

Decide = Callable[[Sequence[Member]], Decided]


@dataclass(frozen=True, slots=True)
class Taken:
    """Leads that are taken from their agents to be given anew: as they were, and as they are now, pending."""

    method: str = ""
    were: Sequence[Lead] = ()
    leads: Sequence[Lead] = ()

    @property
    def places(self) -> Counter[int]:
        """How many places of whom are free with that."""
        return Counter(lead.agent_id for lead in self.were if lead.agent_id is not None)

    def free(self, members: Sequence[Member]) -> Sequence[Member]:
        """Give the members with these places free."""
        if not self.were:
            return members
        places = self.places
        return [
            replace(member, open_load=member.open_load - places[member.agent_id]) if places[member.agent_id] else member
            for member in members
        ]


@dataclass(frozen=True, slots=True)
class Occasion:
    """What all leads of one decision have in common."""

    kind: str
    moment: Moment
    requested_by: str | None = None
    request_id: str | None = None
    lot_id: int | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What was decided and written. `sheets`: the keys of the sheets that are to be made."""

    decided: Decided
    decision_id: int | None
    events: Sequence[Event]
    sheets: Sequence[str] = ()


async def give(
    tx: AsyncConnection,
    route: Route,
    members: Sequence[Member],
    decide: Decide,
    *,
    occasion: Occasion,
    taken: Taken | None = None,
) -> Given:
    """Give away what `decide` says, which is asked again when other routes have changed what it goes by.

    `taken`: leads that were taken from their agents for this, whose places are free in it.
    """
    taken = taken or Taken()
    decided, giving = await _decide_and_keep(tx, route, taken.free(members), decide, occasion, taken.places)
    records = _records(route, decided, giving.counters, taken)
    revisions = await _write(tx, route, decided, occasion, giving, records)
    events = [
        *_assigned(route, decided.assigned, giving, revisions, occasion),
        *unassigned(decided.waiting, revisions),
    ]
    return Given(decided, giving.decision_id, events, list(dict.fromkeys(place.sheet_key for place in giving.places)))


# Deciding.


async def _decide_and_keep(
    tx: AsyncConnection,
    route: Route,
    members: Sequence[Member],
    decide: Decide,
    occasion: Occasion,
    freed: Counter[int],
) -> tuple[Decided, Giving]:
    """Decide and store it, look then at what other routes may have changed; if they have, take it back and decide anew.

    Who was not chosen has not come to stand better meanwhile: counts only rise, and who frees a place wakes us.
    """
    while True:
        decided = await asyncio.to_thread(decide, members) if occasion.moment.is_lot else decide(members)
        if not route.counts_all_routes and all(each.member.max_load is None for each in decided.assigned):
            return decided, await _keep(tx, route, decided, occasion, freed)
        async with tx.begin_nested() as attempt:
            giving = await _keep(tx, route, decided, occasion, freed)
            if _still_holds(route, decided, giving.counters):
                return decided, giving
            await attempt.rollback()
        members = [_as_held(member, giving.counters, decided.received) for member in members]


def _still_holds(route: Route, decided: Decided, counters: Mapping[int, Counters]) -> bool:
    received = decided.received
    first: dict[int, Member] = {}
    for each in decided.assigned:
        first.setdefault(each.member.agent_id, each.member)
    counts_decide = route.counts_all_routes and decided.algorithm != MANUAL
    return all(
        (member.max_load is None or counters[agent_id].open_load <= member.max_load)
        and (not counts_decide or counters[agent_id].received == member.agent_count + received[agent_id])
        for agent_id, member in first.items()
    )


def _as_held(member: Member, counters: Mapping[int, Counters], received: Mapping[int, int]) -> Member:
    if (held := counters.get(member.agent_id)) is None:
        return member
    before = received.get(member.agent_id, 0)
    return replace(member, open_load=held.open_load - before, agent_count=held.received - before)


# Writing, and telling.


async def _keep(tx: AsyncConnection, route: Route, decided: Decided, occasion: Occasion, freed: Counter[int]) -> Giving:
    """Store the decision where there is one; move the counters of agents whom it gives leads or takes some from."""
    kind, request_id, day, lot_id = occasion.kind, occasion.request_id, occasion.moment.day, occasion.lot_id
    loads = Counter(decided.received)
    loads.subtract(freed)
    if decided.assigned:
        return await add_giving(
            tx, route, decided, kind=kind, request_id=request_id, day=day, lot_id=lot_id, loads=loads
        )
    counters = await move_agents(tx, loads)
    if request_id is None and lot_id is None:
        return Giving(None, (), counters)
    return Giving(await add_decision(tx, route, decided, kind=kind, request_id=request_id, day=day), (), counters)


async def _write(
    tx: AsyncConnection,
    route: Route,
    decided: Decided,
    occasion: Occasion,
    giving: Giving,
    records: Sequence[Record],
) -> dict[int, int]:
    """Write who got what, why the others wait, and the records; give the last one's id by lead."""
    if decided.waiting:
        await wait(tx, route.id, decided.waiting)
    if giving.decision_id is None or not giving.places:
        return await add_records(tx, records, requested_by=occasion.requested_by) if records else {}
    return await assign(
        tx,
        route,
        decided.assigned,
        giving.places,
        decision_id=giving.decision_id,
        lot_id=occasion.lot_id,
        now=occasion.moment.now,
        records=columns(records, occasion.requested_by),
    )


def _records(route: Route, decided: Decided, counters: Mapping[int, Counters], taken: Taken) -> list[Record]:
    """A record of each lead that was taken, and then of each whose state or reason is another now."""
    received, places = decided.received, taken.places
    loads = {agent_id: now.open_load - received[agent_id] + places[agent_id] for agent_id, now in counters.items()}
    method = _method(route, decided)
    records = [
        Record(
            lead,
            Status.PENDING,
            taken.method,
            lead.agent_id,
            open_before=(load := _moved(loads, lead.agent_id, -1)),
            open_after=load - 1,
        )
        for lead in taken.were
    ]
    records += [
        Record(
            each.lead,
            Status.ASSIGNED,
            method,
            each.member.agent_id,
            count_before=each.count_before,
            count_after=each.count_before + 1,
            open_before=(load := _moved(loads, each.member.agent_id, 1)),
            open_after=load + 1,
        )
        for each in decided.assigned
    ]
    return records + waiting_records(decided.waiting, method)


def _moved(loads: dict[int, int], agent_id: int | None, step: int) -> int:
    """Give an agent's open load before a step, and keep the one after it."""
    assert agent_id is not None
    before = loads[agent_id]
    loads[agent_id] = before + step
    return before


def _method(route: Route, decided: Decided) -> str:
    if decided.algorithm == MANUAL:
        return "manual"
    return route.policy if decided.algorithm == NONE else METHODS.get(route.policy, route.policy)


def waiting_records(waiting: Sequence[Waiting], method: str) -> list[Record]:
    """Records of leads that wait for another reason than before."""
    return [
        Record(each.lead, Status.PENDING, method, reason=each.reason)
        for each in waiting
        if each.reason != each.lead.reason
    ]


def _assigned(
    route: Route,
    assigned: Sequence[Assigned],
    giving: Giving,
    revisions: Mapping[int, int],
    occasion: Occasion,
) -> list[Event]:
    """One event a lead; in a lot those of one sheet together."""
    now: datetime = occasion.moment.now
    told = list(zip(assigned, giving.places, strict=True))
    if occasion.lot_id is not None:
        told.sort(key=lambda each: (each[1].sheet_key, each[1].rowid))
    return [
        LeadAssigned(
            lead_id=each.lead.lead_id,
            revision=revisions[each.lead.id],
            occurred_at=now,
            agent_code=each.member.agent_code,
            agent_name=each.member.agent_name,
            agent_email=each.member.email,
            crm_user_id=each.member.crm_user_id,
            previous_agent_code=each.lead.previous_agent_code,
            previous_sheet_key=each.lead.previous_sheet_key,
            source=each.lead.source,
            store_code=each.lead.store_code,
            route=route.name,
            assignment_id=each.lead.assignment_id,
            decision_id=giving.decision_id,
            assigned_at=now,
            lot_id=occasion.lot_id,
            sheet_key=place.sheet_key,
            page_group_code=place.page_group_code,
            rowid=place.rowid,
            lead_assignment_code=place.code,
        )
        for each, place in told
    ]


def unassigned(waiting: Sequence[Waiting], revisions: Mapping[int, int]) -> list[Event]:
    """Only where the reason is another than before: there is a record of it then."""
    return [
        LeadUnassigned(
            lead_id=each.lead.lead_id,
            revision=revisions[each.lead.id],
            reason=each.reason,
            retry_at=each.retry_at,
            previous_sheet_key=each.lead.previous_sheet_key,
        )
        for each in waiting
        if each.lead.id in revisions
    ]


async def take_away(tx: AsyncConnection, leads: Sequence[Lead], method: str, now: datetime) -> Taken:
    """End leads' assignments, which keep all they had, and begin new, pending ones. The old ones are locked."""
    if not leads:
        return Taken()
    begun = await begin_anew(tx, {lead.id: (lead.assignment_id, method) for lead in leads}, now)
    return Taken(method, leads, [_pending(lead, begun[lead.id], method) for lead in leads])


def _pending(lead: Lead, assignment_id: int, reason: str) -> Lead:
    return replace(
        lead,
        assignment_id=assignment_id,
        status=Status.PENDING,
        route_id=None,
        agent_id=None,
        agent_code=None,
        reason=reason,
        sheet_key=None,
        previous_agent_code=lead.agent_code,
        previous_sheet_key=lead.sheet_key,
    )
