"""Agents: who works, who is off, how much each may hold open; switched with a look at what is odd about it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from sqlalchemy import text
from starlette.responses import Response

from services.api import etags, paging
from services.api.console import rendering
from services.api.console.guarding import Operating, Page, Viewing, done
from services.api.console.pages.changing import ask, new_warnings
from services.api.console.pages.fields import WordField, blank
from services.api.console.pages.leads import next_url
from services.api.fields import Id
from services.api.paging import Cursor
from services.api.routes import operators as api
from services.api.state import SharedState

router = APIRouter(prefix="/console", route_class=Page)

PAGE = 200
ROUTES = text("""
    SELECT agent_id, array_agg(DISTINCT routes.name ORDER BY routes.name) AS routes
    FROM route_members JOIN routes ON routes.id = route_id
    WHERE route_members.is_enabled AND routes.is_enabled AND agent_id = ANY(CAST(:ids AS bigint[])) GROUP BY agent_id
""")

MaxLoad = Annotated[int | None, blank, Form(ge=0, le=1_000_000_000)]


@router.get("/agents")
async def agents_page(request: Request, person: Viewing, shared: SharedState, cursor: Cursor = None) -> Response:
    """List the agents, with what they hold open and may."""
    answer = Response()
    listed = await api.list_operators(person, shared, paging.BarePage(request, answer, PAGE + 1, cursor))
    page, following = paging.cut(listed, PAGE, lambda row: row.id)
    async with shared.database.reading() as connection:
        rows = await connection.execute(ROUTES, {"ids": [each.id for each in page]})
        routes = {row.agent_id: row.routes for row in rows}
    versions = {each.id: etags.etag_of(each.model_copy(update={"current_load": 0})) for each in page}
    return await rendering.page(
        request,
        "agents.html",
        agents=page,
        routes=routes,
        versions=versions,
        next=following,
        next_url=next_url(request, following),
    )


@router.post("/agents/{agent_id}")
async def change_agent(
    request: Request,
    agent_id: Id,
    person: Operating,
    shared: SharedState,
    version: Annotated[str, Form(max_length=200)],
    is_active: Annotated[bool, Form()] = False,
    max_load: MaxLoad = None,
    confirmed: WordField = None,
) -> Response:
    """Switch an agent off or on, change how much it may hold open; refused where somebody else has changed it since."""
    before = await api.get_operator(agent_id, Response(), person, shared)
    entry = {"code": before.code, "name": before.name, "active": is_active, "max_load": max_load}
    if confirmed != "yes" and (warnings := await new_warnings(shared.database, agents=[entry])):
        form = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
        return await ask(request, f"agent {before.name} ({before.code})", warnings, form)
    change = api.OperatorChange(is_active=is_active, max_load=max_load)
    after = await api.update_operator(agent_id, change, Response(), person, shared, if_match=version)
    state = "on" if after.is_active else "off"
    limit = "no limit" if after.max_load is None else f"at most {after.max_load:,} open"
    return await done(shared, person, f"{after.name} ({after.code}) is {state}, {limit}.", "/console/agents")
