"""`edit`, recorded with who did it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from secrets import token_hex
from typing import Annotated

import typer

from services.cli.deadletters import bulkedits, editing
from services.cli.deadletters.actions import operator
from services.cli.deadletters.options import AsJson, Yes, agree, named, on_selection, run
from services.cli.deadletters.selection import Selection
from services.cli.failures import CommandError
from services.cli.output import show
from services.ingest.reference import ReferenceReader
from shared.db.session import Database
from shared.settings import Settings


@on_selection
def edit(
    selection: Selection,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Set one field, nested as a.b.c; repeatable."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Take the body from a file.", exists=True)] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Change the body, in $EDITOR or by --set; it is saved if its service would take it. What died is kept.

    With --set also of many alike: by several ids, --group, --service, --since, --until.
    """
    if fields and file is not None:
        raise CommandError("--set and --file do not go together")
    ids = named(selection, is_all=False).ids
    only = ids[0] if ids is not None and selection == Selection(ids[:1]) else None
    if only is None and not fields:
        raise CommandError("say which one by its id; many alike are edited by --set FIELD=VALUE")
    if only is None:
        _edit_many(selection, fields or [], yes=yes, as_json=as_json)
    elif fields:
        _edit_one(only, editing.by_fields(fields), None, as_json=as_json)
    else:
        _edit_as_text(only, file, as_json=as_json)


def _edit_as_text(row_id: int, file: Path | None, *, as_json: bool) -> None:
    draft = None
    if file is not None:
        change = editing.by_content(file.read_bytes())
    else:
        draft = Path(tempfile.gettempdir()) / f"dead-letter-{row_id}-{token_hex(4)}.json"
        change = editing.in_editor(draft)
    _edit_one(row_id, change, draft, as_json=as_json)


def _edit_many(selection: Selection, fields: list[str], *, yes: bool, as_json: bool) -> None:
    agree("Edit", selection, yes=yes)

    async def work(settings: Settings, database: Database) -> bulkedits.EditedMany:
        reader = ReferenceReader(settings.default_region, settings.tz)
        change = editing.by_fields(fields)
        return await bulkedits.edit_many(database, selection, change, reader=reader, actor=operator())

    edited = run(work)
    show(edited, as_json=as_json)
    if edited.refused:
        raise typer.Exit(1)


def _edit_one(row_id: int, change: editing.Edit, draft: Path | None, *, as_json: bool) -> None:
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
