"""Sources, and the weights of their operators: members of the source's weighted_random route."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api import configuring, etags, idempotency
from services.api.access import Operator, Viewer
from services.api.etags import IfMatch
from services.api.fields import Id, Line, Word
from services.api.idempotency import IdempotencyKey
from services.api.paging import WholePage
from services.api.problems import FieldProblem, ProblemError, documented
from services.api.state import SharedState
from shared.messaging.envelope import BIGINT_MAX

router = APIRouter(prefix="/sources", tags=["sources"])

COLUMNS = """
    SELECT sources.id, sources.name, sources.description, sources.is_new,
           (SELECT name FROM routes WHERE source_id = sources.id AND is_enabled AND policy = 'weighted_random'
              AND store_code IS NULL AND business_line_id IS NULL ORDER BY priority, id LIMIT 1) AS route
    FROM sources
"""
LIST = text(f"{COLUMNS} WHERE sources.id > :after ORDER BY sources.id LIMIT :limit")
ONE = text(f"{COLUMNS} WHERE sources.id = :id")
NAMED = text(f"{COLUMNS} WHERE lower(sources.name) = lower(:name)")
ROUTE_NAMES = text("SELECT name FROM routes WHERE starts_with(name, :name)")
WEIGHTS = text("""
    SELECT agents.id AS operator_id, agents.agent_name AS operator_name, route_members.weight
    FROM route_members JOIN routes ON routes.id = route_members.route_id JOIN agents ON agents.id = agent_id
    WHERE routes.name = :route AND route_members.store_code IS NULL AND route_members.is_enabled ORDER BY agents.id
""")
CODES = text("SELECT id, agent_code FROM agents WHERE id = ANY(CAST(:ids AS bigint[]))")
#: Those who are not given any more, and rows of single stores: all is replaced.
REMOVE = text("""
    DELETE FROM route_members
    WHERE route_id = (SELECT id FROM routes WHERE name = :route)
      AND (agent_id <> ALL(CAST(:ids AS bigint[])) OR store_code IS NOT NULL)
""")


class SourceIn(BaseModel):
    """A new source."""

    name: Annotated[Word, Field(max_length=100, pattern=r"\S")]
    description: Annotated[Line, Field(pattern=r"\S")] | None = None


class SourceOut(BaseModel):
    """A source; `route`: the weighted_random route of its requests, which its weights belong to."""

    id: int
    name: str
    description: str | None
    route: str | None
    is_new: bool = Field(description="Nobody has configured it: a lead came from it.")


class WeightIn(BaseModel):
    """An operator's share of a source's requests."""

    operator_id: Annotated[int, Field(ge=1, le=BIGINT_MAX)]
    weight: Annotated[int, Field(ge=0, le=1_000_000_000)]


class WeightOut(BaseModel):
    """An operator's weight, of 0: never."""

    operator_id: int
    operator_name: str
    weight: int


class Weights(BaseModel):
    """All of a source."""

    weights: list[WeightOut]


@router.post("", status_code=201, responses=documented(409))
async def create_source(
    body: SourceIn, request: Request, caller: Operator, shared: SharedState, idempotency_key: IdempotencyKey = None
) -> SourceOut:
    """Add a source, with a weighted_random route that has nobody yet; what waits there waits for a person."""
    asked = await idempotency.once(request, caller, idempotency_key)
    async with configuring.changing(shared.database, caller) as tx:
        if (known := await idempotency.remember(tx, asked)) is not None:
            return SourceOut(**known)
        there = (await tx.execute(NAMED, {"name": body.name.strip()})).mappings().one_or_none()
        if there is not None and not there["is_new"]:
            raise ProblemError(409, f"there is a source {there['name']!r}, with the id {there['id']}")
        await configuring.apply(tx, caller, **await _sections(tx, body.name.strip(), body.description))
        made = SourceOut(**(await tx.execute(NAMED, {"name": body.name.strip()})).mappings().one())
        await idempotency.answered(tx, asked, made.model_dump())
    return made


@router.get("", responses=documented())
async def list_sources(_: Viewer, shared: SharedState, page: WholePage) -> list[SourceOut]:
    """List the sources; a header Link names the next page."""
    return await page.read(shared.database, LIST, SourceOut)


