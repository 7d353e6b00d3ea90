"""Gives leads to agents, and alone changes assignments and counters. One piece a route, one transaction a piece."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner import lifecycle, queries
from services.assigner.deciding import METHODS, Decided, Waiting, decide, today
from services.assigner.eligibility import Unassigned
from services.assigner.facts import Lead, Member, Route, Status, match
from services.assigner.queries import Place, Record
from shared.db.session import Database
from shared.events import (
    AssignmentRequested,
    Event,
    LeadAccepted,
    LeadAssigned,
    LeadClosed,
    LeadReopened,
    LeadTaken,
    LeadUnassigned,
)
from shared.messaging.envelope import Message
from shared.messaging.processing import Deferred, Effect, Subscription

SUBSCRIPTION = Subscription(
    queue="assigner", events=(LeadAccepted, LeadTaken, LeadClosed, LeadReopened, AssignmentRequested)
)
PAGE = 500


@dataclass(slots=True)
class RouteBatch:
    """Leads of one route to be assigned; of no route (None), to be told so."""

    route: Route | None
    lead_ids: Sequence[int]
    kind: str = "accepted"
    requested_by: str | None = None
    request_id: str | None = None
    #: The members as the last save on this route left them, if nothing else has happened on it since.
    book: Book | None = None
    #: Set by the save.
    book_after: Book | None = None
    assigned: int = 0


@dataclass(slots=True)
class Lifecycle:
    """Events that change assignments which exist, of one route (or none)."""

    route_id: int | None
    messages: Mapping[int, Message]


@dataclass(slots=True)
class Unknown:
    """Events about leads that are not there yet."""

    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class Book:
    """A route's members with their counters, valid while the route's sequence and the day are these."""

    sequence: int
    day: date
    members: Sequence[Member]


Piece = RouteBatch | Lifecycle | Unknown


class AssignLeads:
    """The handler: every lead has one current assignment, however often it is delivered."""

    def __init__(self) -> None:
        self._books: dict[int, Book] = {}

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        async with database.reading() as connection:
            routes = await queries.read_routes(connection)
            leads = {lead.lead_id: lead for lead in await queries.leads_by_key(connection, _lead_ids(batch))}
        if unknown := [m for m in batch if _lead_id(m) is not None and _lead_id(m) not in leads]:
            yield Unknown(unknown)
        for change in _lifecycles(batch, leads):
            yield change
        accepted = [leads[m.event.lead_id] for m in batch if isinstance(m.event, LeadAccepted) and m.key in leads]
        for placed in _lifecycles_of_placed(batch, accepted):
            yield placed
        async for piece in self._in_free_order(database, _by_route(accepted, routes)):
            yield piece
        for message in batch:
            if isinstance(message.event, AssignmentRequested):
                async for piece in self._requested(database, message.event, routes):
                    yield piece

    async def save(self, tx: AsyncConnection, piece: Piece) -> Sequence[Effect]:
        match piece:
            case Unknown(messages):
                return [Deferred(m, f"the lead {_lead_id(m)!r} is not known yet", "UnknownLead") for m in messages]
            case Lifecycle():
                return await change(tx, piece)
            case RouteBatch():
                return await assign(tx, piece)

    async def _in_free_order(
        self, database: Database, pieces: Sequence[RouteBatch]
    ) -> AsyncGenerator[RouteBatch, None]:
        """Yield the pieces whose route nobody holds first; keep each route's book once its save is committed."""
        if len(pieces) > 1:
            async with database.reading() as connection:
                free = await queries.free_routes(connection, [piece.route.id for piece in pieces if piece.route])
            pieces = sorted(pieces, key=lambda piece: piece.route is not None and piece.route.id not in free)
        for piece in pieces:
            route_id = piece.route.id if piece.route else 0
            piece.book = self._books.pop(route_id, None)
            yield piece
            if piece.book_after is not None:  # only reached when the save is committed
                self._books[route_id] = piece.book_after

    async def _requested(
        self, database: Database, request: AssignmentRequested, routes: Mapping[int, Route]
    ) -> AsyncGenerator[RouteBatch, None]:
        """Page through the leads that wait; stop when a page of one route has gone through without any effect."""
        is_personal = bool(request.lead_ids or request.source or request.to_agent_code)
        route = next((route for route in routes.values() if route.name == request.route), None)
        if request.route is not None and route is None:
            return
        after = 0
        while True:
            page = await _page(database, request, route, after)
            if not page:
                return
            after = page[-1].assignment_id
            pieces = [
                replace(piece, kind="requested", requested_by=request.requested_by, request_id=request.request_id)
                for piece in _by_route(page, routes)
                if is_personal or piece.route is None or piece.route.retry_pending
            ]
            async for piece in self._in_free_order(database, pieces):
                yield piece
            if request.lead_ids or (route is not None and not any(piece.assigned for piece in pieces)):
                return


