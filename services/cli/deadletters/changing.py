"""`edit`, recorded with who did it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from secrets import token_hex
from typing import Annotated

import typer

from services.cli.deadletters import editing
from services.cli.deadletters.actions import operator
from services.cli.deadletters.options import AsJson, run
from services.cli.failures import CommandError
from services.cli.output import show
from services.ingest.reference import ReferenceReader
from shared.db.session import Database
from shared.settings import Settings


def edit(
    row_id: Annotated[int, typer.Argument(metavar="ID")],
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set one field, nested as a.b.c; repeatable."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Take the body from a file.", exists=True)] = None,
    as_json: AsJson = False,
) -> None:
    """Change the body, in $EDITOR or by --set; it is saved if its service would take it. What died is kept."""
    draft = None
    if fields and file is not None:
        raise CommandError("--set and --file do not go together")
    if fields:
        change = editing.by_fields(fields)
    elif file is not None:
        change = editing.by_content(file.read_bytes())
    else:
        draft = Path(tempfile.gettempdir()) / f"dead-letter-{row_id}-{token_hex(4)}.json"
        change = editing.in_editor(draft)

    async def work(settings: Settings, database: Database) -> editing.Edited:
        reader = ReferenceReader(settings.default_region, settings.tz)
        return await editing.edit(database, row_id, change, reader=reader, actor=operator())

    try:
        edited = run(work)
    except CommandError as error:
        if draft is None or not draft.exists():
            raise
        raise CommandError(f"{error}; what you wrote is in {draft}: mend it and use --file") from error
    if draft is not None:
        draft.unlink()
    show(edited, as_json=as_json)
