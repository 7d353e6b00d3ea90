"""Import: a CRM's export, dropped; how far each is, live; the rejected rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Request, UploadFile
from starlette.responses import Response

from services.api.console import rendering
from services.api.console.guarding import Operating, Page, Viewing, done
from services.api.console.pages.fields import WordField
from services.api.console.pages.now import count_parts, stream
from services.api.console.rendering import fragment, when_in
from services.api.console.state import Console
from services.api.fields import Id
from services.api.routes import imports as api
from services.api.state import Shared, SharedState

router = APIRouter(prefix="/console", route_class=Page)

SHOWN = 20
EVERY_S = 1.0


@router.get("/imports")
async def imports_page(request: Request, person: Viewing, shared: SharedState) -> Response:
    """Show where to drop a file, and the newest imports."""
    parts = await _parts(shared, request.app.state.console, person)
    return await rendering.page(request, "imports.html", parts=parts)


@router.get("/live/imports")
async def live_imports(request: Request, person: Viewing, shared: SharedState) -> Response:
    """Stream how far they are."""
    console: Console = request.app.state.console

    async def look() -> Mapping[str, str]:
        return await _parts(shared, console, person)

    return stream(console, "imports", look, EVERY_S, person.digest)


@router.post("/imports")
async def begin_import(
    file: UploadFile,
    person: Operating,
    shared: SharedState,
    source: WordField = None,
    include_closed: Annotated[bool, Form()] = False,
) -> Response:
    """Begin to import a file."""
    begun = await api.import_upload(file, Response(), person, shared, source=source, include_closed=include_closed)
    return await done(shared, person, f"{begun.file_name} is being imported.", "/console/imports")


@router.get("/imports/{import_id}/rejected")
async def rejected_rows(import_id: Id, person: Viewing, shared: SharedState) -> Response:
    """Give the rejected rows, with line and reason."""
    return await api.rejected_rows(import_id, person, shared)


async def _parts(shared: Shared, console: Console, person: Viewing) -> dict[str, str]:
    listed = await api.list_imports(person, shared, limit=SHOWN)
    when = when_in(await console.zones(), shared.settings.tz)
    table = fragment("imports_table.html", rows=listed.items, when=when)
    return {"imports": table, **count_parts(await console.counts())}
