"""Runs lots: what a lot route has collected is given away at once, in one transaction under the route's lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner import policies
from services.assigner.changing import look_again
from services.assigner.deciding import Moment, decide, today
from services.assigner.facts import Lead, Route, Status
from services.assigner.giving import Given, Occasion, give, take_away
from services.assigner.policies import PolicyError
from services.assigner.policies.params import Params
from services.assigner.queries.leads import (
    leads_by_id,
    lock_assignments,
    lock_leads,
    raise_stages,
    unbegun_leads,
    waiting_leads,
)
from services.assigner.queries.lots import add_lot, finish_lot
from services.assigner.queries.routes import lock_routes, now, read_members, read_routes
from shared.db.session import Database
from shared.events import Event, LotCompleted, LotRequested
from shared.messaging.envelope import Message
from shared.messaging.processing import Effect, Rejected, Subscription

SUBSCRIPTION = Subscription(queue="assigner.lots", events=(LotRequested,), batch_size=1)
#: A lot of tens of thousands of leads is one transaction.
DEADLINE_S = 90.0
TAKEN_BACK = "taken back by a new lot"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lot:
    """A request for a lot, and its message."""

    message: Message
    request: LotRequested


class RunLots:
    """The handler: each lot is run once, however often it is asked for."""

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Lot, None]:
        for message in batch:
            assert isinstance(message.event, LotRequested)
            yield Lot(message, message.event)

    async def save(self, tx: AsyncConnection, piece: Lot) -> Sequence[Effect]:
        route = next((r for r in (await read_routes(tx)).values() if r.name == piece.request.route), None)
        if route is None:
            return [Rejected(piece.message, f"there is no route {piece.request.route!r} in use", "UnknownRoute")]
        if route.mode != "lot":
            reason = f"the route {route.name!r} assigns leads as they come: it has no lots"
            return [Rejected(piece.message, reason, "NoLotRoute")]
        await lock_routes(tx, [route.id])
        return await _run(tx, route.id, piece.request)


async def _run(tx: AsyncConnection, route_id: int, request: LotRequested) -> Sequence[Event]:
    """Run the lot, unless it has been; one with nothing to assign ends quietly."""
    routes = await read_routes(tx)
    if (route := routes.get(route_id)) is None or route.mode != "lot":
        return []  # switched off or changed while its lock was waited for
    day = request.as_of or today(route, request.occurred_at)
    if (lot_id := await add_lot(tx, route.id, request, day)) is None:
        log.info("lot.known", phase="lot", status="skipped", route=route.name, lot_key=request.lot_key)
        return []
    moment = Moment(await now(tx), day, is_lot=True)
    params = _params(route)
    waiting, unbegun = await _collect(tx, route, params)
    ours = [lead for lead in unbegun if routes.match(lead) is route]
    taken = await take_away(tx, ours, TAKEN_BACK, moment.now)
    leads = [*(lead for lead in waiting if routes.match(lead) is route), *taken.leads]
    given = await give(
        tx,
        route,
        await read_members(tx, route.id, day),
        partial(decide, route, leads, moment=moment),
        occasion=Occasion("lot", moment, requested_by=request.triggered_by, lot_id=lot_id),
        taken=taken,
    )
    if params.raise_stage:
        await raise_stages(tx, [each.lead.id for each in given.decided.assigned])
    elsewhere = [lead for lead in waiting if routes.match(lead) is not route]
    return [*given.events, *look_again(elsewhere), await _finish(tx, route, request, lot_id, given)]


def _params(route: Route) -> Params:
    """Give the route's parameters; where they are wrong nobody gets a lead, and every lead says so."""
    try:
        return policies.of(route)[1]
    except PolicyError:
        return Params()


async def _collect(tx: AsyncConnection, route: Route, params: Params) -> tuple[list[Lead], list[Lead]]:
    """Lock all leads that wait on the route, and read them after the wait.

    Where the route's lots end what nobody has begun, also those that its earlier lots have assigned: in the same lock,
    so that all are locked in order.
    """
    unbegun = await unbegun_leads(tx, route.id) if params.ends_unbegun else []
    ids = [lead.id for lead in (*await waiting_leads(tx, route_id=route.id, limit=None), *unbegun)]
    await lock_assignments(tx, ids)
    await lock_leads(tx, ids)
    found = await leads_by_id(tx, ids)
    of_lots = {lead.assignment_id for lead in unbegun}
    return [lead for lead in found if lead.is_waiting], [
        lead for lead in found if lead.status is Status.ASSIGNED and lead.assignment_id in of_lots and lead.is_wanted
    ]


async def _finish(tx: AsyncConnection, route: Route, request: LotRequested, lot_id: int, given: Given) -> Event:
    """Write what the lot did, and tell it."""
    assigned = len(given.decided.assigned)
    unassigned = Counter(each.reason for each in given.decided.waiting)
    await finish_lot(
        tx, lot_id, decision_id=given.decision_id, assigned=assigned, unassigned=unassigned, sheets=given.sheets
    )
    log.info(
        "lot.run",
        phase="lot",
        status="ok",
        route=route.name,
        lot_id=lot_id,
        run_id=request.run_id,
        assigned=assigned,
        unassigned=dict(unassigned),
        sheets=len(given.sheets),
    )
    return LotCompleted(lot_id=lot_id, route=route.name, assigned=assigned, unassigned=dict(unassigned))
