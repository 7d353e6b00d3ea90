"""Keys: who may call this."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from services.api.access import Admin
from services.api.fields import Word
from services.api.problems import documented, said
from services.api.state import SharedState
from services.cli.keys import NAME_LENGTH, Key, NewKey, Role, create_key, list_keys, revoke_key

router = APIRouter(prefix="/keys", tags=["keys"])


class KeyIn(BaseModel):
    """A new key."""

    name: Annotated[Word, Field(max_length=NAME_LENGTH)]
    role: Role = Role.VIEWER
    days: Annotated[int, Field(ge=1, le=3_650)] | None = None


@router.post("", status_code=201, responses=documented(409))
async def make_key(body: KeyIn, caller: Admin, shared: SharedState) -> NewKey:
    """Make a key. It stands in this answer, and is not shown again."""
    with said(409):
        return await create_key(shared.database, name=body.name, role=body.role, actor=caller.actor, days=body.days)


@router.get("", responses=documented())
async def all_keys(
    _: Admin, shared: SharedState, every: Annotated[bool, Query(alias="all", description="Revoked ones, too.")] = False
) -> list[Key]:
    """List keys: whose, what they may do, when they were last used."""
    return await list_keys(shared.database, every=every)


@router.delete("/{name:path}", responses=documented(404))
async def remove_key(name: Word, _: Admin, shared: SharedState) -> list[Key]:
    """Take a key back by its name or beginning, from now on."""
    with said(404):
        return await revoke_key(shared.database, name)
