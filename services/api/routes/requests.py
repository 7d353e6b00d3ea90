"""Requests: made, listed, closed and taken up again, as mini-crm has them."""

from __future__ import annotations

from datetime import UTC, datetime
from secrets import token_hex
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text

from services.api import idempotency
from services.api.access import Operator, Viewer
from services.api.fields import Id, IdQuery, LeadIdText, Prose, Word
from services.api.idempotency import IdempotencyKey
from services.api.looking import Seen
from services.api.paging import SomePage
from services.api.problems import FieldProblem, ProblemError, documented
from services.api.publishing import publish
from services.api.requests_ import LIST, OF_CUSTOMERS, OF_LEAD, ONE, RequestOut, Status, read_requests
from services.api.routes.sources import SourceOut, read_source
from services.api.state import Shared, SharedState
from services.ingest import intake, problems
from shared.events import Event, LeadClosed, LeadCreated, LeadReopened
from shared.messaging.envelope import BIGINT_MAX

router = APIRouter(prefix="/requests", tags=["requests"])

NOT_STORED = "it is sent, and not yet taken in: ingest has not stored it in time"
NOT_DECIDED = "it is stored, and not yet looked at: the assigner has not answered in time"

Wait = Annotated[float | None, Query(ge=0, le=30, description="Seconds to wait for what becomes of it.")]

CUSTOMERS = text("""
    SELECT id, external_id, customer_name AS name, email, mobile_number AS phone, created_at
    FROM customers WHERE id > :after ORDER BY id LIMIT :limit
""")
STATS = text("""
    SELECT sources.id AS source_id, sources.name AS source_name, assignments.agent_id AS operator_id,
           agents.agent_name AS operator_name, count(*) AS requests,
           count(*) FILTER (WHERE assignment_status_id <> 4) AS active
    FROM leads JOIN sources ON sources.id = leads.source_id
         JOIN assignments ON assignments.lead_id = leads.id AND assignments.is_current
         LEFT JOIN agents ON agents.id = assignments.agent_id
    GROUP BY sources.id, assignments.agent_id, agents.agent_name ORDER BY sources.id, assignments.agent_id
""")


class RequestIn(BaseModel):
    """A request of a customer, who is known again by `lead_external_id`, whatever source it comes by."""

    lead_external_id: Annotated[Word, Field(pattern=r"\S")]
    source_id: Annotated[int, Field(ge=1, le=BIGINT_MAX)]
    message: Prose | None = None
    lead_name: Word | None = None
    lead_email: Annotated[Word, Field(max_length=320)] | None = None
    lead_phone: Annotated[Word, Field(max_length=64)] | None = None
    lead_id: LeadIdText | None = Field(
        default=None, description="Your own id of this request; the same again is the same request."
    )


class CustomerOut(BaseModel):
    """A customer, with all its requests by whatever source."""

    id: int
    external_id: str
    name: str | None
    email: str | None
    phone: str | None
    created_at: datetime
    requests: list[RequestOut]


class OperatorShare(BaseModel):
    """What an operator has of a source."""

    operator_id: int
    operator_name: str
    requests: int
    active: int
    share: float = Field(description="Of the source's requests that anybody has, in percent.")


class SourceShares(BaseModel):
    """How a source's requests are distributed."""

    source_id: int
    source_name: str
    total_requests: int
    unassigned: int
    operators: list[OperatorShare]


@router.post(
    "",
    status_code=201,
    responses={
        **documented(404),
        202: {"description": "It is sent; what becomes of it was not known in time.", "model": RequestOut},
    },
)
async def create_request(
    body: RequestIn,
    request: Request,
    response: Response,
    caller: Operator,
    shared: SharedState,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
) -> RequestOut:
    """Take in a request and give it to an operator: 201 with who has it, or with nobody and the reason.

    Each call is a new request, unless `lead_id` or an Idempotency-Key names one that is there.
    """
    async with shared.database.reading() as connection:
        source = await read_source(connection, body.source_id)
    lead_id = body.lead_id or token_hex(12)
    if asked := await idempotency.once(request, caller, idempotency_key):
        async with shared.database.begin() as tx:
            known = await idempotency.remember(tx, asked, {"lead_id": lead_id})
        lead_id = known["lead_id"] if known else lead_id
    event = await _event(shared, body, source, lead_id)
    await publish(shared.publisher, event)
    timeout_s = shared.settings.api_wait_s if wait is None else wait
    seen = await shared.looks.until(event.lead_id, lambda lead: lead.is_decided, timeout_s=timeout_s)
    made = await _made(shared, event, body, seen)
    response.status_code = 201 if seen is not None and seen.is_decided else 202
    if made.id is not None:
        response.headers["Location"] = f"/requests/{made.id}"
    return made


@router.get("", responses=documented())
async def list_requests(
    _: Viewer,
    shared: SharedState,
    asked: SomePage,
    source_id: IdQuery = None,
    operator_id: IdQuery = None,
    lead_id: IdQuery = None,
    crm_lead_id: Annotated[LeadIdText | None, Query()] = None,
    status: Status | None = None,
) -> list[RequestOut]:
    """List requests, the newest first; a header Link names the next page."""
    values = {
        **asked.values("before", BIGINT_MAX),
        "source_id": source_id,
        "operator_id": operator_id,
        "customer_id": lead_id,
        "crm_lead_id": crm_lead_id,
        "status": status,
    }
    async with shared.database.reading() as connection:
        rows = await read_requests(connection, LIST, values)
    return asked.cut(rows, lambda row: row.id or 0)


