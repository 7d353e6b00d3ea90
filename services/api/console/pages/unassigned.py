"""Unassigned: who waits, why, until when; and giving leads that wait to somebody by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from sqlalchemy import text
from starlette.responses import Response

from services.api.console import rendering
from services.api.console.guarding import Operating, Page, Viewing, done
from services.api.console.pages.fields import WordField, WordQuery
from services.api.console.pages.leads import lead_href, next_url
from services.api.console.words import plural
from services.api.fields import LeadIdText
from services.api.paging import Cursor
from services.api.problems import ProblemError
from services.api.routes import numbers as api
from services.api.state import SharedState
from services.cli.statistics import REASONS

router = APIRouter(prefix="/console", route_class=Page)

PAGE = 100
WAIT_S = 5.0
AGENTS = text(
    "SELECT agent_code AS code, agent_name AS name FROM agents WHERE is_active ORDER BY agent_name LIMIT 2000"
)


@router.get("/unassigned")
async def unassigned_page(
    request: Request,
    person: Viewing,
    shared: SharedState,
    route: WordQuery = None,
    reason: WordQuery = None,
    cursor: Cursor = None,
) -> Response:
    """List who waits, the longest first, under why they do."""
    found = await api.unassigned(person, shared, route=route, reason=reason, limit=PAGE, cursor=cursor)
    async with shared.database.reading() as connection:
        reasons = (await connection.execute(REASONS)).mappings().all()
        agents = (await connection.execute(AGENTS)).mappings().all()
    return await rendering.page(
        request,
        "unassigned.html",
        found=found,
        reasons=reasons,
        agents=agents,
        asked={"route": route, "reason": reason},
        next_url=next_url(request, found.next),
    )


@router.post("/unassigned")
async def assign(
    person: Operating,
    shared: SharedState,
    lead_ids: Annotated[list[LeadIdText] | None, Form(max_length=1_000)] = None,
    agent: WordField = None,
) -> Response:
    """Have the leads that are ticked looked at now, or give them to an agent; say what came of it."""
    if not lead_ids:
        raise ProblemError(422, "no lead is ticked: tick those that somebody is to get")
    wish = api.WishIn(lead_ids=lead_ids, to_agent_code=agent)
    answered = await api.assign_by_hand(wish, Response(), person, shared, wait=WAIT_S)
    to = lead_href(lead_ids[0]) if len(lead_ids) == 1 else "/console/unassigned"
    return await done(shared, person, told(answered), to)


def told(answered: api.Assignments) -> str:
    """Say what came of it."""
    if not answered.is_whole:
        return "It is asked for; the assigner has not answered yet."
    to = ", ".join(f"{leads:,} to agent {code}" for code, leads in answered.agents.items())
    why = ", ".join(f"{leads:,}: {reason}" for reason, leads in answered.unassigned.items())
    parts = [f"{plural(answered.assigned, 'lead')} assigned" + (f" ({to})" if to else "")]
    return "; ".join([*parts, *([f"not assigned, {why}"] if why else [])]) + "."
