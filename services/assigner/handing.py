"""Gives leads to the agent whom a person named: within its limits, and with its place in the history."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.assigning import assign
from services.assigner.deciding import Moment, decide_by_hand, today
from services.assigner.eligibility import for_store, why_not
from services.assigner.facts import Lead, Member, Route, match
from services.assigner.giving import Occasion, give, take_away
from services.assigner.pieces import RouteBatch
from services.assigner.queries.leads import leads_by_id, lock_assignments
from services.assigner.queries.routes import lock_routes, now, read_agent, read_members, read_routes
from shared.events import Event

TAKEN = "given to another by a person"


async def give_by_hand(tx: AsyncConnection, piece: RouteBatch) -> Sequence[Event]:
    """Give the piece's leads to its agent: those that wait, and those that another agent has.

    A lead that the agent may not get stays as it is, and the decision says why.
    """
    assert piece.route_id is not None or not piece.lead_ids or piece.to_agent_code
    if piece.route_id is not None:
        await lock_routes(tx, [piece.route_id])
    routes = await read_routes(tx)
    route = routes.get(piece.route_id) if piece.route_id is not None else None
    if route is None or piece.to_agent_code is None:
        return await assign(tx, piece)  # no route: nobody's, whoever is named
    at = await now(tx)
    moment = Moment(at, today(route, at))
    rows = await _rows(tx, route, piece.to_agent_code, moment)
    await lock_assignments(tx, piece.lead_ids or ())
    leads = await leads_by_id(tx, piece.lead_ids or ())
    waiting = [lead for lead in leads if lead.is_waiting and match(lead, routes) is route]
    held = [lead for lead in leads if lead.is_held and lead.route_id == route.id]
    taken = await take_away(tx, _that_may_move(held, rows), TAKEN, moment.now)
    given = await give(
        tx,
        route,
        rows,
        partial(decide_by_hand, route, [*waiting, *taken.leads], moment=moment),
        occasion=Occasion("by hand", moment, piece.requested_by, piece.request_id),
        taken=taken,
    )
    return given.events


async def _rows(tx: AsyncConnection, route: Route, code: str, moment: Moment) -> list[Member]:
    """Give the agent's rows on the route, and one for all stores that it has none for. No lot, so none of its caps."""
    members = await read_members(tx, route.id, moment.day)
    own = [member.without_lot_caps() for member in members if member.agent_code == code]
    if any(member.store_code is None for member in own):
        return own
    return [await read_agent(tx, route.id, code), *own]


def _that_may_move(held: Sequence[Lead], rows: Sequence[Member]) -> list[Lead]:
    """Give those of another's leads that the agent may get: who cannot be given is not taken away."""
    moving = []
    for lead in held:
        (row,) = for_store(rows, lead.store_code)
        if lead.agent_id != row.agent_id and why_not(lead, row) is None:
            moving.append(lead)
            rows = [member.after([lead], by_this_row=member is row) for member in rows]
    return moving
