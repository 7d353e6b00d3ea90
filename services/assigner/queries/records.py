"""The record of every change of an assignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.facts import Lead, Status
from shared.db.statement import Statement

INSERT_RECORDS = """
    INSERT INTO assignment_records (assignment_id, lead_id, agent_id, assignment_status_id, method, reason,
                                    count_before, count_after, open_before, open_after, requested_by)
    SELECT new.*, :requested_by
    FROM unnest(CAST(:assignment_ids AS bigint[]), CAST(:lead_ids AS bigint[]), CAST(:record_agent_ids AS bigint[]),
                CAST(:statuses AS smallint[]), CAST(:methods AS text[]), CAST(:reasons AS text[]),
                CAST(:count_befores AS bigint[]), CAST(:count_afters AS bigint[]), CAST(:open_befores AS bigint[]),
                CAST(:open_afters AS bigint[])) AS new
    RETURNING lead_id, id
"""
ADD_RECORDS = Statement(INSERT_RECORDS)
ADD_REFUSALS = Statement("""
    INSERT INTO assignment_records (assignment_id, lead_id, agent_id, assignment_status_id, method, reason,
                                    refused_event)
    SELECT * FROM unnest(CAST(:assignment_ids AS bigint[]), CAST(:lead_ids AS bigint[]), CAST(:agent_ids AS bigint[]),
                         CAST(:statuses AS smallint[]), CAST(:methods AS text[]), CAST(:reasons AS text[]),
                         CAST(:events AS text[])) AS new
    ON CONFLICT (lead_id, refused_event) WHERE refused_event IS NOT NULL DO NOTHING
""")


class Record(Struct, frozen=True):
    """A row of `assignment_records` to be."""

    lead: Lead
    status: Status
    method: str
    agent_id: int | None = None
    reason: str | None = None
    count_before: int | None = None
    count_after: int | None = None
    open_before: int | None = None
    open_after: int | None = None
    #: What tells the event that was refused from every other; None if it was not.
    refused_event: str | None = None
    #: Where it is not the one that the lead had when it was read.
    assignment_id: int | None = None


async def add_records(tx: AsyncConnection, records: Sequence[Record], *, requested_by: str | None) -> dict[int, int]:
    """Store changes of state; give each record's id, the revision of its event, by lead."""
    return dict(map(tuple, await ADD_RECORDS.run(tx, columns(records, requested_by))))


def columns(records: Sequence[Record], requested_by: str | None) -> dict[str, Any]:
    """Give what `INSERT_RECORDS` takes."""
    return {
        "requested_by": requested_by,
        "assignment_ids": [record.assignment_id or record.lead.assignment_id for record in records],
        "lead_ids": [record.lead.id for record in records],
        "record_agent_ids": [record.agent_id for record in records],
        "statuses": [int(record.status) for record in records],
        "methods": [record.method for record in records],
        "reasons": [record.reason for record in records],
        "count_befores": [record.count_before for record in records],
        "count_afters": [record.count_after for record in records],
        "open_befores": [record.open_before for record in records],
        "open_afters": [record.open_after for record in records],
    }


async def add_refusals(tx: AsyncConnection, records: Sequence[Record]) -> None:
    """Store that events were refused, each once, however often it is delivered."""
    values = {
        "assignment_ids": [record.lead.assignment_id for record in records],
        "lead_ids": [record.lead.id for record in records],
        "agent_ids": [record.agent_id for record in records],
        "statuses": [int(record.status) for record in records],
        "methods": [record.method for record in records],
        "reasons": [record.reason for record in records],
        "events": [record.refused_event for record in records],
    }
    await ADD_REFUSALS.run(tx, values)
