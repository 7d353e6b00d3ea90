"""Gives each pending lead of a route to one agent, or says why nobody gets it. All under the route's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner import queries
from services.assigner.changing import look_again
from services.assigner.deciding import METHODS, Decided, Waiting, decide, today
from services.assigner.eligibility import Unassigned, standing
from services.assigner.facts import Lead, Member, Route, Status, match
from services.assigner.pieces import Book, RouteBatch
from services.assigner.queries import Counters, Place, Record
from shared.events import Event, LeadAssigned, LeadUnassigned

PAGE = 500


async def assign(tx: AsyncConnection, piece: RouteBatch) -> Sequence[Event]:
    """Give each lead of the piece that is still pending to one agent, or say why nobody gets it."""
    if piece.route_id is not None:
        await queries.lock_routes(tx, [piece.route_id])
    routes = await queries.read_routes(tx)
    route = routes.get(piece.route_id) if piece.route_id is not None else None
    if route is None:
        return await _without_route(tx, piece, routes)
    now = await queries.now(tx)
    book = await _book(tx, piece, route, now)
    lead_ids = piece.lead_ids
    if lead_ids is None:
        lead_ids = await _worth_a_look(tx, piece, route, routes, book.members, now)
    leads, elsewhere = await _lock(tx, piece, lead_ids, route, routes)
    decided, counters = await _decide_and_hold(tx, route, leads, book.members, now)
    decision_id, places = await _store(tx, piece, route, decided, now)
    revisions = await _record(tx, piece, route, decided, counters)
    sequence = route.sequence if decision_id is None else route.sequence + 1
    piece.book_after = Book(sequence, book.day, book.read_at, decided.members)
    return [
        *_assigned(route, decided, places, revisions, decision_id, now),
        *_unassigned(decided.waiting, revisions),
        *look_again(elsewhere),
    ]


async def _without_route(tx: AsyncConnection, piece: RouteBatch, routes: Mapping[int, Route]) -> Sequence[Event]:
    """Tell leads that no route matches them; a route that has gone meanwhile leaves its leads to others, or to none."""
    leads, elsewhere = await _lock(tx, piece, piece.lead_ids or (), None, routes)
    decided = Decided("none", waiting=[Waiting(lead, Unassigned.NO_ROUTE) for lead in leads])
    if piece.request_id is not None:
        await queries.add_decision(tx, None, decided, kind=piece.kind, request_id=piece.request_id)
    if leads:
        await queries.wait(tx, None, decided.waiting)
    revisions = await _record(tx, piece, None, decided, {})
    return [*_unassigned(decided.waiting, revisions), *look_again(elsewhere)]


# Reading, under the route's lock.


async def _book(tx: AsyncConnection, piece: RouteBatch, route: Route, now: datetime) -> Book:
    """Give the members: as the last save left them, if nothing has happened since and no other route matters."""
    day = today(route, now)
    book = piece.book
    if (
        book is not None
        and book.is_current(route.sequence, day, now)
        and not route.counts_all_routes
        and all(member.max_load is None for member in book.members)
    ):
        return book
    return Book(route.sequence, day, now, await queries.read_members(tx, route.id, day))


async def _worth_a_look(
    tx: AsyncConnection,
    piece: RouteBatch,
    route: Route,
    routes: Mapping[int, Route],
    members: Sequence[Member],
    now: datetime,
) -> list[int]:
    """Give those of a page of the route's waiting leads for whom anything is otherwise by now; locks none of them."""
    if not route.retry_pending:
        piece.has_more = False
        return []
    page = await queries.waiting_leads(tx, route_id=route.id, source=None, after=piece.after, limit=PAGE)
    piece.has_more = len(page) == PAGE and any(standing(member) is None for member in members)
    elsewhere = [lead for lead in page if match(lead, routes) is not route]
    mine = [lead for lead in page if lead.is_waiting and match(lead, routes) is route]
    decided = decide(route, mine, members, now)
    news = [each.lead for each in decided.assigned] + [each.lead for each in decided.waiting if each.is_news]
    if page and not news:
        piece.after = page[-1].assignment_id
    elif page:
        piece.has_more = True  # this page again: a lead that is closed meanwhile leaves its place to the next
    return [lead.id for lead in (*elsewhere, *news)]


async def _lock(
    tx: AsyncConnection, piece: RouteBatch, lead_ids: Sequence[int], route: Route | None, routes: Mapping[int, Route]
) -> tuple[list[Lead], list[Lead]]:
    """Lock leads and read them again: those to decide on, and those that another route matches by now."""
    if not lead_ids:
        return [], []
    await queries.lock_assignments(tx, lead_ids)
    leads: list[Lead] = []
    elsewhere: list[Lead] = []
    for lead in await queries.leads_by_id(tx, lead_ids):
        if lead.is_waiting:
            (leads if match(lead, routes) is route else elsewhere).append(lead)
    if route is not None and not route.retry_pending and not piece.is_personal:
        leads = [lead for lead in leads if lead.route_id != route.id or lead.reason is None]
    return leads, elsewhere


