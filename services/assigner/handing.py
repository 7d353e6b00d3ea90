"""Gives leads to the agent whom a person named: within its limits, and with its place in the history."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.assigning import assign
from services.assigner.deciding import Moment, decide_by_hand, today
from services.assigner.facts import Lead, Member, Route
from services.assigner.giving import Occasion, give, take_away
from services.assigner.pieces import RouteBatch
from services.assigner.queries.counters import hold_agents
from services.assigner.queries.leads import leads_by_id, lock_assignments
from services.assigner.queries.routes import lock_routes, now, read_agent, read_members, read_routes
from shared.events import Event

TAKEN = "given to another by a person"


async def give_by_hand(tx: AsyncConnection, piece: RouteBatch) -> Sequence[Event]:
    """Give the piece's leads to its agent: those that wait, and those that another agent has.

    A lead that the agent may not get stays as it is, and the decision says why.
    """
    if piece.route_id is not None:
        await lock_routes(tx, [piece.route_id])
    routes = await read_routes(tx)
    route = routes.get(piece.route_id) if piece.route_id is not None else None
    if route is None or piece.to_agent_code is None:
        return await assign(tx, piece)  # no route: nobody's, whoever is named
    at = await now(tx)
    moment = Moment(at, today(route, at))
    await lock_assignments(tx, piece.lead_ids or ())
    leads = await leads_by_id(tx, piece.lead_ids or ())
    waiting = [lead for lead in leads if lead.is_waiting and routes.match(lead) is route]
    held = [lead for lead in leads if lead.is_held and lead.route_id == route.id]
    rows = await _rows(tx, route, piece.to_agent_code, moment, held)
    others = [lead for lead in held if lead.agent_id != rows[0].agent_id]
    moving = {each.lead.id for each in decide_by_hand(route, [*waiting, *others], rows, moment).assigned}
    taken = await take_away(tx, [lead for lead in others if lead.id in moving], TAKEN, at)
    left = [lead for lead in others if lead.id not in moving]
    given = await give(
        tx,
        route,
        rows,
        partial(decide_by_hand, route, [*waiting, *taken.leads, *left], moment=moment),
        occasion=Occasion("by hand", moment, piece.requested_by, piece.request_id),
        taken=taken,
    )
    return given.events


async def _rows(tx: AsyncConnection, route: Route, code: str, moment: Moment, held: Sequence[Lead]) -> list[Member]:
    """Give the agent's rows on the route, and one for all stores that it has none for.

    Its counters are held, and those of the agents who may lose a lead: it can take what it can take now.
    """
    agent = await read_agent(tx, route.id, code)
    await hold_agents(tx, sorted({agent.agent_id, *(lead.agent_id for lead in held if lead.agent_id is not None)}))
    own = [member for member in await read_members(tx, route.id, moment.day) if member.agent_code == code]
    if not any(member.store_code is None for member in own):
        own = [await read_agent(tx, route.id, code), *own]
    return [member.without_lot_caps() for member in own]
