"""Documents' SQL for what came back: returned files, outcomes, reviews."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.documents.returns import Outcome, Printed, Review
from services.documents.sheet import SheetRow
from shared.events import SheetReturned

#: A file that was refused may be read when it comes again; one that was read is done with.
ADD = text("""
    INSERT INTO returned_sheets (sha256, file_path, received_from, received_at, sheet_key, status, reason)
    VALUES (:sha256, :file_path, :received_from, :received_at, :sheet_key,
            CASE WHEN CAST(:reason AS text) IS NULL THEN 'read' ELSE 'refused' END, :reason)
    ON CONFLICT (sha256) DO UPDATE
    SET file_path = excluded.file_path, received_from = excluded.received_from, received_at = excluded.received_at,
        sheet_key = excluded.sheet_key, status = excluded.status, reason = excluded.reason
    WHERE returned_sheets.status = 'refused'
    RETURNING id
""")
COUNT = text("UPDATE returned_sheets SET outcomes = :outcomes, reviews = :reviews WHERE id = :id")
PRINTED = text("""
    SELECT assignments.id, leads.lead_id, agents.agent_code, assignments.lead_assignment_code, assignments.rowid,
           assignments.lead_date, assignments.lead_type, assignments.mobile_number, assignments.cx_name,
           assignments.address, assignments.is_current, assignments.assignment_status_id, holders.agent_code AS held_by
    FROM assignments JOIN leads ON leads.id = assignments.lead_id JOIN agents ON agents.id = assignments.agent_id
         LEFT JOIN assignments AS standing ON standing.lead_id = assignments.lead_id AND standing.is_current
         LEFT JOIN agents AS holders ON holders.id = standing.agent_id
    WHERE assignments.sheet_key = :sheet_key AND assignments.lead_assignment_code IS NOT NULL
    ORDER BY assignments.id
""")
#: Only what a later sheet says otherwise is written, and told.
RECORD = text("""
    INSERT INTO lead_assignment_outcomes (lead_assignment_id, converted_flag, order_number, order_date, order_value,
                                          payment_mode, payment_amount, remarks, returned_sheet_id, returned_at)
    SELECT new.id, new.converted, new.order_number, new.order_date, new.order_value, new.payment_mode,
           new.payment_amount, new.remarks, :returned_sheet_id, :returned_at
    FROM unnest(CAST(:ids AS bigint[]), CAST(:converted AS boolean[]), CAST(:order_numbers AS text[]),
                CAST(:order_dates AS date[]), CAST(:order_values AS numeric[]), CAST(:payment_modes AS text[]),
                CAST(:payment_amounts AS numeric[]), CAST(:remarks AS text[]))
         AS new (id, converted, order_number, order_date, order_value, payment_mode, payment_amount, remarks)
    ORDER BY new.id
    ON CONFLICT (lead_assignment_id) DO UPDATE
    SET converted_flag = excluded.converted_flag, order_number = excluded.order_number,
        order_date = excluded.order_date, order_value = excluded.order_value, payment_mode = excluded.payment_mode,
        payment_amount = excluded.payment_amount, remarks = excluded.remarks,
        returned_sheet_id = excluded.returned_sheet_id, returned_at = excluded.returned_at,
        revision = nextval('outcome_revisions'), updated_at = now()
    WHERE excluded.returned_at >= lead_assignment_outcomes.returned_at
      AND (excluded.converted_flag, excluded.order_number, excluded.order_date, excluded.order_value,
           excluded.payment_mode, excluded.payment_amount, excluded.remarks)
          IS DISTINCT FROM
          (lead_assignment_outcomes.converted_flag, lead_assignment_outcomes.order_number,
           lead_assignment_outcomes.order_date, lead_assignment_outcomes.order_value,
           lead_assignment_outcomes.payment_mode, lead_assignment_outcomes.payment_amount,
           lead_assignment_outcomes.remarks)
    RETURNING lead_assignment_id, revision
