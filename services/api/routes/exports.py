"""Exports: everything of one kind as CSV or XLSX, read page by page, safe against formula injection."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Response
from sqlalchemy import TextClause, text
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, StreamingResponse

from services.api.access import Viewer
from services.api.problems import documented
from services.api.routes import leads, numbers, sheets
from services.api.routes.sheets import attachment
from services.api.state import Shared, SharedState
from services.api.tables import Workbook, csv_lines
from services.cli.decisions.fairness import fairness
from shared.messaging.envelope import BIGINT_MAX

router = APIRouter(prefix="/exports", tags=["exports"])

PAGE = 2_000
CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

ASSIGNMENTS = text("""
    SELECT assignments.id, leads.lead_id, sources.name AS source, routes.name AS route, agents.agent_code AS agent,
           agents.agent_name, lower(assignment_statuses.name) AS status, assignments.is_current, assignments.reason,
           assignments.store_code, assignments.lead_assignment_code, assignments.sheet_key, assignments.assigned_at,
           assignments.started_at, assignments.closed_at, assignments.ended_at
    FROM assignments JOIN leads ON leads.id = assignments.lead_id JOIN sources ON sources.id = leads.source_id
         JOIN assignment_statuses ON assignment_statuses.id = assignments.assignment_status_id
         LEFT JOIN routes ON routes.id = assignments.route_id LEFT JOIN agents ON agents.id = assignments.agent_id
    WHERE assignments.id < :before ORDER BY assignments.id DESC LIMIT :limit
""")

What = Literal["leads", "assignments", "outcomes", "unassigned", "fairness"]
Kind = Literal["csv", "xlsx"]


@dataclass(frozen=True, slots=True)
class Listing:
    """How a kind is read: after (or before) the id of the last row; `hidden` is not shown."""

    statement: TextClause
    columns: Sequence[str]
    id_column: str = "id"
    beginning: int = BIGINT_MAX
    place: str = "before"
    filters: Mapping[str, Any] | None = None


LISTINGS = {
    "leads": Listing(
        leads.LIST,
        tuple(leads.LeadRow.model_fields),
        filters=dict.fromkeys(("q", "pattern", "status", "source", "route", "agent")),
    ),
    "assignments": Listing(
        ASSIGNMENTS,
        [
            "lead_id",
            "source",
            "route",
            "agent",
            "agent_name",
            "status",
            "is_current",
            "reason",
            "store_code",
            "lead_assignment_code",
            "sheet_key",
            "assigned_at",
            "started_at",
            "closed_at",
            "ended_at",
        ],
    ),
    "outcomes": Listing(sheets.OUTCOMES, tuple(sheets.OutcomeOut.model_fields), filters={"agent": None}),
    "unassigned": Listing(
        numbers.WAITING,
        tuple(numbers.WaitingLead.model_fields),
        id_column="place",
        beginning=0,
        place="after",
        filters={"route": None, "reason": None},
    ),
}
FAIRNESS = [
    "route",
    "policy",
    "agent",
    "name",
    "received",
    "by_hand",
    "entitled",
    "deviation",
    "caps",
    "not_eligible",
    "capped",
    "inactive",
    "joined_later",
]


@router.get(
    "/{what}.{kind}",
    response_class=Response,
    responses={**documented(), 200: {"description": "The file.", "content": {CSV: {}, XLSX: {}}}},
)
async def export(what: What, kind: Kind, _: Viewer, shared: SharedState) -> Response:
    """Give all rows of a kind, the newest first, as a file."""
    columns = FAIRNESS if what == "fairness" else LISTINGS[what].columns
    pages = _fairness(shared) if what == "fairness" else _pages(shared, LISTINGS[what])
    first: Sequence[Mapping[str, Any]] = await anext(pages, [])  # what is wrong is told now, while it can be answered
    headers = attachment(f"leadline-{what}.{kind}")
    if kind == "csv":
        return StreamingResponse(_csv(columns, first, pages), media_type=CSV, headers=headers)
    folder = tempfile.TemporaryDirectory(prefix="leadline-export-")
    path = Path(folder.name) / "export.xlsx"
    try:
        await _write(path, columns, first, pages)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(path, media_type=XLSX, headers=headers, background=BackgroundTask(folder.cleanup))


async def _pages(shared: Shared, listing: Listing) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    last = listing.beginning
    while True:
        values = {listing.place: last, "limit": PAGE, **(listing.filters or {})}
        async with shared.database.reading() as connection:
            rows = (await connection.execute(listing.statement, values)).mappings().all()
        if not rows:
            return
        last = rows[-1][listing.id_column]
        yield [dict(row) for row in rows]


async def _fairness(shared: Shared) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    for route in await fairness(shared.database, None):
        yield [{"route": route.route, "policy": route.policy, **asdict(member)} for member in route.members]


async def _csv(
    columns: Sequence[str], first: Sequence[Mapping[str, Any]], pages: AsyncIterator[Sequence[Mapping[str, Any]]]
) -> AsyncIterator[str]:
    yield csv_lines(columns, first, has_header=True)
    async for page in pages:
        yield csv_lines(columns, page, has_header=False)


async def _write(
    path: Path,
    columns: Sequence[str],
    first: Sequence[Mapping[str, Any]],
    pages: AsyncIterator[Sequence[Mapping[str, Any]]],
) -> None:
    book = Workbook(path, columns)
    await asyncio.to_thread(book.add, first)
    async for page in pages:
        await asyncio.to_thread(book.add, page)
    await asyncio.to_thread(book.close)
