"""Routes: what they say, who stands where on them, and changes of both, by the same rules as a file's."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api import configuring, etags
from services.api.access import Caller, Operator, Viewer
from services.api.etags import IfMatch
from services.api.fields import Word
from services.api.problems import ProblemError, documented
from services.api.state import Shared, SharedState
from services.cli import config
from services.cli.configfile import Member
from services.cli.configfile import Route as RouteEntry
from services.cli.decisions.fairness import RouteFairness, fairness
from services.cli.lint import LintReport, lint_config
from services.cli.standings import Line, read_lines

router = APIRouter(prefix="/routes", tags=["routes"])

REMOVE = text("DELETE FROM route_members WHERE route_id = (SELECT id FROM routes WHERE name = :route)")


class RouteChange(BaseModel):
    """What is to be different; what is not named stays. `members`, where given, are all there are."""

    model_config = {"extra": "allow"}

    priority: int | None = None
    policy: str | None = None
    params: dict[str, Any] | None = None
    enabled: bool | None = None
    retry_pending: bool | None = None
    sheets: bool | None = None
    members: list[Member] | None = None


@router.get("", responses=documented())
async def list_routes(_: Viewer, shared: SharedState) -> list[RouteEntry]:
    """List all routes as the configuration file has them."""
    return list((await config.export_config(shared.database)).routes or ())


@router.get("/standings", responses=documented())
async def standings(_: Viewer, shared: SharedState) -> list[Line]:
    """Say who is next on every route, by which rule, and how all members stand."""
    return await read_lines(shared.database)


@router.get("/lint", responses=documented())
async def lint(_: Viewer, shared: SharedState) -> LintReport:
    """Warn of what is allowed and hardly meant."""
    return await lint_config(shared.database, None)


@router.get("/{name:path}/fairness", responses=documented(404))
async def route_fairness(name: Word, _: Viewer, shared: SharedState) -> list[RouteFairness]:
    """Hold what each member received against what it was entitled to."""
    await _read_now(shared, name)
    return await fairness(shared.database, name)


@router.get("/{name:path}", responses=documented(404))
async def get_route(name: Word, response: Response, _: Viewer, shared: SharedState) -> RouteEntry:
    """Give one route; its ETag is needed to change it."""
    found = await _read_now(shared, name)
    response.headers["ETag"] = etags.etag_of(found)
    return found


@router.patch("/{name:path}", responses=documented(404, 412, 428))
async def change_route(
    name: Word, body: RouteChange, response: Response, caller: Operator, shared: SharedState, if_match: IfMatch = None
) -> RouteEntry:
    """Change a route, or its members as a whole. If-Match is required: what it does depends on what was there."""
    return await _change(shared, caller, name, body.model_dump(exclude_unset=True), if_match, response)


async def _change(
    shared: Shared, caller: Caller, name: str, fields: dict[str, Any], if_match: str | None, response: Response
) -> RouteEntry:
    async with configuring.changing(shared.database, caller) as tx:
        before = await _read(tx, name)
        etags.hold(if_match, before, is_required=True)
        if fields.get("members") is not None:
            await tx.execute(REMOVE, {"route": name})
        await configuring.apply(tx, caller, routes=[{**fields, "name": name}])
        after = await _read(tx, name)
    response.headers["ETag"] = etags.etag_of(after)
    return after


async def _read_now(shared: Shared, name: str) -> RouteEntry:
    async with shared.database.begin() as tx:
        return await _read(tx, name)


async def _read(tx: AsyncConnection, name: str) -> RouteEntry:
    found = next((each for each in await config.routes_in(tx) if each.name == name), None)
    if found is None:
        raise ProblemError(404, f"there is no route {name!r}")
    return found
