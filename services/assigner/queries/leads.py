"""Leads with their current assignments, and the locks on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asyncpg import Record
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.facts import STATUSES, Glance, Lead
from services.assigner.queries.routes import ROUTES_AS_OF
from shared.db.statement import Statement

LOCK_ASSIGNMENTS = Statement("""
    SELECT id FROM assignments WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND is_current ORDER BY id FOR NO KEY UPDATE
""")
#: Both locks in one call, in their order: what is LATERAL cannot begin before the route is held and counted.
LOCK_ROUTE_AND_ASSIGNMENTS = Statement("""
    WITH route AS MATERIALIZED (SELECT id FROM routes WHERE id = :route_id FOR NO KEY UPDATE)
    SELECT theirs.id FROM (SELECT count(*) AS routes FROM route) AS held CROSS JOIN LATERAL (
        SELECT id FROM assignments
        WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND is_current AND held.routes >= 0
        ORDER BY id FOR NO KEY UPDATE
    ) AS theirs
""")
CURRENT = Statement("SELECT id FROM assignments WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND is_current")
LOCK_LEADS = Statement("SELECT 1 FROM leads WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE")
#: In the order of the fields of `Glance`.
_glance = """
    leads.id, leads.lead_id, assignments.id AS assignment_id, assignments.assignment_status_id AS status,
    assignments.route_id, leads.source_id, leads.store_code, leads.business_line_id, leads.is_order_placed,
    leads.duplicate_of IS NOT NULL AS is_duplicate
"""
#: In the order of the fields of `Lead`.
_columns = f"""
    {_glance}, assignments.agent_id, agents.agent_code, assignments.reason, assignments.retry_at,
    assignments.sheet_key, leads.revision, sources.name AS source,
    coalesce(stores.store_name, leads.store_name) AS store_name,
    coalesce(stores.is_new OR stores.assign_leads, true) AS store_takes_part,
    leads.customer_type, leads.customer_name, leads.mobile_number, leads.address, leads.final_source,
    leads.created_at, leads.pickup_date, leads.pickup_created_date, leads.run_date, leads.stage
"""
#: One by one, by key, whatever a plan was made for: a join might read all assignments there are (PLANS_ARE_KEPT).
_from_leads = """
    FROM leads CROSS JOIN LATERAL (
        SELECT * FROM assignments WHERE assignments.lead_id = leads.id AND assignments.is_current LIMIT 1
    ) AS assignments
"""
_from_assignments = """
    FROM assignments CROSS JOIN LATERAL (SELECT * FROM leads WHERE leads.id = assignments.lead_id LIMIT 1) AS leads
"""
_with_names = """
    JOIN sources ON sources.id = leads.source_id
    LEFT JOIN stores ON stores.store_code = leads.store_code
    LEFT JOIN agents ON agents.id = assignments.agent_id
"""
_leads = f"SELECT {_columns} {_from_leads} {_with_names}"
_waiting = f"SELECT {_columns} {_from_assignments} {_with_names} WHERE assignments.is_current"
GLANCE = Statement(f"""
    SELECT {ROUTES_AS_OF} AS routes_as_of, {_glance} {_from_leads}
    WHERE leads.lead_id = ANY(CAST(:keys AS text[])) ORDER BY assignments.id
""")
#: Not the start of the transaction, as `NOW`; once for all rows.
LEADS_NOW = Statement(f"""
    SELECT (SELECT clock_timestamp()) AS now, {ROUTES_AS_OF} AS routes_as_of,
           (SELECT sequence FROM routes WHERE id = :route_id) AS sequence, {_columns}
    {_from_leads} {_with_names}
    WHERE leads.id = ANY(CAST(:keys AS bigint[])) ORDER BY assignments.id
""")  # noqa: S608
LEADS_BY_KEY = Statement(f"{_leads} WHERE leads.lead_id = ANY(CAST(:keys AS text[])) ORDER BY assignments.id")
LEADS_BY_ID = Statement(f"{_leads} WHERE leads.id = ANY(CAST(:keys AS bigint[])) ORDER BY assignments.id")
WAITING = Statement(f"""
    {_waiting} AND assignments.assignment_status_id = 1 AND assignments.id > :after
      AND (CAST(:source AS text) IS NULL OR lower(sources.name) = lower(:source))
    ORDER BY assignments.id LIMIT :limit
""")
WAITING_ON_ROUTE = Statement(f"""
    {_waiting} AND assignments.assignment_status_id = 1 AND assignments.id > :after AND assignments.route_id = :route_id
      AND (CAST(:source AS text) IS NULL OR lower(sources.name) = lower(:source))
    ORDER BY assignments.id LIMIT :limit
""")
UNBEGUN = Statement(f"""
    {_waiting} AND assignments.assignment_status_id = 2 AND assignments.route_id = :route_id
      AND assignments.lot_id IS NOT NULL
    ORDER BY assignments.id
