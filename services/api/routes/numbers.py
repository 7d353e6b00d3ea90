"""How things stand: counts, fairness, who waits and why; and giving leads that wait to somebody by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import text

from services.api import paging
from services.api.access import Operator, Viewer
from services.api.fields import LeadIdText, Word
from services.api.paging import Cursor, Limit, Page
from services.api.problems import documented, said
from services.api.publishing import publish
from services.api.state import SharedState
from services.cli.assigning import Wish, check, read_answer, told
from services.cli.decisions.fairness import RouteFairness, fairness
from services.cli.statistics import Statistics, read_statistics
from services.cli.waiting import wait_for

router = APIRouter(tags=["numbers"])

WAITING = text("""
    SELECT assignments.id AS place, leads.lead_id, sources.name AS source, leads.customer_name, leads.store_code,
           routes.name AS route, assignments.reason, assignments.retry_at, leads.received_at,
           CAST(extract(epoch FROM now() - leads.received_at) AS bigint) AS age_s
    FROM assignments JOIN leads ON leads.id = assignments.lead_id JOIN sources ON sources.id = leads.source_id
         LEFT JOIN routes ON routes.id = assignments.route_id
    WHERE assignments.is_current AND assignment_status_id = 1 AND assignments.id > :after
      AND (CAST(:route AS text) IS NULL OR routes.name = :route)
      AND (CAST(:reason AS text) IS NULL OR assignments.reason = :reason)
    ORDER BY assignments.id LIMIT :limit
""")


class WaitingLead(BaseModel):
    """A lead that nobody has."""

    lead_id: str
    source: str
    customer_name: str | None
    store_code: str | None
    route: str | None
    reason: str | None
    retry_at: datetime | None
    received_at: datetime
    age_s: int


class WishIn(BaseModel):
    """Which leads that wait: these, or those of a source or route; `to_agent_code`: whoever else stood before."""

    lead_ids: Annotated[list[LeadIdText], Field(max_length=1_000)] = []
    source: Word | None = None
    route: Word | None = None
    to_agent_code: Annotated[Word, Field(max_length=64)] | None = None


class Assignments(BaseModel):
    """What came of it: how many, to whom, and why not the others. `is_whole`: nothing more will come."""

    request_id: str
    is_whole: bool
    assigned: int
    agents: Mapping[str, int]
    unassigned: Mapping[str, int]


@router.get("/stats", responses=documented())
async def stats(_: Viewer, shared: SharedState) -> Statistics:
    """Count what has happened so far, and who is next."""
    return await read_statistics(shared.database)


@router.get("/fairness", responses=documented(404))
async def all_fairness(
    _: Viewer, shared: SharedState, route: Annotated[Word | None, Query()] = None
) -> list[RouteFairness]:
    """Hold what members received against what they were entitled to, and each policy's promise against both."""
    with said(404):
        return await fairness(shared.database, route)


@router.get("/unassigned", responses=documented())
async def unassigned(
    _: Viewer,
    shared: SharedState,
    route: Annotated[Word | None, Query()] = None,
    reason: Annotated[Word | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[WaitingLead]:
    """List leads that nobody has, and why; who waits longest is first."""
    values = {"after": paging.decode(cursor, 0), "limit": limit + 1, "route": route, "reason": reason}
    async with shared.database.reading() as connection:
        rows = (await connection.execute(WAITING, values)).mappings().all()
    page, following = paging.cut(rows, limit, lambda row: int(row["place"]))
    return Page(items=[WaitingLead(**row) for row in page], next=following)


@router.post(
    "/assignments",
    responses={
        **documented(409),
        202: {"description": "It is asked for; what came of it was not known in time.", "model": Assignments},
    },
)
async def assign_by_hand(
    body: WishIn,
    response: Response,
    caller: Operator,
    shared: SharedState,
    wait: Annotated[float | None, Query(ge=0, le=30, description="Seconds to wait for what comes of it.")] = None,
) -> Assignments:
    """Have leads that wait looked at now, also those that wait for a person; or give them to an agent."""
    wish = Wish(body.source, body.route, tuple(body.lead_ids), body.to_agent_code)
    with said(409):
        request = wish.request(requested_by=caller.actor)
        await check(shared.database, request)
    await publish(shared.publisher, request)

    async def whole() -> bool | None:
        return (await read_answer(shared.database, request)).is_whole or None

    await wait_for(whole, shared.settings.api_wait_s if wait is None else wait)
    answer = await read_answer(shared.database, request)
    found = await told(shared.database, request, answer)
    response.status_code = 200 if answer.is_whole else 202
    return Assignments(
        request_id=found.request_id,
        is_whole=answer.is_whole,
        assigned=found.assigned,
        agents=found.agents,
        unassigned=found.unassigned,
    )
