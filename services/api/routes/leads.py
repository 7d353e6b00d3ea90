"""Leads under the CRM's ids: sent as events, found, told whole, explained; taken, closed and taken up again."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text

from services.api import paging
from services.api.access import Operator, Viewer
from services.api.fields import LeadIdText, Word
from services.api.paging import Cursor, Limit, Page
from services.api.problems import FieldProblem, ProblemError, documented, said
from services.api.publishing import publish
from services.api.state import SharedState
from services.cli.decisions.explaining import Explained, explain
from services.cli.leads import Story, read_story
from services.ingest import intake, problems
from shared.events import CloseReason, Event, LeadClosed, LeadCreated, LeadReopened, LeadTaken
from shared.messaging.envelope import BIGINT_MAX

router = APIRouter(prefix="/leads", tags=["leads"])

State = Literal["pending", "assigned", "in progress", "closed"]

#: By an id that is given whole, or by a part of a name, a number or an address.
LIST = text("""
    SELECT leads.id, leads.lead_id, sources.name AS source, leads.customer_name, leads.mobile_number, leads.email,
           leads.store_code, leads.created_at, leads.received_at, lower(assignment_statuses.name) AS status,
           assignments.reason, assignments.retry_at, routes.name AS route, agents.agent_code AS agent,
           agents.agent_name, assignments.assigned_at
    FROM leads JOIN sources ON sources.id = leads.source_id
         JOIN assignments ON assignments.lead_id = leads.id AND assignments.is_current
         JOIN assignment_statuses ON assignment_statuses.id = assignments.assignment_status_id
         LEFT JOIN routes ON routes.id = assignments.route_id
         LEFT JOIN agents ON agents.id = assignments.agent_id
    WHERE leads.id < :before
      AND (CAST(:q AS text) IS NULL OR leads.lead_id = :q OR leads.customer_name ILIKE :pattern
           OR leads.mobile_number LIKE :pattern OR leads.email ILIKE :pattern)
      AND (CAST(:status AS text) IS NULL OR lower(assignment_statuses.name) = :status)
      AND (CAST(:source AS text) IS NULL OR lower(sources.name) = lower(:source))
      AND (CAST(:route AS text) IS NULL OR routes.name = :route)
      AND (CAST(:agent AS text) IS NULL OR agents.agent_code = :agent)
    ORDER BY leads.id DESC LIMIT :limit
""")


class LeadRow(BaseModel):
    """A lead as it stands."""

    lead_id: str
    source: str
    customer_name: str | None
    mobile_number: str | None
    email: str | None
    store_code: str | None
    created_at: datetime
    received_at: datetime
    status: State
    reason: str | None
    retry_at: datetime | None
    route: str | None
    agent: str | None
    agent_name: str | None
    assigned_at: datetime | None


class LeadIn(BaseModel):
    """A lead as `lead.created` has it; other fields are taken, too, and kept among its attributes."""

    model_config = ConfigDict(extra="allow")

    lead_id: LeadIdText
    source: Annotated[Word, Field(max_length=128, pattern=r"\S")]
    store_code: str | None = None
    external_id: str | None = None
    customer_name: str | None = None
    mobile_number: str | None = None
    email: str | None = None
    business_line: str | None = None
    message: str | None = None
    created_at: str | None = None
    pickup_date: date | None = None


class Accepted(BaseModel):
    """An event that the broker has confirmed; its effect comes as it does for any other client's."""

    event_id: str
    type: str
    lead_id: str


class Closing(BaseModel):
    """How a lead was closed."""

    reason: CloseReason = "lost"
    agent_code: Annotated[Word, Field(max_length=64)] | None = None


class ByAgent(BaseModel):
    """Whose lead it is, where that is to be held against."""

    agent_code: Annotated[Word, Field(max_length=64)] | None = None