# Deciding.


async def _decide_and_hold(
    tx: AsyncConnection, route: Route, leads: Sequence[Lead], members: Sequence[Member], now: datetime
) -> tuple[Decided, Mapping[int, Counters]]:
    """Decide, hold the chosen agents' counters, look again at what other routes may have changed; if so, decide anew.

    Who was not chosen has not come to stand better meanwhile: counts only rise, and who frees a place wakes us.
    """
    while True:
        decided = decide(route, leads, members, now)
        received = decided.received
        if not route.counts_all_routes and all(each.member.max_load is None for each in decided.assigned):
            return decided, await queries.move_agents(tx, received, received)
        async with tx.begin_nested() as attempt:
            counters = await queries.move_agents(tx, received, received)
            if _still_holds(route, decided, counters):
                return decided, counters
            await attempt.rollback()
        members = [_as_held(member, counters, received) for member in members]


def _still_holds(route: Route, decided: Decided, counters: Mapping[int, Counters]) -> bool:
    chosen = {each.member.agent_id: each.member for each in decided.assigned}
    return all(
        (member.max_load is None or counters[agent_id].open_load <= member.max_load)
        and (
            not route.counts_all_routes
            or counters[agent_id].received == member.agent_count + decided.received[agent_id]
        )
        for agent_id, member in chosen.items()
    )


def _as_held(member: Member, counters: Mapping[int, Counters], received: Mapping[int, int]) -> Member:
    if (held := counters.get(member.agent_id)) is None:
        return member
    before = received[member.agent_id]
    return replace(member, open_load=held.open_load - before, agent_count=held.received - before)


# Storing, and telling.


async def _store(
    tx: AsyncConnection, piece: RouteBatch, route: Route, decided: Decided, now: datetime
) -> tuple[int | None, Sequence[Place]]:
    """Write the decision, who got what with the place on a sheet, and why the others wait."""
    decision_id: int | None = None
    places: Sequence[Place] = ()
    if decided.assigned or piece.request_id is not None:
        decision_id = await queries.add_decision(tx, route, decided, kind=piece.kind, request_id=piece.request_id)
    if decided.assigned and decision_id is not None:
        day = today(route, now)
        places = await queries.number_pages(tx, decided.assigned, day)
        await queries.assign(tx, route, decided.assigned, places, decision_id=decision_id, now=now, day=day)
    if decided.waiting:
        await queries.wait(tx, route.id, decided.waiting)
    return decision_id, places


async def _record(
    tx: AsyncConnection, piece: RouteBatch, route: Route | None, decided: Decided, counters: Mapping[int, Counters]
) -> dict[int, int]:
    """Store one record for each lead whose state or reason is another now; give the revisions by lead."""
    method = METHODS.get(route.policy, route.policy) if route else "no route"
    loads = {agent_id: counters[agent_id].open_load - leads for agent_id, leads in decided.received.items()}
    records = []
    for each in decided.assigned:
        load = loads[each.member.agent_id]
        loads[each.member.agent_id] += 1
        records.append(
            Record(
                each.lead,
                Status.ASSIGNED,
                method,
                each.member.agent_id,
                count_before=each.count_before,
                count_after=each.count_before + 1,
                open_before=load,
                open_after=load + 1,
            )
        )
    records += [
        Record(each.lead, Status.PENDING, method, reason=each.reason)
        for each in decided.waiting
        if each.reason != each.lead.reason
    ]
    return await queries.add_records(tx, records, requested_by=piece.requested_by) if records else {}


def _assigned(
    route: Route,
    decided: Decided,
    places: Sequence[Place],
    revisions: Mapping[int, int],
    decision_id: int | None,
    now: datetime,
) -> list[Event]:
    return [
        LeadAssigned(
            lead_id=each.lead.lead_id,
            revision=revisions[each.lead.id],
            occurred_at=now,
            agent_code=each.member.agent_code,
            agent_name=each.member.agent_name,
            agent_email=each.member.email,
            crm_user_id=each.member.crm_user_id,
            source=each.lead.source,
            store_code=each.lead.store_code,
            route=route.name,
            assignment_id=each.lead.assignment_id,
            decision_id=decision_id,
            assigned_at=now,
            sheet_key=place.code,
            page_group_code=place.page_group_code,
            rowid=place.rowid,
            lead_assignment_code=place.code,
        )
        for each, place in zip(decided.assigned, places, strict=True)
    ]


def _unassigned(waiting: Sequence[Waiting], revisions: Mapping[int, int]) -> list[Event]:
    """Only where the reason is another than before: there is a record of it then."""
    return [
        LeadUnassigned(
            lead_id=each.lead.lead_id, revision=revisions[each.lead.id], reason=each.reason, retry_at=each.retry_at
        )
        for each in waiting
        if each.lead.id in revisions
    ]
