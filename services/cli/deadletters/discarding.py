"""Putting dead letters aside for good reason, and taking that back."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from services.cli.deadletters.selection import WHERE, Selection
from services.cli.failures import CommandError
from shared.db.session import Database

PAGE = 1_000

COUNT = text(f"SELECT status, count(*) AS letters FROM dead_letters WHERE {WHERE} GROUP BY status")  # noqa: S608
#: Changes a page of rows of one status, and records each.
CHANGE = text(f"""
    WITH chosen AS (
        SELECT id FROM dead_letters WHERE status = :before AND {WHERE}
        ORDER BY id LIMIT :page FOR NO KEY UPDATE
    ), changed AS (
        UPDATE dead_letters
        SET status = CAST(:after AS text), settled_at = CASE WHEN :after = 'discarded' THEN now() END
        FROM chosen WHERE dead_letters.id = chosen.id AND dead_letters.status = :before
        RETURNING dead_letters.id
    )
    INSERT INTO dead_letter_actions (dead_letter_id, action, actor, reason, before, after)
    SELECT id, :action, :actor, :reason, jsonb_build_object('status', CAST(:before AS text)),
           jsonb_build_object('status', CAST(:after AS text))
    FROM changed ORDER BY id
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a selection: rows whose status was changed."""

    changed: int
    action: str
    status: str


async def count(database: Database, selection: Selection) -> dict[str, int]:
    """Count the selected by status."""
    async with database.reading() as connection:
        return {row.status: row.letters for row in await connection.execute(COUNT, selection.values)}


async def discard(database: Database, selection: Selection, *, reason: str, actor: str) -> Changed:
    """Put the selected aside that are new. They are never replayed, unless `undo` brings them back."""
    if not reason.strip():
        raise CommandError("--reason is empty: say in a few words why nobody needs them any more")
    return await _change(database, selection, ("discard", "new", "discarded"), actor, reason)


async def undo(database: Database, selection: Selection, *, actor: str, is_under_way: bool = False) -> Changed:
    """Bring back what was discarded; or what is said to be under way, and was lost with its queue."""
    before = "replaying" if is_under_way else "discarded"
    return await _change(database, selection, ("undo", before, "new"), actor, None)


async def _change(
    database: Database, selection: Selection, change: tuple[str, str, str], actor: str, reason: str | None
) -> Changed:
    action, before, after = change
    values = {**selection.values, "action": action, "before": before, "after": after, "actor": actor}
    total = 0
    while True:
        async with database.begin() as tx:
            changed = (await tx.execute(CHANGE, {**values, "reason": reason, "page": PAGE})).rowcount
        total += changed
        if changed == 0:
            return Changed(total, action, after)
