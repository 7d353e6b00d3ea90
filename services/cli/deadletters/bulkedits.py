"""Editing many dead letters alike: each is checked as its service would, page by page, and saved or left as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from services.cli.deadletters.editing import Change, Edit, changed, save
from services.cli.deadletters.letters import COLUMNS, Letter
from services.cli.deadletters.selection import WHERE, Selection
from services.cli.failures import CommandError
from services.ingest.reference import ReferenceReader
from shared.db.session import Database

PAGE = 50
REASONS_SHOWN = 10
PAGE_OF_NEW = text(f"""
    SELECT {COLUMNS} FROM dead_letters WHERE status = 'new' AND id > :after AND {WHERE} ORDER BY id LIMIT :page
""")  # noqa: S608  # the columns of a letter, and the condition of a selection


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some were not saved."""

    reason: str
    letters: int


@dataclass(frozen=True, slots=True)
class EditedMany:
    """What became of an edit of many."""

    changed: int
    unchanged: int
    refused: int
    reasons: Sequence[Reason]


async def edit_many(
    database: Database, selection: Selection, change: Edit, *, reader: ReferenceReader, actor: str
) -> EditedMany:
    """Save what `change` makes of every selected body that is new, where its service would take it.

    Memory holds one page. A page is one transaction: interrupted, what is saved stays.
    """
    known = await reader.anew(database)
    done: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    after = 0
    while letters := await _page(database, selection, after):
        changes: list[Change] = []
        for letter in letters:
            try:
                found = changed(letter, change, known)
            except CommandError as error:
                refused[str(error)] += 1
            else:
                changes += [found] if found is not None else []
                done["unchanged"] += found is None
        done["changed"] += await _save(database, changes, actor)
        after = letters[-1].id
    reasons = [Reason(reason, count) for reason, count in refused.most_common(REASONS_SHOWN)]
    return EditedMany(done["changed"], done["unchanged"], refused.total(), reasons)


async def _page(database: Database, selection: Selection, after: int) -> list[Letter]:
    values = {**selection.values, "after": after, "page": PAGE}
    async with database.reading() as connection:
        return [Letter(*row) for row in await connection.execute(PAGE_OF_NEW, values)]


async def _save(database: Database, changes: Sequence[Change], actor: str) -> int:
    """Save a page; what somebody else has changed meanwhile is left as it is."""
    if not changes:
        return 0
    async with database.begin() as tx:
        return sum([await save(tx, each, actor) for each in changes])
