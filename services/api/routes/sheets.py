"""Sheets: listed, told, downloaded; filled in and uploaded; the rows that wait for a person; and what agents wrote."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response, UploadFile
from pydantic import BaseModel
from sqlalchemy import text

from services.api import paging
from services.api.access import Operator, Viewer
from services.api.fields import Word
from services.api.paging import Cursor, Limit, Page
from services.api.problems import ProblemError, documented, said
from services.api.state import Shared, SharedState
from services.cli.sheets import Sheet, read_sheet
from services.documents.reading import Refused
from services.receiver.receiving import Receiver
from shared.events import SHEET_MAX_BYTES
from shared.messaging.envelope import BIGINT_MAX
from shared.sheetkeys import read_keys
from shared.sheetlinks import LinkState, verify_link
from shared.sheetstore import DamagedFileError

router = APIRouter(tags=["sheets"])

PDF = "application/pdf"

LIST = text("""
    SELECT documents.id, sheet_key AS sheet, documents.status, doc_date, agents.agent_code AS agent,
           routes.name AS route, lot_id, file_path AS file, size, cardinality(lead_ids) AS leads, documents.created_at
    FROM documents JOIN agents ON agents.id = documents.agent_id LEFT JOIN routes ON routes.id = documents.route_id
    WHERE documents.id < :before
      AND (CAST(:agent AS text) IS NULL OR agents.agent_code = :agent)
      AND (CAST(:status AS text) IS NULL OR documents.status = :status)
      AND (CAST(:day AS date) IS NULL OR doc_date = :day)
    ORDER BY documents.id DESC LIMIT :limit
""")
FILE = text("SELECT file_path, sha256 FROM documents WHERE sheet_key = :sheet AND file_path IS NOT NULL")
IS_CURRENT = text("SELECT EXISTS (SELECT 1 FROM documents WHERE sheet_key = :sheet AND status = 'ok')")
REVIEWS = text("""
    SELECT sheet_reviews.id, sheet_reviews.created_at, returned_sheets.sheet_key AS sheet,
           sheet_reviews.lead_assignment_code AS row, leads.lead_id, sheet_reviews.reason,
           sheet_reviews.values AS written, sheet_reviews.status, returned_sheets.received_from
    FROM sheet_reviews JOIN returned_sheets ON returned_sheets.id = sheet_reviews.returned_sheet_id
         LEFT JOIN assignments ON assignments.id = sheet_reviews.lead_assignment_id
         LEFT JOIN leads ON leads.id = assignments.lead_id
    WHERE sheet_reviews.id < :before AND (:all OR sheet_reviews.status = 'open')
    ORDER BY sheet_reviews.id DESC LIMIT :limit
""")
OUTCOMES = text("""
    SELECT lead_assignment_outcomes.id, leads.lead_id, lead_assignment_code, agents.agent_code AS agent,
           converted_flag AS is_converted, order_number, order_date, order_value, payment_mode, payment_amount, remarks,
           returned_at
    FROM lead_assignment_outcomes JOIN assignments ON assignments.id = lead_assignment_id
         JOIN leads ON leads.id = assignments.lead_id LEFT JOIN agents ON agents.id = assignments.agent_id
    WHERE lead_assignment_outcomes.id < :before AND (CAST(:agent AS text) IS NULL OR agents.agent_code = :agent)
    ORDER BY lead_assignment_outcomes.id DESC LIMIT :limit