@router.get("/{source_id}", responses=documented(404))
async def get_source(source_id: Id, _: Viewer, shared: SharedState) -> SourceOut:
    """Give one source."""
    async with shared.database.reading() as connection:
        return await read_source(connection, source_id)


@router.get("/{source_id}/weights", responses=documented(404))
async def get_weights(source_id: Id, response: Response, _: Viewer, shared: SharedState) -> list[WeightOut]:
    """Give the weights of a source's operators."""
    async with shared.database.reading() as connection:
        source = await read_source(connection, source_id)
        weights = await _weights(connection, source.route)
    response.headers["ETag"] = etags.etag_of(weights)
    return weights.weights


@router.put("/{source_id}/weights", name="put_weights", responses=documented(404, 409, 412))
@router.post("/{source_id}/weights", name="set_weights", responses=documented(404, 409, 412))
async def set_weights(
    source_id: Id,
    body: Annotated[list[WeightIn], Field(max_length=10_000)],
    response: Response,
    caller: Operator,
    shared: SharedState,
    if_match: IfMatch = None,
) -> list[WeightOut]:
    """Replace all weights of a source. With If-Match only if nobody else has meanwhile."""
    async with configuring.changing(shared.database, caller) as tx:
        source = await read_source(tx, source_id)
        etags.hold(if_match, await _weights(tx, source.route))
        route = source.route or await _add_route(tx, caller, source)
        members = await _members(tx, body)
        await tx.execute(REMOVE, {"route": route, "ids": [each.operator_id for each in body]})
        await configuring.apply(tx, caller, routes=[{"name": route, "members": members}])
        weights = await _weights(tx, route)
    response.headers["ETag"] = etags.etag_of(weights)
    return weights.weights


async def read_source(connection: AsyncConnection, source_id: int) -> SourceOut:
    """Give a source; problem 404 if there is none."""
    row = (await connection.execute(ONE, {"id": source_id})).mappings().one_or_none()
    if row is None:
        raise ProblemError(404, f"there is no source {source_id}")
    return SourceOut(**row)


async def _weights(connection: AsyncConnection, route: str | None) -> Weights:
    rows = (await connection.execute(WEIGHTS, {"route": route})).mappings()
    return Weights(weights=[WeightOut(**row) for row in rows])


async def _members(tx: AsyncConnection, weights: list[WeightIn]) -> list[dict[str, Any]]:
    ids = [each.operator_id for each in weights]
    codes = {row.id: row.agent_code for row in await tx.execute(CODES, {"ids": ids})}
    wrong = [
        FieldProblem(field=f"body.{index}.operator_id", problem=problem)
        for index, operator_id in enumerate(ids)
        if (problem := _wrong(operator_id, ids[:index], codes))
    ]
    if wrong:
        raise ProblemError(422, "the weights cannot be so", errors=wrong)
    return [{"agent": codes[each.operator_id], "weight": each.weight, "enabled": True} for each in weights]


def _wrong(operator_id: int, before: list[int], codes: dict[int, str]) -> str | None:
    if operator_id not in codes:
        return f"there is no operator {operator_id}"
    return "is there already: give each operator once" if operator_id in before else None


async def _sections(tx: AsyncConnection, name: str, description: str | None) -> dict[str, Any]:
    source = {"name": name} if description is None else {"name": name, "description": description.strip()}
    return {"sources": [source], "routes": [await _route(tx, name)]}


async def _add_route(tx: AsyncConnection, caller: Operator, source: SourceOut) -> str:
    route = await _route(tx, source.name)
    await configuring.apply(tx, caller, routes=[route])
    return str(route["name"])


async def _route(tx: AsyncConnection, source: str) -> dict[str, Any]:
    """Give a source's new route, under a name that no route has."""
    taken = set((await tx.execute(ROUTE_NAMES, {"name": source})).scalars())
    names = (source, *(f"{source} {number}" for number in range(2, len(taken) + 3)))
    return {
        "name": next(name for name in names if name not in taken),
        "source": source,
        "policy": "weighted_random",
        "retry_pending": False,
        "sheets": False,
        "members": [],
    }