@router.get("/leads/all", responses=documented())
async def list_customers(_: Viewer, shared: SharedState, asked: SomePage) -> list[CustomerOut]:
    """List the customers with all their requests; a header Link names the next page."""
    async with shared.database.reading() as connection:
        rows = (await connection.execute(CUSTOMERS, asked.values("after", 0))).mappings().all()
        page = asked.cut(rows, lambda row: int(row["id"]))
        requests = await read_requests(connection, OF_CUSTOMERS, {"ids": [row["id"] for row in page]})
    return [CustomerOut(**row, requests=[each for each in requests if each.lead_id == row["id"]]) for row in page]


@router.get("/distribution/stats", responses=documented())
async def distribution(_: Viewer, shared: SharedState) -> list[SourceShares]:
    """Count each source's requests by operator."""
    async with shared.database.reading() as connection:
        rows = [dict(row) for row in (await connection.execute(STATS)).mappings()]
    return [_shares(source_id, rows) for source_id in dict.fromkeys(row["source_id"] for row in rows)]


@router.get("/{request_id}", responses=documented(404))
async def get_request(request_id: Id, _: Viewer, shared: SharedState) -> RequestOut:
    """Give one request."""
    return await _read(shared, request_id)


@router.patch(
    "/{request_id}/status",
    responses={
        **documented(404, 409),
        202: {"description": "It is sent; its effect was not seen in time.", "model": RequestOut},
    },
)
async def set_status(
    request_id: Id, status: Status, response: Response, _: Operator, shared: SharedState, wait: Wait = None
) -> RequestOut:
    """Close a request, which frees its operator's place; or take it up again, if there is a place: else 409."""
    before = await _read(shared, request_id)
    if before.status == status:
        return before
    is_closing = status == "closed"
    event: Event = (LeadClosed if is_closing else LeadReopened)(lead_id=before.crm_lead_id)
    await publish(shared.publisher, event)
    seen = await shared.looks.until(
        before.crm_lead_id,
        lambda lead: lead.is_closed is is_closing and (is_closing or lead.is_decided),
        timeout_s=shared.settings.api_wait_s if wait is None else wait,
        event_id=event.event_id,
    )
    if seen is not None and event.event_id in seen.refused:
        raise ProblemError(409, f"the request stays {before.status}: {seen.refused[event.event_id]}")
    after = await _read(shared, request_id)
    response.status_code = 200 if after.status == status else 202
    return after


async def _event(shared: Shared, body: RequestIn, source: SourceOut, lead_id: str) -> LeadCreated:
    """Give the event that makes the lead; problem 422, field by field, if ingest would refuse it."""
    event = LeadCreated(
        lead_id=lead_id,
        source=source.name,
        external_id=body.lead_external_id,
        message=body.message,
        customer_name=body.lead_name,
        email=body.lead_email,
        mobile_number=body.lead_phone,
    )
    known = await shared.reference.latest(shared.database)
    outcome = intake.read_created(event, known.rules(event.source), known.reference, datetime.now(UTC))
    if isinstance(outcome, problems.Rejected):
        errors = [FieldProblem(field=each.field, problem=each.problem) for each in outcome.errors]
        raise ProblemError(422, "the request is not as it should be", errors=errors)
    return event


async def _made(shared: Shared, event: LeadCreated, body: RequestIn, seen: Seen | None) -> RequestOut:
    if seen is None:
        return RequestOut(
            id=None,
            lead_id=None,
            source_id=body.source_id,
            operator_id=None,
            operator_name=None,
            status="active",
            message=body.message,
            created_at=event.occurred_at or datetime.now(UTC),
            crm_lead_id=event.lead_id,
            state="pending",
            reason=NOT_STORED,
            retry_at=None,
        )
    async with shared.database.reading() as connection:
        (made,) = await read_requests(connection, OF_LEAD, {"lead_id": event.lead_id})
    return made if seen.is_decided else made.model_copy(update={"reason": NOT_DECIDED})


async def _read(shared: Shared, request_id: int) -> RequestOut:
    async with shared.database.reading() as connection:
        found = await read_requests(connection, ONE, {"id": request_id})
    if not found:
        raise ProblemError(404, f"there is no request {request_id}")
    return found[0]


def _shares(source_id: int, rows: list[dict[str, Any]]) -> SourceShares:
    own = [row for row in rows if row["source_id"] == source_id]
    held = [row for row in own if row["operator_id"] is not None]
    given = sum(row["requests"] for row in held)
    return SourceShares(
        source_id=source_id,
        source_name=own[0]["source_name"],
        total_requests=sum(row["requests"] for row in own),
        unassigned=sum(row["requests"] for row in own) - given,
        operators=[
            OperatorShare(
                **{name: row[name] for name in ("operator_id", "operator_name", "requests", "active")},
                share=round(100 * row["requests"] / given, 2),
            )
            for row in held
        ],
    )
