"""Sheets: made, downloaded, brought back filled in; the rows that wait for a person; what agents wrote."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request, UploadFile
from starlette.responses import Response

from services.api.console import rendering
from services.api.console.guarding import Operating, Page, Viewing, done
from services.api.console.pages.fields import WordQuery, blank
from services.api.console.pages.leads import next_url
from services.api.fields import Word
from services.api.paging import Cursor
from services.api.problems import said
from services.api.routes import sheets as api
from services.api.state import SharedState
from services.cli.sheets import read_sheet

router = APIRouter(prefix="/console", route_class=Page)

PAGE = 50
REVIEWS = 100
OUTCOMES = 30

Day = Annotated[date | None, blank, Query()]


@router.get("/sheets")
async def sheets_page(
    request: Request,
    person: Viewing,
    shared: SharedState,
    agent: WordQuery = None,
    status: WordQuery = None,
    day: Day = None,
    cursor: Cursor = None,
) -> Response:
    """List sheets, the rows to be reviewed, and the newest outcomes."""
    asked = {"agent": agent, "status": status, "day": day}
    found = await api.list_sheets(person, shared, agent=agent, status=status, day=day, limit=PAGE, cursor=cursor)
    reviews = await api.list_reviews(person, shared, every=False, limit=REVIEWS)
    outcomes = await api.list_outcomes(person, shared, limit=OUTCOMES)
    return await rendering.page(
        request,
        "sheets.html",
        found=found,
        asked=asked,
        reviews=reviews,
        outcomes=outcomes,
        next_url=next_url(request, found.next),
    )


@router.post("/sheets")
async def return_sheet(file: UploadFile, person: Operating, shared: SharedState) -> Response:
    """Bring back a sheet that was filled in."""
    received = await api.return_sheet(file, person, shared)
    return await done(shared, person, f"{received.file} was taken in; what is on it is read next.", "/console/sheets")


@router.get("/sheets/{sheet:path}/pdf")
async def sheet_pdf(sheet: Word, _: Viewing, shared: SharedState) -> Response:
    """Give a sheet's file."""
    return await api.pdf_of(shared, sheet)


@router.get("/sheets/{sheet:path}")
async def sheet_page(request: Request, sheet: Word, _: Viewing, shared: SharedState) -> Response:
    """Tell a sheet's story: its rows, what came back, what waits for a person."""
    with said(404):
        told = await read_sheet(shared.database, sheet)
    return await rendering.page(request, "sheet.html", told=told)
