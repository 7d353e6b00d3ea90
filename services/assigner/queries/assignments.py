"""Assignments as they are written: given, waiting, changed, ended and begun anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.deciding import Assigned, Waiting
from services.assigner.facts import Route
from services.assigner.queries.decisions import Place
from services.assigner.queries.records import INSERT_RECORDS, Record
from shared.db.statement import Statement

#: With the records, whose ids are asked for: one call.
ASSIGN = Statement(f"""
    WITH given AS (
        UPDATE assignments
        SET assignment_status_id = 2, route_id = :route_id, agent_id = new.agent_id, decision_id = :decision_id,
            lot_id = :lot_id, reason = NULL, retry_at = NULL, assigned_at = :now, sheet_key = new.sheet_key,
            page_group_code = new.page_group_code,
            rowid = new.rowid, lead_assignment_code = new.code, store_code = new.store_code,
            store_name = new.store_name,
            lead_date = new.lead_date, lead_type = new.lead_type, mobile_number = new.mobile_number,
            cx_name = new.cx_name, address = new.address, lead_source = new.lead_source
        FROM unnest(CAST(:ids AS bigint[]), CAST(:agent_ids AS bigint[]), CAST(:sheet_keys AS text[]),
                    CAST(:codes AS text[]), CAST(:page_group_codes AS text[]), CAST(:rowids AS bigint[]),
                    CAST(:store_codes AS text[]), CAST(:store_names AS text[]), CAST(:lead_dates AS date[]),
                    CAST(:lead_types AS text[]),
                    CAST(:mobile_numbers AS text[]), CAST(:cx_names AS text[]), CAST(:addresses AS text[]),
                    CAST(:lead_sources AS text[]))
             AS new (id, agent_id, sheet_key, code, page_group_code, rowid, store_code, store_name, lead_date,
                     lead_type, mobile_number, cx_name, address, lead_source)
        WHERE assignments.id = new.id
    )
    {INSERT_RECORDS}
""")  # noqa: S608  # from records
WAIT = Statement("""
    UPDATE assignments SET route_id = :route_id, reason = new.reason, retry_at = new.retry_at
    FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[]), CAST(:retry_ats AS timestamptz[]))
         AS new (id, reason, retry_at)
    WHERE assignments.id = new.id
      AND (assignments.route_id, assignments.reason, assignments.retry_at)
          IS DISTINCT FROM (CAST(:route_id AS bigint), new.reason, new.retry_at)
""")
CHANGE = Statement("""
    UPDATE assignments
    SET assignment_status_id = new.status, reason = new.reason,
        started_at = CASE WHEN new.status = 3 THEN :now ELSE assignments.started_at END,
        closed_at = CASE WHEN new.status = 4 THEN :now END
    FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS smallint[]), CAST(:reasons AS text[]))
         AS new (id, status, reason)
    WHERE assignments.id = new.id
""")
END = Statement("UPDATE assignments SET is_current = false, ended_at = :now WHERE id = ANY(CAST(:ids AS bigint[]))")
BEGIN_ANEW = Statement("""
    INSERT INTO assignments (lead_id, reason)
    SELECT * FROM unnest(CAST(:lead_ids AS bigint[]), CAST(:reasons AS text[])) AS new (lead_id, reason)
    RETURNING lead_id, id
""")
#: What `lead.assigned` says of an assignment that stands.
STANDING = Statement("""
    SELECT assignments.id AS assignment_id, agents.agent_code, agents.agent_name, agents.email AS agent_email,
           agents.crm_user_id, routes.name AS route, assignments.decision_id, assignments.assigned_at,
           assignments.lot_id, assignments.sheet_key, assignments.page_group_code, assignments.rowid,
           assignments.lead_assignment_code
    FROM assignments JOIN agents ON agents.id = assignments.agent_id JOIN routes ON routes.id = assignments.route_id
    WHERE assignments.id = ANY(CAST(:ids AS bigint[]))
""")


async def assign(
    tx: AsyncConnection,
    route: Route,
    assigned: Sequence[Assigned],
    places: Sequence[Place],
    *,
    decision_id: int,
    lot_id: int | None,
    now: datetime,
    records: Mapping[str, Any],
) -> dict[int, int]:
    """Write who got what, with the snapshot that the sheet prints, and `records` as columns: their ids by lead."""
    leads = [each.lead for each in assigned]
    values = {
        "route_id": route.id,
        "decision_id": decision_id,
        "lot_id": lot_id,
        "now": now,
        "ids": [lead.assignment_id for lead in leads],
        "agent_ids": [each.member.agent_id for each in assigned],
        "sheet_keys": [place.sheet_key for place in places],
        "codes": [place.code for place in places],
        "page_group_codes": [place.page_group_code for place in places],
        "rowids": [place.rowid for place in places],
        "store_codes": [lead.store_code for lead in leads],
        "store_names": [lead.store_name for lead in leads],
        "lead_dates": [lead.lead_date(route.zone) for lead in leads],
        "lead_types": [lead.lead_type for lead in leads],
        "mobile_numbers": [lead.mobile_number for lead in leads],
        "cx_names": [lead.customer_name for lead in leads],
        "addresses": [lead.address for lead in leads],
        "lead_sources": [lead.final_source or lead.source for lead in leads],
    }
    return dict(map(tuple, await ASSIGN.run(tx, {**values, **records})))


async def wait(tx: AsyncConnection, route_id: int | None, waiting: Sequence[Waiting]) -> None:
    """Write why leads wait, and when to try again; rows that say so already are left alone."""
    values = {
        "route_id": route_id,
        "ids": [each.lead.assignment_id for each in waiting],
        "reasons": [each.reason for each in waiting],
        "retry_ats": [each.retry_at for each in waiting],
    }
    await WAIT.run(tx, values)


async def change(tx: AsyncConnection, records: Sequence[Record], now: datetime) -> None:
    """Write new states of assignments."""
    values = {
        "now": now,
        "ids": [record.lead.assignment_id for record in records],
        "statuses": [int(record.status) for record in records],
        "reasons": [record.reason for record in records],
    }
    await CHANGE.run(tx, values)


async def begin_anew(
    tx: AsyncConnection, reasons: Mapping[int, tuple[int, str | None]], now: datetime
) -> dict[int, int]:
    """End assignments, which keep all they had, and give each lead a new, pending one: its id by lead.

    `reasons`: by lead the assignment to end, and why the new one waits. Two statements: in one, both would be current.
    """
    await END.run(tx, {"now": now, "ids": [assignment_id for assignment_id, _ in reasons.values()]})
    values = {"lead_ids": list(reasons), "reasons": [reason for _, reason in reasons.values()]}
    return dict(map(tuple, await BEGIN_ANEW.run(tx, values)))


async def standing(tx: AsyncConnection, assignment_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Give what `lead.assigned` says of each assignment, but the lead's own part."""
    rows = await STANDING.run(tx, {"ids": list(assignment_ids)})
    return {row["assignment_id"]: dict(row) for row in rows}