""")
RESOLVE = text("""
    UPDATE sheet_reviews SET status = 'resolved', resolved_at = now()
    WHERE status = 'open' AND lead_assignment_id = ANY(CAST(:ids AS bigint[]))
""")
REVIEW = text("""
    INSERT INTO sheet_reviews (returned_sheet_id, lead_assignment_code, lead_assignment_id, reason, values)
    SELECT :returned_sheet_id, new.code, new.id, new.reason, CAST(new.filled AS jsonb)
    FROM unnest(CAST(:codes AS text[]), CAST(:ids AS bigint[]), CAST(:reasons AS text[]), CAST(:filled AS text[]))
         WITH ORDINALITY AS new (code, id, reason, filled, place)
    ORDER BY new.place
""")
ASSIGNED = 2


@dataclass(frozen=True, slots=True)
class Received:
    """A file that came back, as it was told of."""

    event: SheetReturned
    at: datetime


async def add_returned(
    tx: AsyncConnection, received: Received, *, sheet_key: str | None = None, reason: str | None = None
) -> int | None:
    """Store that a file came back, read or refused for a reason; None if it was read before."""
    values = {
        "sha256": received.event.sha256,
        "file_path": received.event.file_path,
        "received_from": received.event.received_from,
        "received_at": received.at,
        "sheet_key": sheet_key,
        "reason": reason,
    }
    return (await tx.execute(ADD, values)).scalar_one_or_none()


async def printed_on(tx: AsyncConnection, sheet_key: str) -> dict[str, Printed]:
    """Give the assignments that a sheet was printed for, by code, ended ones too."""
    rows = (await tx.execute(PRINTED, {"sheet_key": sheet_key})).mappings()
    return {row["lead_assignment_code"]: _printed(dict(row)) for row in rows}


async def record(
    tx: AsyncConnection, returned_sheet_id: int, outcomes: Sequence[Outcome], at: datetime
) -> dict[int, int]:
    """Store outcomes; give the revisions, by assignment, of those that say something new."""
    filled = [outcome.filled for outcome in outcomes]
    ids = [outcome.printed.assignment_id for outcome in outcomes]
    values = {
        "returned_sheet_id": returned_sheet_id,
        "returned_at": at,
        "ids": ids,
        "converted": [each.is_converted for each in filled],
        "order_numbers": [each.order_number for each in filled],
        "order_dates": [each.order_date for each in filled],
        "order_values": [each.order_value for each in filled],
        "payment_modes": [each.payment_mode for each in filled],
        "payment_amounts": [each.payment_amount for each in filled],
        "remarks": [each.remarks for each in filled],
    }
    await tx.execute(RESOLVE, {"ids": ids})
    return {row.lead_assignment_id: row.revision for row in await tx.execute(RECORD, values)}


async def review(tx: AsyncConnection, returned_sheet_id: int, reviews: Sequence[Review]) -> None:
    """Store what a person must look at."""
    values = {
        "returned_sheet_id": returned_sheet_id,
        "codes": [each.code for each in reviews],
        "ids": [each.printed.assignment_id if each.printed else None for each in reviews],
        "reasons": [each.reason for each in reviews],
        "filled": [json.dumps(dict(each.values)) for each in reviews],
    }
    await tx.execute(REVIEW, values)


async def count(tx: AsyncConnection, returned_sheet_id: int, *, outcomes: int, reviews: int) -> None:
    """Write what became of the sheet's rows."""
    await tx.execute(COUNT, {"id": returned_sheet_id, "outcomes": outcomes, "reviews": reviews})


def _printed(row: Mapping[str, Any]) -> Printed:
    columns = ("lead_assignment_code", "rowid", "lead_date", "lead_type", "mobile_number", "cx_name", "address")
    return Printed(
        assignment_id=row["id"],
        lead_id=row["lead_id"],
        agent_code=row["agent_code"],
        row=SheetRow(*(row[column] for column in columns)),
        is_current=bool(row["is_current"]),
        is_begun=row["assignment_status_id"] != ASSIGNED,
        held_by=row["held_by"],
    )