@router.post("", status_code=202, responses=documented())
async def send_lead(body: LeadIn, _: Operator, shared: SharedState) -> Accepted:
    """Send a lead as any client of the exchange does; the same `lead_id` again changes nothing."""
    event = LeadCreated.model_validate(body.model_dump(exclude_none=True, mode="json"))
    known = await shared.reference.latest(shared.database)
    outcome = intake.read_created(event, known.rules(event.source), known.reference, datetime.now(UTC))
    if isinstance(outcome, problems.Rejected):
        errors = [FieldProblem(field=each.field, problem=each.problem) for each in outcome.errors]
        raise ProblemError(422, "the lead is not as it should be", errors=errors)
    return await _sent(shared, event, event.lead_id)


@router.get("", responses=documented())
async def list_leads(
    _: Viewer,
    shared: SharedState,
    q: Annotated[Word | None, Query(description="An id, or a part of a name, a number or an address.")] = None,
    status: State | None = None,
    source: Annotated[Word | None, Query()] = None,
    route: Annotated[Word | None, Query()] = None,
    agent: Annotated[Word | None, Query(description="An agent's code.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[LeadRow]:
    """Find leads, the newest first."""
    values = {
        "before": paging.decode(cursor, BIGINT_MAX),
        "limit": limit + 1,
        "q": q,
        "pattern": None if q is None else f"%{literal(q)}%",
        "status": status,
        "source": source,
        "route": route,
        "agent": agent,
    }
    async with shared.database.reading() as connection:
        rows = (await connection.execute(LIST, values)).mappings().all()
    page, following = paging.cut(rows, limit, lambda row: int(row["id"]))
    return Page(items=[LeadRow(**row) for row in page], next=following)


@router.get("/{lead_id:path}/explain", responses=documented(404))
async def explain_lead(lead_id: LeadIdText, _: Viewer, shared: SharedState) -> Explained:
    """Say who got a lead and why, why not the others, and what would have made each of them win."""
    with said(404):
        return await explain(shared.database, lead_id)


@router.post("/{lead_id:path}/taken", status_code=202, responses=documented(404))
async def take_lead(
    lead_id: LeadIdText, _: Operator, shared: SharedState, body: Annotated[ByAgent | None, Body()] = None
) -> Accepted:
    """Say that its agent has begun to work a lead."""
    await _known(shared, lead_id)
    return await _sent(shared, LeadTaken(lead_id=lead_id, agent_code=body.agent_code if body else None), lead_id)


@router.post("/{lead_id:path}/closed", status_code=202, responses=documented(404))
async def close_lead(
    lead_id: LeadIdText, _: Operator, shared: SharedState, body: Annotated[Closing | None, Body()] = None
) -> Accepted:
    """Say that the work on a lead is over, and how it ended."""
    await _known(shared, lead_id)
    closing = body or Closing()
    return await _sent(
        shared, LeadClosed(lead_id=lead_id, agent_code=closing.agent_code, reason=closing.reason), lead_id
    )


@router.post("/{lead_id:path}/reopened", status_code=202, responses=documented(404))
async def reopen_lead(
    lead_id: LeadIdText, _: Operator, shared: SharedState, body: Annotated[ByAgent | None, Body()] = None
) -> Accepted:
    """Say that a closed lead is to be worked again."""
    await _known(shared, lead_id)
    return await _sent(shared, LeadReopened(lead_id=lead_id, agent_code=body.agent_code if body else None), lead_id)


@router.get("/{lead_id:path}", responses=documented(404))
async def get_lead(lead_id: LeadIdText, _: Viewer, shared: SharedState) -> Story:
    """Tell one lead's whole story: as it stands, its history, its sheets and mails."""
    with said(404):
        return await read_story(shared.database, lead_id)


def literal(q: str) -> str:
    """Give what LIKE takes as it is written: no wildcard of the caller's."""
    return q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


async def _known(shared: Any, lead_id: str) -> None:
    if await shared.looks.once(lead_id) is None:
        raise ProblemError(404, f"there is no lead {lead_id!r}; ids are the CRM's")


async def _sent(shared: Any, event: Event, lead_id: str) -> Accepted:
    await publish(shared.publisher, event)
    return Accepted(event_id=event.event_id, type=event.type, lead_id=lead_id)
