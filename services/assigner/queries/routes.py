"""Routes, their members with counters, and the routes' locks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from asyncpg import Record
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.facts import Member, Route, Routes
from shared.db.statement import Statement

#: Not the start of the transaction: under a route's lock, times and days must not go back.
NOW = Statement("SELECT clock_timestamp()")
#: What tells one state of all routes from every other: each change of one raises its version, a new one has the highest
#: id, and without one there are fewer. Their sequence numbers are no part of it.
ROUTES_AS_OF = "(SELECT concat_ws(' ', count(*), sum(version), max(id)) FROM routes)"
_FIELDS = Route.__struct_fields__
_route_columns = ", ".join(f"routes.{name}" for name in _FIELDS)
#: One row at least: without any route the clock.
ROUTES_NOW = Statement(f"""
    SELECT clock.now, clock.routes_as_of, {_route_columns}
    FROM (SELECT clock_timestamp() AS now, {ROUTES_AS_OF} AS routes_as_of) AS clock
         LEFT JOIN routes ON routes.is_enabled
""")  # noqa: S608  # names of columns, from above
FREE_ROUTES = Statement("SELECT id FROM routes WHERE id = ANY(CAST(:ids AS bigint[])) FOR NO KEY UPDATE SKIP LOCKED")
LOCK_ROUTES = Statement("SELECT 1 FROM routes WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE")
#: In the order of the fields of `Member`, as far as they go.
MEMBERS = Statement("""
    SELECT route_members.agent_id, agents.agent_code, agents.agent_name, agents.email, agents.crm_user_id,
           agents.business_line_id, agents.is_active, agents.max_load, route_members.store_code, route_members.weight,
           route_members.priority, route_members.max_existing_per_lot, route_members.max_new_per_lot,
           route_members.max_daily_leads, route_members.is_enabled,
           coalesce(member_counters.assigned_count, 0) AS assigned_count,
           coalesce(member_counters.start_count, 0) AS start_count, coalesce(member_days.leads, 0) AS day_count,
           coalesce(agent_counters.auto_assign_count, 0) AS agent_count,
           coalesce(agent_counters.open_load, 0) AS open_load, agent_counters.agent_id IS NULL AS is_uncounted
    FROM route_members JOIN agents ON agents.id = route_members.agent_id
         LEFT JOIN member_counters USING (route_id, agent_id)
         LEFT JOIN member_days ON member_days.route_id = route_members.route_id AND member_days.day = :day
                              AND member_days.agent_id = route_members.agent_id
                              AND member_days.store_code = coalesce(route_members.store_code, '')
         LEFT JOIN agent_counters ON agent_counters.agent_id = route_members.agent_id
    WHERE route_members.route_id = :route_id
    ORDER BY route_members.agent_id, route_members.id
""")
MAKE_COUNTERS = Statement("""
    INSERT INTO agent_counters (agent_id)
    SELECT DISTINCT agent_id FROM unnest(CAST(:agent_ids AS bigint[])) AS agent_id ORDER BY agent_id
    ON CONFLICT DO NOTHING
""")
AGENT_CODES = Statement("SELECT agent_code FROM agents")
#: An agent as any route's: the row of one who is no member there.
AGENT = Statement("""
    SELECT agents.id AS agent_id, agents.agent_code, agents.agent_name, agents.email, agents.crm_user_id,
           agents.business_line_id, agents.is_active, agents.max_load,
           coalesce(member_counters.assigned_count, 0) AS assigned_count,
           coalesce(agent_counters.auto_assign_count, 0) AS agent_count,
           coalesce(agent_counters.open_load, 0) AS open_load
    FROM agents LEFT JOIN agent_counters ON agent_counters.agent_id = agents.id
         LEFT JOIN member_counters ON member_counters.agent_id = agents.id AND member_counters.route_id = :route_id
    WHERE agents.agent_code = :code
""")
ROUTES_OF_AGENTS = Statement("""
    SELECT DISTINCT routes.name FROM route_members JOIN routes ON routes.id = route_members.route_id
    WHERE route_members.agent_id = ANY(CAST(:agent_ids AS bigint[])) AND routes.is_enabled
    ORDER BY routes.name
""")


async def now(connection: AsyncConnection) -> datetime:
    """Give the database's clock: the one that all replicas share."""
    ((moment,),) = await NOW.run(connection)
    assert isinstance(moment, datetime)
    return moment


async def read_routes(connection: AsyncConnection) -> Routes:
    return (await read_routes_now(connection))[0]


async def read_routes_now(connection: AsyncConnection) -> tuple[Routes, datetime]:
    """Give the routes as they are, and the database's clock as `now` does."""
    rows = await ROUTES_NOW.run(connection)
    at: datetime = rows[0]["now"]
    routes = {row["id"]: _route(row) for row in rows if row["id"] is not None}
    return Routes(routes, rows[0]["routes_as_of"]), at


async def free_routes(connection: AsyncConnection, route_ids: Sequence[int]) -> frozenset[int]:
    """Say which routes nobody holds at this moment. Locks nothing for longer."""
    return frozenset(row["id"] for row in await FREE_ROUTES.run(connection, {"ids": list(route_ids)}))


async def lock_routes(tx: AsyncConnection, route_ids: Sequence[int]) -> None:
    """Wait for these routes, in order of their ids. Returns nothing: read again after the wait."""
    await LOCK_ROUTES.run(tx, {"ids": list(route_ids)})


async def read_members(tx: AsyncConnection, route_id: int, day: date) -> list[Member]:
    """Give a route's members with their counters as they are now; every agent has a row of counters when this returns.

    Counters are made before any is held, so that those who hold some in order of id never wait for one being made.
    """
    rows = await MEMBERS.run(tx, {"route_id": route_id, "day": day})
    if uncounted := [row["agent_id"] for row in rows if row["is_uncounted"]]:
        await MAKE_COUNTERS.run(tx, {"agent_ids": uncounted})
    return [Member(*member) for *member, _is_uncounted in rows]


def _route(row: Record) -> Route:
    return Route(**{name: row[name] for name in _FIELDS} | {"zone": ZoneInfo(row["zone"])})


async def routes_of_agents(tx: AsyncConnection, agent_ids: Sequence[int]) -> list[str]:
    """Name the routes on which any of these agents is a member."""
    return [row["name"] for row in await ROUTES_OF_AGENTS.run(tx, {"agent_ids": list(agent_ids)})]


async def agent_codes(connection: AsyncConnection) -> frozenset[str]:
    return frozenset(row["agent_code"] for row in await AGENT_CODES.run(connection))


async def read_agent(tx: AsyncConnection, route_id: int, code: str) -> Member:
    """Give an agent as one who is no member of a route, with counters; it has a row of them when this returns."""
    (row,) = await AGENT.run(tx, {"route_id": route_id, "code": code})
    await MAKE_COUNTERS.run(tx, {"agent_ids": [row["agent_id"]]})
    return Member(**row)
