"""Webhooks: endpoints of others, told of events; what was sent to each."""

from __future__ import annotations

from datetime import datetime
from secrets import token_bytes
from typing import Annotated, Literal

from aio_pika.exceptions import ChannelNotFoundEntity
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api import etags, idempotency
from services.api.access import Admin
from services.api.etags import IfMatch
from services.api.fields import Id
from services.api.idempotency import IdempotencyKey
from services.api.problems import FieldProblem, ProblemError, documented
from services.api.state import Shared, SharedState
from services.webhooks.addresses import URL_LENGTH, wrong_with
from services.webhooks.signing import SECRET_BYTES, secret_of
from shared.messaging import broker, topology

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

COLUMNS = "SELECT id, url, events, is_active, version, created_by, created_at FROM webhooks"
LIST = text(f"{COLUMNS} ORDER BY id")
ONE = text(f"{COLUMNS} WHERE id = :id")
LOCKED = text(f"{COLUMNS} WHERE id = :id FOR NO KEY UPDATE")
ADD = text("""
    INSERT INTO webhooks (url, secret, events, created_by) VALUES (:url, :secret, CAST(:events AS text[]), :actor)
    RETURNING id
""")
CHANGE = text("""
    UPDATE webhooks SET url = :url, events = CAST(:events AS text[]), is_active = :is_active, version = version + 1
    WHERE id = :id
""")
REMOVE = text("DELETE FROM webhooks WHERE id = :id")
DELIVERIES = text("""
    SELECT event_id, event_type, lead_id, status, answer, attempts, updated_at FROM webhook_deliveries
    WHERE webhook_id = :id ORDER BY updated_at DESC, event_id LIMIT 200
""")

EventName = Literal["lead.assigned", "lead.unassigned", "outcome.recorded"]
Url = Annotated[str, Field(min_length=1, max_length=URL_LENGTH)]
Events = Annotated[list[EventName], Field(min_length=1, max_length=10)]


class WebhookIn(BaseModel):
    """Where to send which events."""

    url: Url
    events: Events


class WebhookChange(BaseModel):
    """What is to be different; what is not named stays."""

    url: Url | None = None
    events: Events | None = None
    is_active: bool | None = None


class WebhookOut(BaseModel):
    """An endpoint that is told of events."""

    id: int
    url: str
    events: list[str]
    is_active: bool
    version: int
    created_by: str
    created_at: datetime


class NewWebhook(WebhookOut):
    """A new one, with the secret that signs: it is not shown again."""

    secret: str


class DeliveryOut(BaseModel):
    """What became of one event at an endpoint: sent, refused for good, or failed and tried again."""

    event_id: str
    event_type: str
    lead_id: str | None
    status: str
    answer: str
    attempts: int
    updated_at: datetime


@router.post("", status_code=201, responses=documented())
async def create_webhook(
    body: WebhookIn, request: Request, caller: Admin, shared: SharedState, idempotency_key: IdempotencyKey = None
) -> NewWebhook:
    """Add an endpoint. What it is sent is signed as Standard Webhooks say, by the secret in this answer."""
    _check(shared, body.url)
    asked = await idempotency.once(request, caller, idempotency_key)
    secret = secret_of(token_bytes(SECRET_BYTES))
    async with shared.database.begin() as tx:
        if (known := await idempotency.remember(tx, asked)) is not None:
            return NewWebhook(**known)
        await _have_events_taken(shared)
        events = list(dict.fromkeys(body.events))
        values = {"url": body.url, "secret": secret, "events": events, "actor": caller.actor}
        webhook_id = (await tx.execute(ADD, values)).scalar_one()
        made = NewWebhook(**(await _row(tx, webhook_id)).model_dump(), secret=secret)
        await idempotency.answered(tx, asked, made.model_dump(mode="json"))
    return made


@router.get("", responses=documented())
async def list_webhooks(_: Admin, shared: SharedState) -> list[WebhookOut]:
    """List all endpoints."""
    async with shared.database.reading() as connection:
        return [WebhookOut(**row) for row in (await connection.execute(LIST)).mappings()]


@router.get("/{webhook_id}", responses=documented(404))
async def get_webhook(webhook_id: Id, response: Response, _: Admin, shared: SharedState) -> WebhookOut:
    """Give one endpoint; its ETag is needed to change it."""
    async with shared.database.reading() as connection:
        found = await _row(connection, webhook_id)
    response.headers["ETag"] = etags.etag_of(found)
    return found


@router.patch("/{webhook_id}", responses=documented(404, 412, 428))
async def change_webhook(
    webhook_id: Id,
    body: WebhookChange,
    response: Response,
    _: Admin,
    shared: SharedState,
    if_match: IfMatch = None,
) -> WebhookOut:
    """Change an endpoint, or switch it off and on. If-Match is required."""
    if body.url is not None:
        _check(shared, body.url)
    async with shared.database.begin() as tx:
        before = await _row(tx, webhook_id, is_locked=True)
        etags.hold(if_match, before, is_required=True)
        if body.is_active:
            await _have_events_taken(shared)
        changes = body.model_dump(exclude_none=True)
        await tx.execute(
            CHANGE,
            {"url": before.url, "events": before.events, "is_active": before.is_active, **changes, "id": webhook_id},
        )
        after = await _row(tx, webhook_id)
    response.headers["ETag"] = etags.etag_of(after)
    return after


@router.delete("/{webhook_id}", status_code=204, responses=documented(404))
async def remove_webhook(webhook_id: Id, _: Admin, shared: SharedState) -> None:
    """Tell an endpoint of nothing any more, and forget what it was told."""
    async with shared.database.begin() as tx:
        removed = (await tx.execute(REMOVE, {"id": webhook_id})).rowcount
    if not removed:
        raise ProblemError(404, f"there is no webhook {webhook_id}")


@router.get("/{webhook_id}/deliveries", responses=documented(404))
async def list_deliveries(webhook_id: Id, _: Admin, shared: SharedState) -> list[DeliveryOut]:
    """List the last 200 events that an endpoint was to be told of."""
    async with shared.database.reading() as connection:
        await _row(connection, webhook_id)
        return [DeliveryOut(**row) for row in (await connection.execute(DELIVERIES, {"id": webhook_id})).mappings()]


def _check(shared: Shared, url: str) -> None:
    if wrong := wrong_with(url, allow_http=shared.settings.webhooks_allow_http):
        raise ProblemError(422, "webhooks cannot go there", errors=[FieldProblem(field="body.url", problem=wrong)])


async def _have_events_taken(shared: Shared) -> None:
    """Bind the queue to its events, if it is not: what happens after our answer is told."""
    try:
        async with (
            broker.connect(shared.settings.amqp_url, "leadline api webhooks") as connection,
            connection.channel() as channel,
        ):
            await topology.bind(channel, "webhooks")
    except ChannelNotFoundEntity as error:
        raise ProblemError(503, "the queue 'webhooks' is missing: run `leadline setup`") from error


async def _row(connection: AsyncConnection, webhook_id: int, *, is_locked: bool = False) -> WebhookOut:
    row = (await connection.execute(LOCKED if is_locked else ONE, {"id": webhook_id})).mappings().one_or_none()
    if row is None:
        raise ProblemError(404, f"there is no webhook {webhook_id}")
    return WebhookOut(**row)
