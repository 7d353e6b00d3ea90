"""Gives each pending lead of a route to one agent, or says why nobody gets it. All under the route's lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.changing import look_again
from services.assigner.deciding import NONE, Decided, Moment, Waiting, decide, today
from services.assigner.eligibility import Unassigned, standing
from services.assigner.facts import Lead, Member, Route, Routes
from services.assigner.giving import Occasion, give, unassigned, waiting_records
from services.assigner.pieces import Book, RouteBatch
from services.assigner.queries.assignments import wait
from services.assigner.queries.decisions import add_decision
from services.assigner.queries.leads import (
    leads_by_id,
    leads_now,
    lock_assignments,
    lock_route_and_assignments,
    waiting_leads,
)
from services.assigner.queries.records import add_records
from services.assigner.queries.routes import lock_routes, read_members, read_routes_now
from services.assigner.roster import Roster
from shared.events import Event

PAGE = 500


async def assign(tx: AsyncConnection, piece: RouteBatch) -> Sequence[Event]:
    """Give each lead of the piece that is still pending to one agent, or say why nobody gets it."""
    routes, at, found = await _under_the_locks(tx, piece)
    route = routes.get(piece.route_id) if piece.route_id is not None else None
    if route is None:
        return await _without_route(tx, piece, routes, found)
    moment = Moment(at, piece.as_of or today(route, at))
    book = await _book(tx, piece, route, moment)
    if piece.lead_ids is None:
        found = await _worth_a_look(tx, piece, route, routes, book.members, moment)
    leads, elsewhere = _sorted_out(piece, found, route, routes)
    given = await give(
        tx,
        route,
        book.members,
        partial(decide, route, leads, moment=moment),
        occasion=Occasion(piece.kind, moment, piece.requested_by, piece.request_id),
    )
    sequence = route.sequence if given.decision_id is None else route.sequence + 1
    piece.book_after = Book(sequence, book.day, Roster.of(given.decided.members))
    return [*given.events, *look_again(elsewhere)]


async def _without_route(
    tx: AsyncConnection, piece: RouteBatch, routes: Routes, found: Sequence[Lead]
) -> Sequence[Event]:
    """Tell leads that no route matches them; a route that has gone meanwhile leaves its leads to others, or to none."""
    leads, elsewhere = _sorted_out(piece, found, None, routes)
    decided = Decided(NONE, waiting=[Waiting(lead, Unassigned.NO_ROUTE) for lead in leads])
    if piece.request_id is not None:
        await add_decision(tx, None, decided, kind=piece.kind, request_id=piece.request_id, day=None)
    if not leads:
        return look_again(elsewhere)
    await wait(tx, None, decided.waiting)
    records = waiting_records(decided.waiting, "no route")
    revisions = await add_records(tx, records, requested_by=piece.requested_by) if records else {}
    return [*unassigned(decided.waiting, revisions), *look_again(elsewhere)]


# Reading, under the route's lock.


async def _under_the_locks(tx: AsyncConnection, piece: RouteBatch) -> tuple[Routes, datetime, Sequence[Lead]]:
    """Wait for the piece's route, and for its leads where they are known; give them with all routes and the clock.

    The routes are read again only if they are no longer those of before.
    """
    if piece.route_id is None:
        await lock_assignments(tx, piece.lead_ids or ())
    elif piece.lead_ids:
        await lock_route_and_assignments(tx, piece.route_id, piece.lead_ids)
    else:
        await lock_routes(tx, [piece.route_id])
    reading = await leads_now(tx, piece.lead_ids, piece.route_id) if piece.lead_ids else None
    if reading is not None and piece.routes is not None and piece.routes.as_of == reading.routes_as_of:
        return piece.routes.at(piece.route_id, reading.sequence), reading.at, reading.leads
    routes, at = await read_routes_now(tx)
    return routes, at, reading.leads if reading is not None else ()


async def _book(tx: AsyncConnection, piece: RouteBatch, route: Route, moment: Moment) -> Book:
    """Give the members: as the last save left them, if nothing has happened since and no other route matters."""
    book = piece.book
    if (
        book is not None
        and book.is_current(route.sequence, moment.day)
        and not route.counts_all_routes
        and not book.members.has_limits
    ):
        return book
    members = await read_members(tx, route.id, moment.day)
    return Book(route.sequence, moment.day, Roster(member.without_lot_caps() for member in members))


async def _worth_a_look(
    tx: AsyncConnection,
    piece: RouteBatch,
    route: Route,
    routes: Routes,
    members: Sequence[Member],
    moment: Moment,
) -> Sequence[Lead]:
    """Give those of a page of the route's waiting leads for whom anything is otherwise by now, locked."""
    if not route.retry_pending:
        piece.has_more = False
        return []
    page = await waiting_leads(tx, route_id=route.id, source=None, after=piece.after, limit=PAGE)
    piece.has_more = len(page) == PAGE and any(standing(member) is None for member in members)
    elsewhere = [lead for lead in page if routes.match(lead) is not route]
    mine = [lead for lead in page if lead.is_waiting and routes.match(lead) is route]
    decided = decide(route, mine, members, moment)
    news = [each.lead for each in decided.assigned] + [each.lead for each in decided.waiting if each.is_news]
    if page and not news:
        piece.after = page[-1].assignment_id
    elif page:
        piece.has_more = True  # this page again: a lead that is closed meanwhile leaves its place to the next
    lead_ids = [lead.id for lead in (*elsewhere, *news)]
    await lock_assignments(tx, lead_ids)
    return await leads_by_id(tx, lead_ids) if lead_ids else ()


def _sorted_out(
    piece: RouteBatch, found: Sequence[Lead], route: Route | None, routes: Routes
) -> tuple[list[Lead], list[Lead]]:
    """Tell apart, of leads that are locked, those to decide on and those that another route matches."""
    leads: list[Lead] = []
    elsewhere: list[Lead] = []
    for lead in found:
        if lead.is_waiting:
            (leads if routes.match(lead) is route else elsewhere).append(lead)
    if route is not None and not route.retry_pending and not piece.is_personal:
        leads = [lead for lead in leads if lead.route_id != route.id or lead.reason is None]
    return leads, elsewhere
