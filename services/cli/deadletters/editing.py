"""Editing a dead letter's body: checked as its service would before it is saved; what died is kept beside it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic_core import from_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.cli.deadletters.checking import opened, wrong_with
from services.cli.deadletters.fields import with_fields
from services.cli.deadletters.letters import COLUMNS, Letter
from services.cli.deadletters.listing import as_text, no_such
from services.cli.failures import CommandError
from services.ingest.reference import Known, ReferenceReader
from shared.db.session import Database

READ = text(f"SELECT {COLUMNS}, status FROM dead_letters WHERE id = :id")  # noqa: S608  # the columns of a letter
#: Only if nobody else has edited it meanwhile, and nobody replays it.
SAVE = text("""
    WITH edited AS (
        UPDATE dead_letters SET body = :after, original_body = coalesce(original_body, :before), lead_id = :lead_id
        WHERE id = :id AND status = 'new' AND body = :before
        RETURNING id
    )
    INSERT INTO dead_letter_actions (dead_letter_id, action, actor, before, after)
    SELECT id, 'edit', :actor, jsonb_build_object('body', CAST(:before_text AS text)),
           jsonb_build_object('body', CAST(:after_text AS text))
    FROM edited
""")

Edit = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Change:
    """A body to be saved in the place of another."""

    id: int
    before: bytes
    after: bytes
    lead_id: str | None


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of an edit."""

    id: int
    is_changed: bool
    body: str


async def edit(database: Database, row_id: int, change: Edit, *, reader: ReferenceReader, actor: str) -> Edited:
    """Save what `change` makes of the body, if its service would take it.

    Raises:
        CommandError: there is no such dead letter, it is not open, or the new body would be refused, and why.
    """
    letter = await _open_letter(database, row_id)
    made = changed(letter, change, await reader.anew(database))
    if made is None:
        return Edited(row_id, is_changed=False, body=as_text(bytes(letter.body)))
    async with database.begin() as tx:
        if not await save(tx, made, actor):
            raise CommandError(f"not saved: dead letter {row_id} was changed by somebody else meanwhile; edit it again")
    return Edited(row_id, is_changed=True, body=as_text(made.after))


def changed(letter: Letter, change: Edit, known: Known) -> Change | None:
    """Give what is to be saved; None if the body stays as it is. CommandError if its service would refuse it."""
    before = bytes(letter.body)
    after = change(before)
    if after == before:
        return None
    message = opened(replace(letter, body=after).delivery(), letter.queue)
    if isinstance(message, str):
        raise CommandError(f"not saved: {message}")
    if wrong := wrong_with(message, known):
        raise CommandError(f"not saved: {wrong}")
    return Change(letter.id, before, after, getattr(message.event, "lead_id", letter.lead_id))


async def _open_letter(database: Database, row_id: int) -> Letter:
    async with database.reading() as connection:
        row = (await connection.execute(READ, {"id": row_id})).one_or_none()
    if row is None:
        raise no_such(row_id)
    *columns, status = row
    if status != "new":
        raise CommandError(f"dead letter {row_id} is {status}: only a new one can be edited")
    return Letter(*columns)


async def save(tx: AsyncConnection, change: Change, actor: str) -> bool:
    """Save and record a change; False if the letter is not as it was any more, or no longer new."""
    values = {
        "id": change.id,
        "before": change.before,
        "after": change.after,
        "before_text": as_text(change.before),
        "after_text": as_text(change.after),
        "lead_id": change.lead_id,
        "actor": actor,
    }
    return bool((await tx.execute(SAVE, values)).rowcount)


# How a body is changed.


def by_fields(assignments: Sequence[str]) -> Edit:
    """Set fields of a JSON object."""

    def change(body: bytes) -> bytes:
        try:
            content = from_json(body)
        except ValueError as error:
            raise CommandError(f"the body is no JSON ({error}): edit it as text, without --set") from None
        return _json(with_fields(content, assignments))

    return change


def by_content(content: bytes) -> Edit:
    """Take what somebody has written as the body; JSON goes on one line."""
    return lambda _: _compact(content)


def in_editor(draft: Path) -> Edit:
    """Open the body in $VISUAL or $EDITOR as the new file `draft`, JSON laid out to be read.

    The file stays: what was written is not lost when it is refused. A body that was left as it was is not changed.
    """

    def change(body: bytes) -> bytes:
        shown = _laid_out(body)
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_bytes(shown)
        _run_editor(draft)
        written = draft.read_bytes()
        return body if written == shown else _compact(written)

    return change


def _run_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise CommandError(f"the editor {editor!r} failed ({error}); set EDITOR, or use --set FIELD=VALUE") from None


def _laid_out(body: bytes) -> bytes:
    try:
        return json.dumps(from_json(body), indent=2, ensure_ascii=False).encode() + b"\n"
    except ValueError:
        return body


def _compact(written: bytes) -> bytes:
    """JSON on one line; what is none stays as it was written, to be refused with its place."""
    try:
        return _json(from_json(written))
    except ValueError:
        return written


def _json(content: object) -> bytes:
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise CommandError(f"not saved: {error}") from None
