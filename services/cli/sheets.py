"""`leadline sheets`: bring back filled-in sheets, and see what waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import text

from services.cli.failures import CommandError
from services.cli.output import show
from services.documents.reading import Refused
from services.receiver.receiving import Receiver
from shared.db.session import Database, open_database
from shared.events import SHEET_MAX_BYTES
from shared.messaging.publisher import open_publisher
from shared.settings import load_settings
from shared.sheetstore import SheetStore

app = typer.Typer(help="Sheets that agents fill in and send back.", no_args_is_help=True)

REVIEWS = text("""
    SELECT sheet_reviews.id, sheet_reviews.created_at AS at, returned_sheets.sheet_key AS sheet,
           sheet_reviews.lead_assignment_code AS row, leads.lead_id AS lead, sheet_reviews.reason,
           sheet_reviews.values AS written, sheet_reviews.status, returned_sheets.received_from
    FROM sheet_reviews JOIN returned_sheets ON returned_sheets.id = sheet_reviews.returned_sheet_id
         LEFT JOIN assignments ON assignments.id = sheet_reviews.lead_assignment_id
         LEFT JOIN leads ON leads.id = assignments.lead_id
    WHERE (sheet_reviews.status = 'open' OR :all)
      AND (CAST(:sheet AS text) IS NULL OR returned_sheets.sheet_key = :sheet)
    ORDER BY sheet_reviews.id DESC LIMIT :limit
""")
SHEET = text("""
    SELECT sheet_key AS sheet, status, doc_date, reference_id_2 AS store_or_route, reference_id_3 AS agent,
           storage_backend, file_path AS file, sha256, size, created_at
    FROM documents WHERE sheet_key = :sheet
""")
RETURNED = text("""
    SELECT id, received_at AS at, received_from, status, reason, outcomes, reviews, file_path AS file
    FROM returned_sheets WHERE sheet_key = :sheet ORDER BY id
""")
ROWS = text("""
    SELECT assignments.lead_assignment_code AS row, leads.lead_id AS lead, assignment_statuses.name AS status,
           assignments.is_current, converted_flag AS converted, order_number, order_date,
           CAST(order_value AS text) AS order_value, payment_mode, CAST(payment_amount AS text) AS payment_amount,
           remarks, lead_assignment_outcomes.updated_at AS at
    FROM assignments JOIN leads ON leads.id = assignments.lead_id
         JOIN assignment_statuses ON assignment_statuses.id = assignments.assignment_status_id
         LEFT JOIN lead_assignment_outcomes ON lead_assignment_outcomes.lead_assignment_id = assignments.id
    WHERE assignments.sheet_key = :sheet ORDER BY assignments.rowid
""")

MAILS = text("""
    SELECT profiles.code AS mail_of, notifications.status, notifications.reason, notifications.part,
           notifications.parts, notifications.sent_at, notifications.message_id,
           (SELECT string_agg(email_address || ' ' || deliveries.status, ', ' ORDER BY email_address)
            FROM notification_deliveries AS deliveries WHERE notification_id = notifications.id) AS recipients
    FROM documents JOIN notification_sheets ON notification_sheets.document_id = documents.id
         JOIN notifications ON notifications.id = notification_sheets.notification_id
         JOIN notification_profiles AS profiles ON profiles.id = notifications.profile_id
    WHERE documents.sheet_key = :sheet ORDER BY notifications.id
""")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Returned:
    """A file, and what became of it."""

    file: str
    status: str
    reason: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet, its rows with what came back, the files that came back, what waits for a person, and its mails."""

    sheet: dict[str, Any]
    rows: Sequence[dict[str, Any]]
    returned: Sequence[dict[str, Any]]
    reviews: Sequence[dict[str, Any]]
    mails: Sequence[dict[str, Any]]


@app.command("return")
def sheets_return(
    files: Annotated[list[Path], typer.Argument(help="Filled-in sheets, or folders of them.")], as_json: AsJson = False
) -> None:
    """Bring back filled-in sheets. Exit 1 if one is refused; the same file again changes nothing."""
    returned = asyncio.run(_return(list(_found(files))))
    show({"returned": [asdict(each) for each in returned]}, as_json=as_json)
    if any(each.status == "refused" for each in returned):
        raise typer.Exit(1)


@app.command("reviews")
def sheets_reviews(
    every: Annotated[bool, typer.Option("--all", help="Those that are resolved, too.")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: AsJson = False,
) -> None:
    """List the rows that wait for a person, newest first, with what was written and why it was not simply taken."""
    settings = load_settings()

    async def reviews() -> list[dict[str, Any]]:
        async with open_database(settings.database, application_name="leadline cli") as database:
            return await _rows(database, REVIEWS, all=every, sheet=None, limit=limit)

    show({"reviews": asyncio.run(reviews())}, as_json=as_json, zone=settings.tz)


@app.command("show")
def sheets_show(
    key: Annotated[str, typer.Argument(help="The sheet's key, as on the foot of its pages.")], as_json: AsJson = False
) -> None:
    """Tell one sheet's whole story."""
    settings = load_settings()

    async def story() -> Sheet:
        async with open_database(settings.database, application_name="leadline cli") as database:
            return await read_sheet(database, key)

    found = asyncio.run(story())
    plain = {
        **found.sheet,
        "rows": found.rows,
        "returned": found.returned,
        "reviews": found.reviews,
        "mails": found.mails,
    }
    show(found if as_json else plain, as_json=as_json, zone=settings.tz)


async def read_sheet(database: Database, key: str) -> Sheet:
    """Give a sheet's story. CommandError if there is no such sheet."""
    sheets = await _rows(database, SHEET, sheet=key)
    if not sheets:
        raise CommandError(f"there is no sheet {key!r}; its key stands on the foot of its pages")
    return Sheet(
        sheets[0],
        await _rows(database, ROWS, sheet=key),
        await _rows(database, RETURNED, sheet=key),
        await _rows(database, REVIEWS, all=True, sheet=key, limit=1000),
        await _rows(database, MAILS, sheet=key),
    )


async def _rows(database: Database, statement: Any, **values: object) -> list[dict[str, Any]]:
    async with database.reading() as connection:
        return [dict(row) for row in (await connection.execute(statement, values)).mappings()]


async def _return(paths: Sequence[Path]) -> list[Returned]:
    settings = load_settings()
    async with open_publisher(settings.amqp_url, "leadline-sheets") as publisher:
        receiver = Receiver(SheetStore(settings.sheets_dir), publisher)
        return [await _return_one(receiver, path) for path in paths]


async def _return_one(receiver: Receiver, path: Path) -> Returned:
    try:
        with path.open("rb") as file:
            content = file.read(SHEET_MAX_BYTES + 1)
    except OSError as error:
        return Returned(str(path), "refused", f"it cannot be opened: {error.strerror}", None)
    answer = await receiver.receive(content, f"command line: {path.name}")
    if isinstance(answer, Refused):
        return Returned(str(path), "refused", answer.reason, None)
    return Returned(str(path), "sent", None, answer.sha256)


def _found(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and of folders all PDFs in them, in order. CommandError for a folder without any."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = sorted(each for each in path.rglob("*") if each.is_file() and each.suffix.casefold() == ".pdf")
        if not inside:
            raise CommandError(f"there is no PDF in the folder {path}")
        yield from inside