""")


class SheetRow(BaseModel):
    """A sheet that was made."""

    sheet: str
    status: str
    doc_date: date
    agent: str
    route: str | None
    lot_id: int | None
    file: str | None
    size: int | None
    leads: int
    created_at: datetime


class ReviewOut(BaseModel):
    """A row of a returned sheet that a person must look at, and why."""

    id: int
    created_at: datetime
    sheet: str | None
    row: str
    lead_id: str | None
    reason: str
    written: dict[str, object]
    status: str
    received_from: str


class OutcomeOut(BaseModel):
    """What an agent wrote about a lead."""

    lead_id: str
    lead_assignment_code: str | None
    agent: str | None
    is_converted: bool | None
    order_number: str | None
    order_date: date | None
    order_value: Decimal | None
    payment_mode: str | None
    payment_amount: Decimal | None
    remarks: str | None
    returned_at: datetime


class ReturnedSheet(BaseModel):
    """A filled-in sheet that was taken in; what is on it is read next. `sha256` tells it again."""

    file: str
    sha256: str


@router.get("/sheets", responses=documented())
async def list_sheets(
    _: Viewer,
    shared: SharedState,
    agent: Annotated[Word | None, Query(description="An agent's code.")] = None,
    status: Annotated[Word | None, Query()] = None,
    day: date | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[SheetRow]:
    """List sheets, the newest first."""
    values = {"before": paging.decode(cursor, BIGINT_MAX), "limit": limit + 1}
    async with shared.database.reading() as connection:
        rows = (
            (await connection.execute(LIST, {**values, "agent": agent, "status": status, "day": day})).mappings().all()
        )
    page, following = paging.cut(rows, limit, lambda row: int(row["id"]))
    return Page(items=[SheetRow(**row) for row in page], next=following)


@router.post("/sheets/returned", status_code=202, responses=documented(413))
async def return_sheet(file: UploadFile, caller: Operator, shared: SharedState) -> ReturnedSheet:
    """Bring back a filled-in sheet. The same file again changes nothing; what is none of ours is refused: 422."""
    content = await file.read(SHEET_MAX_BYTES + 1)
    name = PurePosixPath((file.filename or "").replace("\\", "/")).name or "sheet.pdf"
    receiver = Receiver(shared.store, shared.publisher)
    received = await receiver.receive(content, f"{caller.actor}: {name}"[:200])
    if isinstance(received, Refused):
        raise ProblemError(422, received.reason)
    return ReturnedSheet(file=name, sha256=received.sha256)


@router.get(
    "/sheets/{sheet:path}/pdf",
    response_class=Response,
    responses={**documented(404), 200: {"description": "The sheet.", "content": {PDF: {}}}},
)
async def download_sheet(sheet: Word, _: Viewer, shared: SharedState) -> Response:
    """Give a sheet as it was made."""
    return await pdf_of(shared, sheet)


@router.get(
    "/files/{sheet:path}",
    response_class=Response,
    responses={**documented(404, 410), 200: {"description": "The sheet.", "content": {PDF: {}}}},
)
async def open_link(sheet: Word, shared: SharedState, expires: Word = "", signature: Word = "") -> Response:
    """Give a sheet to who has its signed link, as a mail has that could not carry the sheet itself."""
    async with shared.database.reading() as connection:
        keys = await read_keys(connection, shared.settings.sheet_key)
        is_current = (await connection.execute(IS_CURRENT, {"sheet": sheet})).scalar_one()
    match verify_link(sheet, expires, signature, keys.known, datetime.now(UTC)):
        case LinkState.FORGED:
            raise ProblemError(404, "there is nothing at this address")
        case LinkState.EXPIRED:
            raise ProblemError(410, "this link has expired; ask for the sheet to be sent again")
        case LinkState.GOOD if not is_current:
            raise ProblemError(410, "this sheet stands no more: its leads were given to others")
        case LinkState.GOOD:
            return await pdf_of(shared, sheet)


@router.get("/sheets/{sheet:path}", responses=documented(404))
async def get_sheet(sheet: Word, _: Viewer, shared: SharedState) -> Sheet:
    """Tell a sheet's whole story: its rows, what came back about them, what waits for a person."""
    with said(404):
        return await read_sheet(shared.database, sheet)


@router.get("/reviews", responses=documented())
async def list_reviews(
    _: Viewer,
    shared: SharedState,
    every: Annotated[bool, Query(alias="all", description="Those that are resolved, too.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ReviewOut]:
    """List the rows of returned sheets that wait for a person, the newest first."""
    values = {"before": paging.decode(cursor, BIGINT_MAX), "limit": limit + 1, "all": every}
    async with shared.database.reading() as connection:
        rows = [ReviewOut(**row) for row in (await connection.execute(REVIEWS, values)).mappings()]
    page, following = paging.cut(rows, limit, lambda row: row.id)
    return Page(items=page, next=following)


@router.get("/outcomes", responses=documented())
async def list_outcomes(
    _: Viewer,
    shared: SharedState,
    agent: Annotated[Word | None, Query(description="An agent's code.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[OutcomeOut]:
    """List what agents wrote about leads, the newest first."""
    values = {"before": paging.decode(cursor, BIGINT_MAX), "limit": limit + 1, "agent": agent}
    async with shared.database.reading() as connection:
        rows = (await connection.execute(OUTCOMES, values)).mappings().all()
    page, following = paging.cut(rows, limit, lambda row: int(row["id"]))
    return Page(items=[OutcomeOut(**row) for row in page], next=following)


async def pdf_of(shared: Shared, sheet: str) -> Response:
    """Give a sheet's file, found by its row: no path of a caller's ever reaches the store. 404 if there is none."""
    async with shared.database.reading() as connection:
        row = (await connection.execute(FILE, {"sheet": sheet})).one_or_none()
    if row is None:
        raise ProblemError(404, f"there is no sheet {sheet!r}")
    try:
        content = await asyncio.to_thread(shared.store.read, row.file_path, row.sha256)
    except (FileNotFoundError, DamagedFileError):
        raise ProblemError(404, f"the file of sheet {sheet!r} is not there any more, or not as it was made") from None
    return Response(content, media_type=PDF, headers=attachment(PurePosixPath(row.file_path).name))


def attachment(name: str) -> dict[str, str]:
    """Give the headers of a file that is to be kept, not shown as a page of ours."""
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
