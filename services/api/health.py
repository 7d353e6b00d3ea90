"""Whether the process lives, and whether it can work. /metrics is for this machine, or for who has its token."""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from asyncpg import PostgresError
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from services.api.access import key_in
from services.api.problems import MEDIA_TYPE, ProblemError, away
from services.api.state import SharedState
from shared.messaging.publisher import PublishError
from shared.metrics import CONTENT_TYPE
from shared.outage import DependencyGoneError

router = APIRouter(tags=["health"])
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


class Health(BaseModel):
    """Alive."""

    status: str


class Readiness(BaseModel):
    """Ready as long as the database answers; without a broker reads go on, and the rest is refused."""

    status: str
    database: str
    broker: str


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process lives."""
    return Health(status="alive")


@router.get("/readyz", responses={503: {"description": "The database does not answer.", "content": _PROBLEM}})
async def readyz(shared: SharedState) -> Readiness:
    """Say whether requests can be answered."""
    try:
        await shared.database.probe()
    except (DependencyGoneError, PostgresError) as error:
        raise ProblemError(503, "the database does not answer", headers=dict(away("database").headers)) from error
    try:
        await shared.publisher.ready()
    except PublishError:
        return Readiness(status="ready", database="answers", broker="away")
    return Readiness(status="ready", database="answers", broker="answers")


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request, shared: SharedState) -> Response:
    """Give all metrics of this process, for Prometheus."""
    token = shared.settings.metrics_token
    is_known = bool(token) and hmac.compare_digest((key_in(request) or "").encode(), token.encode())
    if not is_known and not _is_here(request):
        raise ProblemError(401, "metrics are for this machine, or for LEADLINE_METRICS_TOKEN as a bearer")
    return Response(request.app.state.observed.metrics.text(), media_type=CONTENT_TYPE)


def _is_here(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False
