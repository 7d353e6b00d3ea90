"""Two write one sheet at once, each with what stood when it looked: the row says what is on disk, whoever dies."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from services.documents.consumer import MakeSheets
from services.documents.formreader import read_form
from services.documents.seals import read_manifest
from shared.db.session import Database
from shared.events import LeadAssigned
from shared.messaging.envelope import Message
from shared.sheetstore import SheetStore
from tests.driving import Driver, execute, message, rows, scalar
from tests.sheets import lay_out

LOT = "lot-1--0001"


@pytest.fixture
def store(tmp_path: Path) -> SheetStore:
    return SheetStore(tmp_path)


async def with_two_leads(database: Database) -> LeadAssigned:
    """A lot's sheet of two leads."""
    assigned = await lay_out(database)
    await execute(database, "UPDATE assignments SET sheet_key = :lot, lot_id = 1", lot=LOT)
    await execute(
        database,
        """
        WITH lead AS (
            INSERT INTO leads (id, lead_id, source_id, created_at) VALUES (2, 'B', 101, now()) RETURNING id
        )
        INSERT INTO assignments (id, lead_id, assignment_status_id, route_id, agent_id, sheet_key, page_group_code,
                                 rowid, lead_assignment_code, lead_date, lead_type, assigned_at, lot_id)
        SELECT 2, 2, 2, 1, 1, sheet_key, page_group_code, 2, 'L2601010001-0002', lead_date, 'N', now(), 1
        FROM assignments
        """,
    )
    return assigned.model_copy(update={"sheet_key": LOT, "lot_id": 1})


async def take_away_the_second(database: Database) -> None:
    await execute(database, "UPDATE assignments SET is_current = false, ended_at = now() WHERE id = 2")
    await execute(database, "INSERT INTO assignments (id, lead_id) VALUES (3, 2)")


async def written(database: Database, handler: MakeSheets, event: Message) -> Any:
    """What a replica is about to save; its file is on disk."""
    async with aclosing(handler.prepare(database, [event])) as pieces:
        return await anext(pieces)


async def save(database: Database, handler: MakeSheets, piece: Any) -> None:
    async with database.begin() as tx:
        await handler.save(tx, piece)


async def assert_the_row_says_what_is_on_disk(database: Database, store: SheetStore) -> list[str]:
    """Give the leads of the sheet."""
    ((path, sha256, size, lead_ids),) = await rows(database, "SELECT file_path, sha256, size, lead_ids FROM documents")
    content = store.read(path, sha256)  # which it refuses where they differ
    assert len(content) == size
    key = bytes(await scalar(database, "SELECT key FROM installation_keys"))
    manifest = next(found[0] for text in read_form(content)["manifests"] if (found := read_manifest(text, [key])))
    assert len(manifest.rows) == len(lead_ids)
    return list(lead_ids)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in their order", "the second first"])
async def test_what_is_on_disk_is_what_is_told(database: Database, store: SheetStore, order: tuple[int, int]) -> None:
    """One has rendered two leads; the other one lead, over the same file. Whoever saves last, the row says that."""
    event = message(await with_two_leads(database))
    replicas = MakeSheets(store), MakeSheets(store)
    early = await written(database, replicas[0], event)
    await take_away_the_second(database)
    late = await written(database, replicas[1], event)

    for number in order:
        await save(database, replicas[number], (early, late)[number])

    assert await assert_the_row_says_what_is_on_disk(database, store) == ["A"]


async def test_a_sheet_that_is_void_is_told_as_it_is(database: Database, store: SheetStore) -> None:
    """Its lead is closed: its event renders it again each time it comes, and the row says what was rendered last."""
    event = message(await with_two_leads(database))
    early = await written(database, MakeSheets(store), event)
    await take_away_the_second(database)
    await execute(database, "UPDATE assignments SET assignment_status_id = 4 WHERE id = 1")
    await save(database, MakeSheets(store), early)
    again = MakeSheets(store)

    await save(database, again, await written(database, again, event))

    assert await assert_the_row_says_what_is_on_disk(database, store) == ["A"]
    assert await scalar(database, "SELECT status FROM documents") == "void"


async def test_who_dies_after_it_has_overwritten_a_sheet_is_made_good(database: Database, store: SheetStore) -> None:
    """Its message comes again: whoever gets it finds a file that is not what the row says, and makes the sheet anew."""
    assigned = await with_two_leads(database)
    first = MakeSheets(store)
    early = await written(database, first, message(assigned))
    await take_away_the_second(database)
    await written(database, MakeSheets(store), message(assigned))  # and there it dies
    await save(database, first, early)

    came = message(assigned)
    again = replace(came, delivery=replace(came.delivery, is_redelivered=True))
    await save(database, first, await written(database, first, again))

    assert await assert_the_row_says_what_is_on_disk(database, store) == ["A"]


async def test_a_sheet_that_has_ended_is_made_good_too(database: Database, store: SheetStore) -> None:
    """All its leads are somebody else's by the time: it is as its row has it."""
    assigned = await with_two_leads(database)
    first = MakeSheets(store)
    early = await written(database, first, message(assigned))
    await take_away_the_second(database)
    await written(database, MakeSheets(store), message(assigned))  # and there it dies
    await save(database, first, early)
    await execute(database, "UPDATE assignments SET is_current = false, ended_at = now() WHERE id = 1")

    came = message(assigned)
    again = replace(came, delivery=replace(came.delivery, is_redelivered=True))
    await save(database, first, await written(database, first, again))

    assert await assert_the_row_says_what_is_on_disk(database, store) == ["A", "B"]


async def test_who_wrote_too_late_and_could_not_tell_looks_again(database: Database, store: SheetStore) -> None:
    """It was frozen before it wrote, and has lost its connections; with whatever comes next it makes the sheet anew."""
    assigned = await with_two_leads(database)
    frozen, other = MakeSheets(store), MakeSheets(store)
    async with aclosing(frozen.prepare(database, [message(assigned)])) as pieces:
        piece: Any = await anext(pieces)
        (early,) = piece.kept
        content = store.read(early.file_path, early.sha256)
        await take_away_the_second(database)
        await save(database, other, await written(database, other, message(assigned)))
        store.write(early.file_path, content)

    await Driver(database, frozen).run(message(assigned))

    assert await assert_the_row_says_what_is_on_disk(database, store) == ["A"]
    assert await anext(frozen.prepare(database, [message(assigned)]), None) is None
