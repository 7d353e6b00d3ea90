"""Export: everything of a kind as CSV or XLSX, as the API gives it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.api.console import rendering
from services.api.console.guarding import Page, Viewing
from services.api.routes import exports as api
from services.api.state import SharedState

router = APIRouter(prefix="/console", route_class=Page)

KINDS = (
    ("leads", "Leads as they stand"),
    ("assignments", "Every assignment, those that have ended too"),
    ("unassigned", "Leads that nobody has, and why"),
    ("outcomes", "What agents wrote on their sheets"),
    ("fairness", "Received against entitled, by route and agent"),
)


@router.get("/exports")
async def exports_page(request: Request, _: Viewing) -> Response:
    """Show what can be had."""
    return await rendering.page(request, "exports.html", kinds=KINDS)


@router.get("/exports/{what}.{kind}")
async def export(what: api.What, kind: api.Kind, person: Viewing, shared: SharedState) -> Response:
    """Give the file."""
    return await api.export(what, kind, person, shared)