async def _page(database: Database, request: AssignmentRequested, route: Route | None, after: int) -> Sequence[Lead]:
    async with database.reading() as connection:
        if request.lead_ids:
            found = await queries.leads_by_key(connection, request.lead_ids)
            return [lead for lead in found if lead.assignment_id > after]
        return await queries.waiting_leads(
            connection, route_id=route.id if route else None, source=request.source, after=after, limit=PAGE
        )


# Saving.


async def assign(tx: AsyncConnection, piece: RouteBatch) -> Sequence[Event]:
    """Give each pending lead of the piece to one agent, or say why nobody gets it."""
    if piece.route is None:
        return await _without_route(tx, piece)
    await queries.lock_routes(tx, [piece.route.id])
    await queries.lock_assignments(tx, piece.lead_ids)
    route = (await queries.read_routes(tx)).get(piece.route.id)
    leads = [lead for lead in await queries.leads_by_id(tx, piece.lead_ids) if lead.status is Status.PENDING]
    if route is None or not leads:
        return []
    now = await queries.now(tx)
    members = await _members(tx, piece, route, now)
    decided = await _decide_and_hold(tx, route, leads, members, now)
    revisions: dict[int, int] = {}
    places: Sequence[Place] = ()
    decision_id: int | None = None
    if decided.assigned or piece.request_id is not None:
        decision_id = await queries.add_decision(tx, route, decided, kind=piece.kind, request_id=piece.request_id)
    if decided.assigned and decision_id is not None:
        day = today(route, now)
        places = await queries.number_pages(tx, decided.assigned, day)
        await queries.assign(tx, route, decided.assigned, places, decision_id=decision_id, now=now, day=day)
        piece.book_after = Book(route.sequence + 1, day, decided.members)
    if decided.waiting:
        await queries.wait(tx, route.id, decided.waiting)
    records = _records(route, decided)
    if records:
        revisions = await queries.add_records(tx, records, requested_by=piece.requested_by)
    piece.assigned = len(decided.assigned)
    return _events(route, decided, places, revisions, decision_id, now)


async def change(tx: AsyncConnection, piece: Lifecycle) -> Sequence[Event]:
    """Begin, end or reopen work; free or take the agents' places; wake the routes where somebody may wait for one."""
    await queries.lock_routes(tx, [] if piece.route_id is None else [piece.route_id])
    await queries.lock_assignments(tx, list(piece.messages))
    now = await queries.now(tx)
    leads = await queries.leads_by_id(tx, list(piece.messages))
    agent_ids = sorted({lead.agent_id for lead in leads if lead.agent_id is not None})
    limits = await queries.max_loads(tx, agent_ids) if agent_ids else {}
    places = await _free_places(tx, piece, leads, limits)
    records: list[Record] = []
    refusals: list[Record] = []
    loads: Counter[int] = Counter()
    for lead in leads:
        done = _step(lead, piece.messages[lead.id].event, has_place=places.get(lead.agent_id or 0, True))
        match done:
            case lifecycle.Change(status, method, reason, load):
                records.append(Record(lead, status, method, lead.agent_id, reason))
                if lead.agent_id is not None and load:
                    loads[lead.agent_id] += load
            case lifecycle.Refusal(method, reason):
                refusals.append(Record(lead, lead.status, f"{method} refused", lead.agent_id, reason))
    if not records and not refusals:
        return []
    after = await queries.move_agents(tx, loads)
    if records:
        await queries.change(tx, records, now)
    revisions = await queries.add_records(tx, [*_counted(records, after), *refusals], requested_by=None)
    freed = [a for a, load in loads.items() if load < 0 and a in limits and after[a][0] - load >= limits[a]]
    wakes = await queries.routes_of_agents(tx, freed) if freed else []
    return [
        *(AssignmentRequested(route=name, requested_by="a place came free") for name in wakes),
        *_told(records, revisions, piece.messages),
    ]


