"""Operators: the agents, as mini-crm calls them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api import configuring, etags, idempotency
from services.api.access import Operator, Viewer
from services.api.etags import IfMatch
from services.api.fields import Id, Word
from services.api.idempotency import IdempotencyKey
from services.api.paging import WholePage
from services.api.problems import ProblemError, documented
from services.api.state import SharedState

router = APIRouter(prefix="/operators", tags=["operators"])

COLUMNS = """
    SELECT agents.id, agent_code AS code, agent_name AS name, email, is_active, max_load,
           coalesce(agent_counters.open_load, 0) AS current_load
    FROM agents LEFT JOIN agent_counters ON agent_counters.agent_id = agents.id
"""
LIST = text(f"{COLUMNS} WHERE agents.id > :after ORDER BY agents.id LIMIT :limit")
ONE = text(f"{COLUMNS} WHERE agents.id = :id")
OF_CODE = text(f"{COLUMNS} WHERE agent_code = :code")

MaxLoad = Annotated[
    int | None, Field(ge=0, le=1_000_000_000, description="Most requests open at once; null: no limit.")
]
Email = Annotated[str, Field(max_length=320, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")]


class OperatorIn(BaseModel):
    """A new operator."""

    name: Annotated[Word, Field(max_length=128, pattern=r"\S")]
    is_active: bool = True
    max_load: MaxLoad = None
    email: Email | None = None


class OperatorChange(BaseModel):
    """What is to be different; what is not named stays."""

    name: Annotated[Word, Field(max_length=128, pattern=r"\S")] | None = None
    is_active: bool | None = None
    max_load: MaxLoad = None
    email: Email | None = None


class OperatorOut(BaseModel):
    """An operator; `current_load` are its active requests."""

    id: int
    code: str
    name: str
    email: str | None
    is_active: bool
    max_load: int | None
    current_load: int


@router.post("", status_code=201, responses=documented(409))
async def create_operator(
    body: OperatorIn, request: Request, caller: Operator, shared: SharedState, idempotency_key: IdempotencyKey = None
) -> OperatorOut:
    """Add an operator. Each call adds one, also of a name that is there, unless an Idempotency-Key says otherwise."""
    asked = await idempotency.once(request, caller, idempotency_key)
    async with configuring.changing(shared.database, caller) as tx:
        if (known := await idempotency.remember(tx, asked)) is not None:
            return OperatorOut(**known)
        code = await configuring.free_code(tx)
        entry = {"code": code, "name": body.name, "active": body.is_active, "max_load": body.max_load}
        await configuring.apply(tx, caller, agents=[{**entry, "email": body.email}])
        made = OperatorOut(**(await tx.execute(OF_CODE, {"code": code})).mappings().one())
        await idempotency.answered(tx, asked, made.model_dump())
    return made


@router.get("", responses=documented())
async def list_operators(_: Viewer, shared: SharedState, page: WholePage) -> list[OperatorOut]:
    """List the operators; a header Link names the next page."""
    return await page.read(shared.database, LIST, OperatorOut)


@router.get("/{operator_id}", responses=documented(404))
async def get_operator(operator_id: Id, response: Response, _: Viewer, shared: SharedState) -> OperatorOut:
    """Give one operator."""
    async with shared.database.reading() as connection:
        found = await _read(connection, operator_id)
    response.headers["ETag"] = etags.etag_of(_settings(found))
    return found


@router.patch("/{operator_id}", responses=documented(404, 412))
async def update_operator(
    operator_id: Id,
    body: OperatorChange,
    response: Response,
    caller: Operator,
    shared: SharedState,
    if_match: IfMatch = None,
) -> OperatorOut:
    """Change an operator: off and on, its limit, its name. With If-Match only if nobody else has meanwhile."""
    async with configuring.changing(shared.database, caller) as tx:
        before = await _read(tx, operator_id)
        etags.hold(if_match, _settings(before))
        await configuring.apply(tx, caller, agents=[_entry(before, body)])
        after = await _read(tx, operator_id)
    response.headers["ETag"] = etags.etag_of(_settings(after))
    return after


def _settings(operator: OperatorOut) -> OperatorOut:
    """The load is nobody's setting: a version does not change with it."""
    return operator.model_copy(update={"current_load": 0})


def _entry(before: OperatorOut, change: OperatorChange) -> dict[str, Any]:
    """Give the agent's entry as a file would have it: only what is named."""
    named = {"is_active": "active", "max_load": "max_load", "email": "email"}
    given = {named[field]: getattr(change, field) for field in change.model_fields_set if field in named}
    if given.get("active", True) is None:
        raise ProblemError(422, "is_active is true or false")
    return {"code": before.code, "name": change.name or before.name, **given}


async def _read(connection: AsyncConnection, operator_id: int) -> OperatorOut:
    row = (await connection.execute(ONE, {"id": operator_id})).mappings().one_or_none()
    if row is None:
        raise ProblemError(404, f"there is no operator {operator_id}")
    return OperatorOut(**row)