""")
RAISE_STAGES = Statement(
    "UPDATE leads SET stage = least(stage + 1, 4) WHERE id = ANY(CAST(:ids AS bigint[])) AND stage < 4"
)


async def lock_assignments(tx: AsyncConnection, lead_ids: Sequence[int]) -> None:
    """Wait for these leads' current assignments, in order of their ids; whatever is current then is locked.

    Who is waited for may have ended an assignment and begun another, which the wait has not locked: then once more. Its
    id is higher than all that were there, so the order holds.
    """
    if lead_ids:
        await _until_current(tx, lead_ids, _ids(await LOCK_ASSIGNMENTS.run(tx, {"ids": list(lead_ids)})))


async def lock_route_and_assignments(tx: AsyncConnection, route_id: int, lead_ids: Sequence[int]) -> None:
    """Wait for a route, then for these leads' current assignments, as `lock_assignments` does."""
    values = {"route_id": route_id, "ids": list(lead_ids)}
    await _until_current(tx, lead_ids, _ids(await LOCK_ROUTE_AND_ASSIGNMENTS.run(tx, values)))


async def _until_current(tx: AsyncConnection, lead_ids: Sequence[int], locked: set[int]) -> None:
    ids = {"ids": list(lead_ids)}
    while len(locked) < len(lead_ids) and not locked >= _ids(await CURRENT.run(tx, ids)):
        locked = _ids(await LOCK_ASSIGNMENTS.run(tx, ids))


async def lock_leads(tx: AsyncConnection, ids: Sequence[int]) -> None:
    """Wait for these leads, in order of their ids."""
    await LOCK_LEADS.run(tx, {"ids": list(ids)})


async def glance(connection: AsyncConnection, lead_ids: Sequence[str]) -> tuple[str | None, list[Glance]]:
    """Look at leads by the CRM's ids, the longest waiting first; say with it which routes there are, as `Routes.as_of`.

    None if there are none of these leads.
    """
    rows = await GLANCE.run(connection, {"keys": list(lead_ids)})
    leads = [
        Glance(key, lead_id, assignment_id, STATUSES[status], *others)
        for _as_of, key, lead_id, assignment_id, status, *others in rows
    ]
    return rows[0]["routes_as_of"] if rows else None, leads


@dataclass(frozen=True, slots=True)
class Reading:
    """Leads as they are at a moment, which routes there are then, and the sequence number of theirs."""

    leads: Sequence[Lead]
    at: datetime
    routes_as_of: str
    sequence: int | None


async def leads_now(tx: AsyncConnection, ids: Sequence[int], route_id: int | None) -> Reading | None:
    """Read leads by our ids, the longest waiting first, with what was locked with them; None if there are none."""
    rows = await LEADS_NOW.run(tx, {"keys": list(ids), "route_id": route_id})
    if not rows:
        return None
    leads = [
        Lead(key, lead_id, assignment_id, STATUSES[status], *others)
        for _now, _as_of, _sequence, key, lead_id, assignment_id, status, *others in rows
    ]
    return Reading(leads, rows[0]["now"], rows[0]["routes_as_of"], rows[0]["sequence"])


async def leads_by_key(connection: AsyncConnection, lead_ids: Sequence[str]) -> list[Lead]:
    """Give leads by the CRM's ids, the longest waiting first."""
    return await _read(connection, LEADS_BY_KEY, {"keys": list(lead_ids)})


async def leads_by_id(connection: AsyncConnection, ids: Sequence[int]) -> list[Lead]:
    """Give leads by our ids, the longest waiting first."""
    return await _read(connection, LEADS_BY_ID, {"keys": list(ids)})


async def waiting_leads(
    connection: AsyncConnection, *, route_id: int | None, source: str | None = None, after: int = 0, limit: int | None
) -> list[Lead]:
    """Give a page of the pending leads of a route or a source, or of all: those after an assignment's id."""
    values = {"source": source, "after": after, "limit": limit}
    if route_id is None:
        return await _read(connection, WAITING, values)
    return await _read(connection, WAITING_ON_ROUTE, values | {"route_id": route_id})


async def unbegun_leads(connection: AsyncConnection, route_id: int) -> list[Lead]:
    """Give the leads that lots of a route have assigned, and that nobody has begun."""
    return await _read(connection, UNBEGUN, {"route_id": route_id})


async def raise_stages(tx: AsyncConnection, ids: Sequence[int]) -> None:
    """Raise leads' stages by one, up to 4. The leads are locked."""
    await RAISE_STAGES.run(tx, {"ids": list(ids)})


def _ids(rows: Sequence[Record]) -> set[int]:
    return {row["id"] for row in rows}


async def _read(connection: AsyncConnection, statement: Statement, values: Mapping[str, Any]) -> list[Lead]:
    rows = await statement.run(connection, values)
    return [
        Lead(key, lead_id, assignment_id, STATUSES[status], *others)
        for key, lead_id, assignment_id, status, *others in rows
    ]