def _counted(records: Sequence[Record], after: Mapping[int, tuple[int, int]]) -> list[Record]:
    """Records with their agent's open load before and after, the last of an agent's ending at what is stored."""
    changes: dict[int, int] = defaultdict(int)
    counted = []
    for record in reversed(records):
        if record.agent_id not in after or record.agent_id is None:
            counted.append(record)
            continue
        opened = after[record.agent_id][0] - changes[record.agent_id]
        load = {Status.CLOSED: -1, Status.ASSIGNED: 1}.get(record.status, 0)
        changes[record.agent_id] += load
        counted.append(replace(record, open_before=opened - load, open_after=opened))
    return counted[::-1]


async def _free_places(
    tx: AsyncConnection, piece: Lifecycle, leads: Sequence[Lead], limits: Mapping[int, int]
) -> dict[int, bool]:
    """Say for agents with a limit whether they may take a reopened lead on again; their counters stay held."""
    reopened = Counter(
        lead.agent_id
        for lead in leads
        if lead.agent_id in limits and isinstance(piece.messages[lead.id].event, LeadReopened)
    )
    held = await queries.move_agents(tx, {agent_id: 0 for agent_id in reopened if agent_id is not None})
    return {agent_id: load + reopened[agent_id] <= limits[agent_id] for agent_id, (load, _) in held.items()}


def _step(lead: Lead, event: Event, *, has_place: bool) -> lifecycle.Change | lifecycle.Refusal | None:
    if isinstance(event, LeadAccepted):
        return lifecycle.step(lead, LeadClosed(lead_id=lead.lead_id, reason="won")) if lead.is_order_placed else None
    return lifecycle.step(lead, event, has_place=has_place)


def _told(records: Sequence[Record], revisions: Mapping[int, int], messages: Mapping[int, Message]) -> list[Event]:
    """A lead that is pending again is told as such, and looked at again."""
    return [
        event
        for record in records
        if record.status is Status.PENDING
        for event in (
            LeadUnassigned(
                lead_id=record.lead.lead_id,
                revision=revisions[record.lead.assignment_id],
                reason=record.reason or "",
                previous_sheet_key=record.lead.sheet_key,
            ),
            LeadAccepted(lead_id=record.lead.lead_id, revision=revisions[record.lead.assignment_id]),
        )
    ]


async def _members(tx: AsyncConnection, piece: RouteBatch, route: Route, now: datetime) -> Sequence[Member]:
    """Give the members: from the book if nothing has happened since, and no limit or count of other routes matters."""
    book, day = piece.book, today(route, now)
    counts_here = route.params.get("count", "route") == "route"
    is_current = book is not None and (book.sequence, book.day) == (route.sequence, day)
    if book is not None and is_current and counts_here and all(member.max_load is None for member in book.members):
        return book.members
    return await queries.read_members(tx, route.id, day)


async def _decide_and_hold(
    tx: AsyncConnection, route: Route, leads: Sequence[Lead], members: Sequence[Member], now: datetime
) -> Decided:
    """Decide, hold the chosen agents' counters, look at their limits again; decide anew if one is full by now."""
    while True:
        decided = decide(route, leads, members, now)
        received = Counter(each.member.agent_id for each in decided.assigned)
        limits = {m.agent_id: m.max_load for m in members if m.max_load is not None and m.agent_id in received}
        if not limits:
            await queries.move_agents(tx, received, received)
            return decided
        async with tx.begin_nested() as attempt:
            after = await queries.move_agents(tx, received, received)
            full = {agent_id: after[agent_id][0] - received[agent_id] for agent_id in limits}
            full = {agent_id: load for agent_id, load in full.items() if after[agent_id][0] > limits[agent_id]}
            if not full:
                return decided
            await attempt.rollback()
        members = [replace(m, open_load=full[m.agent_id]) if m.agent_id in full else m for m in members]


