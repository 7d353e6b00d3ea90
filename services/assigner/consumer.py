"""Gives leads to agents, and alone changes assignments and counters. One piece a route, one transaction a piece."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.assigning import PAGE, assign
from services.assigner.changing import change
from services.assigner.facts import Glance, Route, Routes
from services.assigner.handing import give_by_hand
from services.assigner.pieces import Book, Lifecycle, Piece, Refused, RouteBatch
from services.assigner.queries.leads import glance, leads_by_key, waiting_leads
from services.assigner.queries.routes import agent_codes, free_routes, read_routes
from shared.db.session import Database
from shared.events import AssignmentRequested, LeadAccepted, LeadClosed, LeadReopened, LeadTaken
from shared.messaging.envelope import Message
from shared.messaging.processing import Deferred, Effect, Rejected, Subscription

SUBSCRIPTION = Subscription(
    queue="assigner", events=(LeadAccepted, LeadTaken, LeadClosed, LeadReopened, AssignmentRequested), batch_size=500
)


#: The kind of a request's last decision, which gives nobody anything.
ANSWERED = "answered"


class AssignLeads:
    """The handler: every lead has one current assignment, however often it is delivered."""

    def __init__(self) -> None:
        self._books: dict[int | None, Book] = {}
        self._routes = Routes({}, "")

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        async with database.reading() as connection:
            routes_as_of, looked_at = await glance(connection, _lead_ids(batch))
            if routes_as_of != self._routes.as_of:
                self._routes = await read_routes(connection)
            agents = await agent_codes(connection) if _names_agents(batch) else frozenset()
        routes, leads = self._routes, {lead.lead_id: lead for lead in looked_at}
        refused = [refusal for message in batch if (refusal := _refusal(message, leads, routes, agents)) is not None]
        if refused:
            yield Refused(refused)
        about_leads = [message for message in batch if message.key in leads]
        if changes := {leads[m.key].id: m for m in about_leads if _is_change(m, leads[m.key])}:
            yield Lifecycle(changes)
        accepted = [leads[message.key] for message in about_leads if isinstance(message.event, LeadAccepted)]
        days = {m.key: m.event.as_of for m in about_leads if isinstance(m.event, LeadAccepted)}
        async for piece in self._in_free_order(database, _by_route(accepted, routes, days=days)):
            yield piece
        for message in batch:
            if isinstance(message.event, AssignmentRequested) and not any(each.message is message for each in refused):
                async for piece in self._requested(database, message.event, routes):
                    yield piece

    async def save(self, tx: AsyncConnection, piece: Piece) -> Sequence[Effect]:
        match piece:
            case Refused(effects):
                return effects
            case Lifecycle():
                return await change(tx, piece)
            case RouteBatch(to_agent_code=str()):
                return await give_by_hand(tx, piece)
            case RouteBatch():
                return await assign(tx, piece)

    async def _in_free_order(
        self, database: Database, pieces: Sequence[RouteBatch]
    ) -> AsyncGenerator[RouteBatch, None]:
        """Yield the pieces whose route nobody holds first; keep each route's book once its save is committed."""
        if len(pieces) > 1:
            async with database.reading() as connection:
                free = await free_routes(connection, [p.route_id for p in pieces if p.route_id is not None])
            pieces = sorted(pieces, key=lambda piece: piece.route_id is not None and piece.route_id not in free)
        for piece in pieces:
            piece.book = self._books.pop(piece.route_id, None)
            yield piece
            if piece.book_after is not None:  # only reached when the save is committed
                self._books[piece.route_id] = piece.book_after

    async def _requested(
        self, database: Database, request: AssignmentRequested, routes: Routes
    ) -> AsyncGenerator[RouteBatch, None]:
        """Look at leads that wait: of a route under its lock, page by page; else at all that are meant, by route."""
        route = next((route for route in routes.values() if route.name == request.route), None)
        if request.route is not None and route is None:
            return  # a route that is gone wakes nobody
        if route is not None and not _is_personal(request):
            waiting = _piece(request, route.id, None)
            waiting.has_more = route.retry_pending
            while waiting.has_more:
                async for piece in self._in_free_order(database, [waiting]):
                    yield piece
            return
        async for page in _pages(database, request, route):
            groups = [_piece(request, piece.route_id, piece.lead_ids) for piece in _by_route(page, routes, request)]
            async for piece in self._in_free_order(database, groups):
                yield piece
        if request.request_id is not None:
            yield _answered(request)


