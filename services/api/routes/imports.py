"""Imports: a CRM's export, uploaded, and how far it is; the rows that were rejected."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile
from pydantic import BaseModel, Field
from sqlalchemy import text

from services.api import importing, paging
from services.api.access import Operator, Viewer
from services.api.fields import Id, Word
from services.api.paging import Cursor, Limit, Page
from services.api.problems import ProblemError, documented
from services.api.routes.sheets import attachment
from services.api.state import Shared, SharedState
from services.ingest.files import ReadOptions
from shared.messaging.envelope import BIGINT_MAX
from shared.sheetstore import DamagedFileError

router = APIRouter(prefix="/imports", tags=["imports"])

CSV = "text/csv"
#: A row of a running import that has not changed for so long belongs to a process that died.
COLUMNS = """
    SELECT id, file_name, created_by, created_at, updated_at, share, rows, sent, skipped_closed, rejected, problem,
           CASE WHEN state = 'running' AND updated_at < now() - interval '5 minutes' THEN 'interrupted'
                ELSE state END AS state,
           rejected_path IS NOT NULL AS has_rejected_rows
    FROM imports
"""
LIST = text(f"{COLUMNS} WHERE id < :before ORDER BY id DESC LIMIT :limit")
ONE = text(f"{COLUMNS} WHERE id = :id")
REJECTED = text("SELECT rejected_path, rejected_sha256 FROM imports WHERE id = :id AND rejected_path IS NOT NULL")


class ImportOut(BaseModel):
    """An import: `share` of the file from 0 to 1, and what became of its rows."""

    id: int
    file_name: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    state: str = Field(description="running, done, failed, or interrupted: its process died; upload the file again.")
    share: float
    rows: int
    sent: int
    skipped_closed: int
    rejected: int
    problem: str | None
    has_rejected_rows: bool


@router.post("", status_code=202, responses=documented(413))
async def import_upload(
    file: UploadFile,
    response: Response,
    caller: Operator,
    shared: SharedState,
    source: Annotated[Word | None, Form(description="The source of rows that name none.")] = None,
    include_closed: Annotated[bool, Form(description="Leads too that their CRM calls closed.")] = False,
) -> ImportOut:
    """Begin to import CSV, TSV, XLSX, XLS or ODS. The same file twice creates nothing new."""
    name = PurePosixPath((file.filename or "").replace("\\", "/")).name.replace("\x00", "")[:200] or "upload"
    options = ReadOptions(source=source, include_closed=include_closed)
    import_id = await importing.begin(shared, file.file, name, options, caller.actor)
    response.headers["Location"] = f"/imports/{import_id}"
    return await _read(shared, import_id)


@router.get("", responses=documented())
async def list_imports(_: Viewer, shared: SharedState, limit: Limit = 100, cursor: Cursor = None) -> Page[ImportOut]:
    """List imports, the newest first."""
    values = {"before": paging.decode(cursor, BIGINT_MAX), "limit": limit + 1}
    async with shared.database.reading() as connection:
        rows = [ImportOut(**row) for row in (await connection.execute(LIST, values)).mappings()]
    page, following = paging.cut(rows, limit, lambda row: row.id)
    return Page(items=page, next=following)


@router.get("/{import_id}", responses=documented(404))
async def get_import(import_id: Id, _: Viewer, shared: SharedState) -> ImportOut:
    """Say how far an import is."""
    return await _read(shared, import_id)


@router.get(
    "/{import_id}/rejected",
    response_class=Response,
    responses={**documented(404), 200: {"description": "The rows, with line and reason.", "content": {CSV: {}}}},
)
async def rejected_rows(import_id: Id, _: Viewer, shared: SharedState) -> Response:
    """Give the rejected rows, to be corrected and imported again."""
    async with shared.database.reading() as connection:
        row = (await connection.execute(REJECTED, {"id": import_id})).one_or_none()
    if row is None:
        raise ProblemError(404, f"there is no import {import_id}, or it has rejected no row")
    try:
        content = await asyncio.to_thread(shared.store.read, row.rejected_path, row.rejected_sha256)
    except (FileNotFoundError, DamagedFileError):
        raise ProblemError(404, "the rejected rows are not there any more") from None
    return Response(content, media_type=CSV, headers=attachment(f"import-{import_id}-rejected.csv"))


async def _read(shared: Shared, import_id: int) -> ImportOut:
    async with shared.database.reading() as connection:
        row = (await connection.execute(ONE, {"id": import_id})).mappings().one_or_none()
    if row is None:
        raise ProblemError(404, f"there is no import {import_id}")
    return ImportOut(**row)