async def _without_route(tx: AsyncConnection, piece: RouteBatch) -> Sequence[Event]:
    await queries.lock_assignments(tx, piece.lead_ids)
    leads = [lead for lead in await queries.leads_by_id(tx, piece.lead_ids) if lead.status is Status.PENDING]
    waiting = [Waiting(lead, Unassigned.NO_ROUTE) for lead in leads]
    decided = Decided("", waiting=waiting)
    await queries.wait(tx, None, waiting)
    records = _records(None, decided)
    revisions = await queries.add_records(tx, records, requested_by=piece.requested_by) if records else {}
    return _unassigned(decided, revisions)


def _records(route: Route | None, decided: Decided) -> list[Record]:
    """One record for each lead whose state or reason is another now."""
    method = METHODS.get(route.policy, route.policy) if route else "no route"
    assigned = [
        Record(
            each.lead,
            Status.ASSIGNED,
            method,
            each.member.agent_id,
            count_before=each.count_before,
            count_after=each.count_before + 1,
            open_before=each.open_before,
            open_after=each.open_before + 1,
        )
        for each in decided.assigned
    ]
    waiting = [
        Record(each.lead, Status.PENDING, method, reason=each.reason)
        for each in decided.waiting
        if each.reason != each.lead.reason
    ]
    return assigned + waiting


def _events(
    route: Route,
    decided: Decided,
    places: Sequence[Place],
    revisions: Mapping[int, int],
    decision_id: int | None,
    now: datetime,
) -> list[Event]:
    assigned = [
        LeadAssigned(
            lead_id=each.lead.lead_id,
            revision=revisions[each.lead.assignment_id],
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
    return [*assigned, *_unassigned(decided, revisions)]


def _unassigned(decided: Decided, revisions: Mapping[int, int]) -> list[Event]:
    """Only where the reason is another than before."""
    return [
        LeadUnassigned(
            lead_id=each.lead.lead_id,
            revision=revisions[each.lead.assignment_id],
            reason=each.reason,
            retry_at=each.retry_at,
        )
        for each in decided.waiting
        if each.lead.assignment_id in revisions
    ]


# Reading a batch.


def _lead_id(message: Message) -> str | None:
    return getattr(message.event, "lead_id", None)


def _lead_ids(batch: Sequence[Message]) -> list[str]:
    return [lead_id for message in batch if (lead_id := _lead_id(message)) is not None]


def _lifecycles(batch: Sequence[Message], leads: Mapping[str, Lead]) -> list[Lifecycle]:
    by_route: dict[int | None, dict[int, Message]] = defaultdict(dict)
    for message in batch:
        if isinstance(message.event, LeadTaken | LeadClosed | LeadReopened) and message.key in leads:
            lead = leads[message.key]
            by_route[lead.route_id][lead.id] = message
    return [Lifecycle(route_id, messages) for route_id, messages in by_route.items()]


def _lifecycles_of_placed(batch: Sequence[Message], accepted: Sequence[Lead]) -> list[Lifecycle]:
    """Leads whose order is placed are won, whoever has them."""
    messages = {message.key: message for message in batch}
    by_route: dict[int | None, dict[int, Message]] = defaultdict(dict)
    for lead in accepted:
        if lead.is_order_placed:
            by_route[lead.route_id][lead.id] = messages[lead.lead_id]
    return [Lifecycle(route_id, placed) for route_id, placed in by_route.items()]


def _by_route(leads: Sequence[Lead], routes: Mapping[int, Route]) -> list[RouteBatch]:
    """Pending leads, each under the route that matches it now."""
    groups: dict[int, list[int]] = defaultdict(list)
    for lead in leads:
        if lead.status is Status.PENDING and not lead.is_order_placed and not lead.is_duplicate:
            found = match(lead, routes)
            groups[found.id if found else 0].append(lead.id)
    return [RouteBatch(routes.get(route_id), lead_ids) for route_id, lead_ids in groups.items()]
