"""Requests: leads, as mini-crm calls them; and leads are its name for the customers behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Status = Literal["active", "closed"]

COLUMNS = """
    SELECT leads.id, leads.customer_id AS lead_id, leads.source_id, assignments.agent_id AS operator_id,
           agents.agent_name AS operator_name,
           CASE WHEN assignment_status_id = 4 THEN 'closed' ELSE 'active' END AS status,
           leads.message, leads.created_at, leads.lead_id AS crm_lead_id, lower(assignment_statuses.name) AS state,
           assignments.reason, assignments.retry_at
    FROM leads JOIN assignments ON assignments.lead_id = leads.id AND assignments.is_current
         JOIN assignment_statuses ON assignment_statuses.id = assignments.assignment_status_id
         LEFT JOIN agents ON agents.id = assignments.agent_id
"""
LIST = text(f"""{COLUMNS}
    WHERE leads.id < :before
      AND (CAST(:source_id AS bigint) IS NULL OR leads.source_id = :source_id)
      AND (CAST(:operator_id AS bigint) IS NULL OR assignments.agent_id = :operator_id)
      AND (CAST(:customer_id AS bigint) IS NULL OR leads.customer_id = :customer_id)
      AND (CAST(:crm_lead_id AS text) IS NULL OR leads.lead_id = :crm_lead_id)
      AND (CAST(:status AS text) IS NULL OR (assignment_status_id = 4) = (:status = 'closed'))
    ORDER BY leads.id DESC LIMIT :limit
""")
ONE = text(f"{COLUMNS} WHERE leads.id = :id")
OF_LEAD = text(f"{COLUMNS} WHERE leads.lead_id = :lead_id")
OF_CUSTOMERS = text(f"{COLUMNS} WHERE leads.customer_id = ANY(CAST(:ids AS bigint[])) ORDER BY leads.id")


class RequestOut(BaseModel):
    """A request. `lead_id` is the customer behind it, `crm_lead_id` the id under which events name the request."""

    id: int | None = Field(description="Null until it is stored.")
    lead_id: int | None = Field(description="Null until it is stored, and where nobody is named.")
    source_id: int
    operator_id: int | None
    operator_name: str | None
    status: Status
    message: str | None
    created_at: datetime
    crm_lead_id: str
    state: Literal["pending", "assigned", "in progress", "closed"]
    reason: str | None = Field(description="Why nobody has it, or how it was closed.")
    retry_at: datetime | None = Field(description="When somebody may have it at the earliest, where that is known.")


async def read_requests(connection: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> Sequence[RequestOut]:
    """Give the requests of one of the statements above."""
    return [RequestOut(**row) for row in (await connection.execute(statement, values)).mappings()]
