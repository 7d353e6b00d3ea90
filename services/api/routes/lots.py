"""Lots: what a lot route has collected, given away together; agent-funnel's /run-now among them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import text

from services.api import paging
from services.api.access import Operator, Viewer
from services.api.fields import Id, Word
from services.api.paging import Cursor, Limit, Page
from services.api.problems import ProblemError, documented, said
from services.api.publishing import publish
from services.api.state import Shared, SharedState
from services.cli.lots import find_lot, prepare_lot
from services.cli.waiting import wait_for
from shared.messaging.envelope import BIGINT_MAX

router = APIRouter(tags=["lots"])

COLUMNS = """
    SELECT lots.id, routes.name AS route, lots.lot_key, lots.day, lots.triggered_by, lots.run_id, lots.requested_at,
           lots.assigned, lots.unassigned, cardinality(lots.sheets) AS sheets_expected,
           (SELECT count(*) FROM documents WHERE sheet_key = ANY(lots.sheets)) AS sheets_made
    FROM lots LEFT JOIN routes ON routes.id = lots.route_id
"""
LIST = text(f"""{COLUMNS}
    WHERE lots.id < :before AND (CAST(:route AS text) IS NULL OR routes.name = :route)
    ORDER BY lots.id DESC LIMIT :limit
""")
ONE = text(f"{COLUMNS} WHERE lots.id = :id")
LOT_ROUTES = text("SELECT name FROM routes WHERE mode = 'lot' AND is_enabled ORDER BY name")
EVEN_SPLIT = text("SELECT name FROM routes WHERE mode = 'lot' AND is_enabled AND policy = 'even_split' ORDER BY name")


class LotOut(BaseModel):
    """A lot that has been run; `unassigned` counts by reason."""

    id: int
    route: str | None
    lot_key: str
    day: date
    triggered_by: str
    run_id: str | None
    requested_at: datetime
    assigned: int
    unassigned: Mapping[str, int]
    sheets_expected: int
    sheets_made: int


class LotIn(BaseModel):
    """Which route's; `again`: also if one was asked for within the last minute."""

    route: Word
    run_id: Annotated[Word, Field(max_length=64)] | None = None
    again: bool = False


class LotAsked(BaseModel):
    """What was asked for, and what came of it. `is_same`: one was asked for within the same minute."""

    route: str
    lot_key: str
    is_same: bool
    lot: LotOut | None = Field(description="Null if it was not run in time; it is run as soon as somebody can.")


Wait = Annotated[float | None, Query(ge=0, le=30, description="Seconds to wait for it.")]
NOT_YET: dict[int | str, dict[str, Any]] = {
    202: {"description": "It is asked for; it was not run in time.", "model": LotAsked}
}


@router.post("/lots", responses={**documented(409), **NOT_YET})
async def run_lot(
    body: LotIn, response: Response, caller: Operator, shared: SharedState, wait: Wait = None
) -> LotAsked:
    """Give away what a lot route has collected. Asked again within a minute it is the same lot."""
    return await _run(shared, body, caller.actor, response, wait)


@router.post("/run-now", responses={**documented(409), **NOT_YET})
async def run_now(
    response: Response,
    caller: Operator,
    shared: SharedState,
    route: Annotated[Word | None, Query(description="A lot route; without it the only one, or agent-funnel's.")] = None,
    wait: Wait = None,
) -> LotAsked:
    """Run the lot now, as agent-funnel has it. Twice within a minute is one lot."""
    return await _run(shared, LotIn(route=route or await _the_route(shared)), caller.actor, response, wait)


@router.get("/lots", responses=documented())
async def list_lots(
    _: Viewer,
    shared: SharedState,
    route: Annotated[Word | None, Query()] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[LotOut]:
    """List lots, the newest first."""
    values = {"before": paging.decode(cursor, BIGINT_MAX), "limit": limit + 1, "route": route}
    async with shared.database.reading() as connection:
        rows = [LotOut(**row) for row in (await connection.execute(LIST, values)).mappings()]
    page, following = paging.cut(rows, limit, lambda row: row.id)
    return Page(items=page, next=following)


@router.get("/lots/{lot_id}", responses=documented(404))
async def get_lot(lot_id: Id, _: Viewer, shared: SharedState) -> LotOut:
    """Give one lot."""
    found = await _read(shared, lot_id)
    if found is None:
        raise ProblemError(404, f"there is no lot {lot_id}")
    return found


async def _run(shared: Shared, asked: LotIn, actor: str, response: Response, wait: float | None) -> LotAsked:
    with said(409):
        lot = await prepare_lot(
            shared.database, asked.route, run_id=asked.run_id, triggered_by=actor, is_again=asked.again
        )
    await publish(shared.publisher, lot.request)
    timeout_s = shared.settings.api_wait_s if wait is None else wait
    row = await wait_for(lambda: find_lot(shared.database, lot), timeout_s)
    response.status_code = 200 if row else 202
    return LotAsked(
        route=asked.route,
        lot_key=row["lot_key"] if row else lot.request.lot_key,
        is_same=row is not None and row["lot_key"] != lot.request.lot_key,
        lot=await _read(shared, row["id"]) if row else None,
    )


async def _the_route(shared: Shared) -> str:
    """Give the lot route that is meant where none is named: the only one, or the only one by agent-funnel's rule."""
    async with shared.database.reading() as connection:
        names = list((await connection.execute(LOT_ROUTES)).scalars())
        funnels = list((await connection.execute(EVEN_SPLIT)).scalars())
    if len(only := names if len(names) == 1 else funnels) != 1:
        known = ", ".join(names) or "none in use"
        raise ProblemError(409, f"say which by ?route=: lot routes are {known}")
    return str(only[0])


async def _read(shared: Shared, lot_id: int) -> LotOut | None:
    async with shared.database.reading() as connection:
        row = (await connection.execute(ONE, {"id": lot_id})).mappings().one_or_none()
    return None if row is None else LotOut(**row)