def _is_personal(request: AssignmentRequested) -> bool:
    """Whether a person asked: machines wake a route and wait for no answer."""
    return bool(request.lead_ids or request.source or request.to_agent_code or request.request_id)


def _piece(request: AssignmentRequested, route_id: int | None, lead_ids: Sequence[int] | None) -> RouteBatch:
    return RouteBatch(
        route_id,
        lead_ids,
        kind="requested",
        requested_by=request.requested_by,
        request_id=request.request_id,
        is_personal=_is_personal(request),
        to_agent_code=request.to_agent_code,
    )


def _answered(request: AssignmentRequested) -> RouteBatch:
    """The last decision of a request: whoever waits for its answer knows that there is no more."""
    return RouteBatch(None, (), kind=ANSWERED, requested_by=request.requested_by, request_id=request.request_id)


async def _pages(
    database: Database, request: AssignmentRequested, route: Route | None
) -> AsyncGenerator[Sequence[Glance], None]:
    """Yield the leads that are meant, the longest waiting first.

    Those that are named are read at once, and come once. Paged by their assignments' ids, leads that two people give to
    each other would come again for ever: they have a new assignment each time.
    """
    if request.lead_ids:
        async with database.reading() as connection:
            named = await leads_by_key(connection, request.lead_ids)
        for start in range(0, len(named), PAGE):
            yield named[start : start + PAGE]
        return
    route_id, after = route.id if route else None, 0
    while page := await _waiting(database, route_id, request.source, after):
        yield page
        after = page[-1].assignment_id


async def _waiting(database: Database, route_id: int | None, source: str | None, after: int) -> Sequence[Glance]:
    async with database.reading() as connection:
        return await waiting_leads(connection, route_id=route_id, source=source, after=after, limit=PAGE)


# Reading a batch.


def _lead_id(message: Message) -> str | None:
    return getattr(message.event, "lead_id", None)


def _lead_ids(batch: Sequence[Message]) -> list[str]:
    return [lead_id for message in batch if (lead_id := _lead_id(message)) is not None]


def _names_agents(batch: Sequence[Message]) -> bool:
    return any(isinstance(m.event, AssignmentRequested) and m.event.to_agent_code is not None for m in batch)


def _refusal(
    message: Message, leads: Mapping[str, Glance], routes: Mapping[int, Route], agents: Collection[str]
) -> Deferred | Rejected | None:
    match message.event:
        case AssignmentRequested(to_agent_code=str() as code) if code not in agents:
            return Rejected(message, f"there is no agent with the code {code!r}", "UnknownAgent")
        case AssignmentRequested(route=str() as name, request_id=str()):
            if name not in {route.name for route in routes.values()}:
                return Rejected(message, f"there is no route {name!r}", "UnknownRoute")
        case LeadAccepted() | LeadTaken() | LeadClosed() | LeadReopened():
            if (lead_id := _lead_id(message)) not in leads:
                return Deferred(message, f"the lead {lead_id!r} is not known yet", "UnknownLead")
    return None


def _is_change(message: Message, lead: Glance) -> bool:
    """Whether it is about the assignment that the lead has. A lead whose order is placed is won, whoever has it."""
    if isinstance(message.event, LeadAccepted):
        return lead.is_order_placed
    return isinstance(message.event, LeadTaken | LeadClosed | LeadReopened)


def _by_route(
    leads: Sequence[Glance],
    routes: Routes,
    request: AssignmentRequested | None = None,
    days: Mapping[str, date | None] | None = None,
) -> list[RouteBatch]:
    """Leads that wait, each under the route that matches it now; those that are held under their own.

    `days` says by lead id as of which day a replay assigns.
    """
    groups: dict[tuple[int | None, date | None], list[int]] = defaultdict(list)
    for lead in leads:
        if lead.is_waiting:
            found = routes.match(lead)
            groups[found.id if found else None, (days or {}).get(lead.lead_id)].append(lead.id)
        elif request is not None and request.to_agent_code is not None and lead.is_held:
            groups[lead.route_id, None].append(lead.id)
    return [
        RouteBatch(route_id, lead_ids, as_of=as_of, routes=routes) for (route_id, as_of), lead_ids in groups.items()
    ]
