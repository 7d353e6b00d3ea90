"""Keys: who may come in, and what they may do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from services.api.console import rendering
from services.api.console.guarding import Administering, Page, done
from services.api.fields import Word
from services.api.problems import said
from services.api.state import SharedState
from services.cli.keys import NAME_LENGTH, Role, create_key, list_keys, revoke_key

router = APIRouter(prefix="/console", route_class=Page)


@router.get("/keys")
async def keys_page(request: Request, _: Administering, shared: SharedState) -> Response:
    """List the keys."""
    return await rendering.page(request, "keys.html", keys=await list_keys(shared.database), roles=list(Role), new=None)


@router.post("/keys")
async def make_key(
    request: Request,
    person: Administering,
    shared: SharedState,
    name: Annotated[Word, Form(max_length=NAME_LENGTH)],
    role: Annotated[Role, Form()] = Role.VIEWER,
) -> Response:
    """Make a key. It stands on this page, once."""
    with said(409):
        new = await create_key(shared.database, name=name, role=role, actor=person.actor)
    keys = await list_keys(shared.database)
    return await rendering.page(request, "keys.html", keys=keys, roles=list(Role), new=new)


@router.post("/keys/revoked")
async def revoke(person: Administering, shared: SharedState, hint: Annotated[Word, Form()]) -> Response:
    """Take a key back; the sessions that began with it end."""
    with said(409):
        (revoked, *_) = await revoke_key(shared.database, hint)
    return await done(shared, person, f"The key of {revoked.name} is revoked.", "/console/keys")
