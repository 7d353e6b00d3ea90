"""What a replay would do now, asked of a real PostgreSQL: the true answer, and nothing left of the question."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.cli.deadletters.preview import SERVER_SETTINGS, preview, trials
from services.cli.deadletters.selection import Selection
from services.cli.deadletters.verdicts import GroupPreview
from services.deadletters import consumer as deadletters
from services.documents.consumer import MakeSheets
from services.ingest.consumer import StoreLeads
from services.ingest.reference import ReferenceReader
from shared.db.session import Database, open_database
from shared.events import (
    AssignmentRequested,
    DocumentReady,
    Event,
    LeadAccepted,
    LeadClosed,
    LeadCreated,
    LeadTaken,
    LeadUnassigned,
    LeadUpdated,
    LotRequested,
    SheetDamaged,
)
from shared.messaging.envelope import Delivery
from shared.settings import Settings
from shared.sheetstore import SheetStore
from tests import sheets
from tests.driving import Driver, execute, of, rows, scalar

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEFT = ("leads", "assignments", "assignment_records", "documents", "notifications", "outbox", "audit_logs", "sources")
THROUGH, FAILS, DONE, BUSY = "would go through", "would fail again", "has no effect any more", "could not be told"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sheets_dir=tmp_path / "sheets", env="prod")


async def bury(database: Database, queue: str, *events: Event) -> None:
    """Dead letters of a queue, in this order, all in one group."""
    handler = deadletters.StoreDeadLetters()
    for event in events:
        body = event.to_json().encode()
        delivery = Delivery(1, "leads.dead", queue, body, {"x-error-reason": "a bug"}, type=event.type)
        async for piece in handler.prepare(database, [deadletters.read(delivery)]):
            async with database.begin() as tx:
                await handler.save(tx, piece)


async def answers(database_url: str, settings: Settings) -> list[GroupPreview]:
    """What the preview says, on connections of its own; it leaves every table as it was."""
    async with (
        open_database(database_url) as looking,
        open_database(database_url, server_settings=SERVER_SETTINGS) as database,
    ):
        before = [await scalar(looking, f"SELECT count(*) FROM {table}") for table in LEFT]
        found = await preview(database, Selection(), trials(settings))
        assert [await scalar(looking, f"SELECT count(*) FROM {table}") for table in LEFT] == before
        assert await rows(looking, "SELECT DISTINCT status FROM dead_letters") == [("new",)]
    return list(found.groups)


def is_there(folder: Path) -> bool:
    return folder.exists()


def damage(folder: Path) -> None:
    """Leave no sheet as it was."""
    for file in folder.rglob("*.pdf"):
        file.write_bytes(b"damaged")


async def outcomes(database_url: str, settings: Settings) -> dict[str, list[tuple[str, int]]]:
    """Reasons with their numbers, by outcome."""
    told: dict[str, list[tuple[str, int]]] = {}
    for group in await answers(database_url, settings):
        for reason in group.reasons:
            told.setdefault(reason.outcome, []).append((reason.reason, reason.messages))
    return told


def a_lead(lead_id: str, **fields: Any) -> LeadCreated:
    return LeadCreated(lead_id=lead_id, source="META", **fields)


async def test_ingest_would_store_refuse_or_find_it_done(
    database: Database, database_url: str, settings: Settings
) -> None:
    """A new lead, one that is stored, one with an unknown line, an update with and one without its lead."""
    reader = ReferenceReader(settings.default_region, settings.tz)
    stored = a_lead("stored", customer_name="Ann")
    await Driver(database, StoreLeads(reader)).run(stored)
    await bury(
        database,
        "ingest",
        a_lead("new"),
        LeadUpdated(lead_id="new", customer_name="Bo", occurred_at=NOW),
        stored.model_copy(update={"event_id": "2"}),
        a_lead("other", business_line="Boats"),
        LeadUpdated(lead_id="stored", customer_name="Bo", occurred_at=datetime.now(UTC)),
        LeadUpdated(lead_id="nobody", customer_name="Bo", occurred_at=NOW),
    )
    told = await outcomes(database_url, settings)
    assert sum(count for _, count in told[THROUGH]) == 2
    assert [count for _, count in told[DONE]] == [1]
    assert {reason.split(":")[0] for reason, _ in told[FAILS]} == {
        "business_line",
        "the lead 'new' is not known yet",
    }
    assert BUSY not in told


async def test_assigner_would_assign_change_or_find_it_done(
    database: Database, database_url: str, settings: Settings
) -> None:
    await sheets.lay_out(database)
    await execute(database, "INSERT INTO route_members (route_id, agent_id) VALUES (1, 1)")
    await execute(database, "UPDATE agent_counters SET open_load = 1")
    await execute(database, "INSERT INTO leads (id, lead_id, source_id, created_at) VALUES (2, 'B', 101, now())")
    await execute(database, "INSERT INTO assignments (id, lead_id) VALUES (2, 2)")
    await bury(
        database,
        "assigner",
        LeadAccepted(lead_id="A", revision=1),
        LeadAccepted(lead_id="B", revision=1),
        LeadTaken(lead_id="A", agent_code="0001"),
        LeadClosed(lead_id="A"),
        LeadAccepted(lead_id="nobody", revision=1),
        AssignmentRequested(route="all"),
    )
    told = await outcomes(database_url, settings)
    assert sorted(told[THROUGH]) == [
        ("the lead would be assigned", 1),
        ("the lead would be closed: lost", 1),
        ("the lead would be in progress", 1),
        ("the leads that wait would be looked at", 1),
    ]
    assert told[DONE] == [("the lead stands as the message would have it", 1)]
    assert [reason.split(":")[0] for reason, _ in told[FAILS]] == ["the lead 'nobody' is not known yet"]


async def test_what_others_hold_could_not_be_told_and_holds_nobody_up(
    database: Database, database_url: str, settings: Settings
) -> None:
    """The page is tried again, and gives way; let go, it is told."""
    await sheets.lay_out(database, status=1)
    await execute(database, "INSERT INTO route_members (route_id, agent_id) VALUES (1, 1)")
    await execute(database, "UPDATE assignments SET agent_id = NULL, sheet_key = NULL")
    await bury(database, "assigner", LeadAccepted(lead_id="A", revision=1))
    async with database.begin() as tx:
        await tx.exec_driver_sql("SELECT 1 FROM routes FOR NO KEY UPDATE")
        assert list(await outcomes(database_url, settings)) == [BUSY]
    assert list(await outcomes(database_url, settings)) == [THROUGH]


async def test_a_handler_that_still_fails_is_told_message_by_message(
    database: Database, database_url: str, settings: Settings
) -> None:
    """A table is broken for one of three: the others would go through."""
    await execute(database, "ALTER TABLE leads ADD CONSTRAINT odd CHECK (customer_name <> 'Odd')")
    await bury(database, "ingest", a_lead("1"), a_lead("2", customer_name="Odd"), a_lead("3"))
    told = await outcomes(database_url, settings)
    assert told[THROUGH] == [("the lead would be stored", 2)]
    assert told[FAILS] == [("CheckViolationError, SQLSTATE 23514", 1)]


async def test_a_lot_is_asked_for_and_not_run(database: Database, database_url: str, settings: Settings) -> None:
    await execute(database, "INSERT INTO routes (id, name, policy, mode) VALUES (1, 'lots', 'even_split', 'lot')")
    await execute(database, "INSERT INTO routes (id, name, policy) VALUES (2, 'stream', 'fair')")
    await execute(
        database,
        "INSERT INTO lots (route_id, lot_key, day, triggered_by, requested_at)"
        " VALUES (1, 'old', '2026-01-01', 'a test', now())",
    )
    asked = [("lots", "old"), ("lots", "new"), ("stream", "x"), ("gone", "x")]
    await bury(
        database, "assigner.lots", *(LotRequested(route=route, lot_key=key, occurred_at=NOW) for route, key in asked)
    )
    told = await outcomes(database_url, settings)
    assert (told[THROUGH], told[DONE]) == ([("the lot would be run", 1)], [("the lot has been run", 1)])
    assert sum(count for _, count in told[FAILS]) == 2


async def test_documents_and_notifier_are_asked_and_write_nothing(
    database: Database, database_url: str, settings: Settings
) -> None:
    """A sheet to be made, then made; a mail to be sent, then one whose sheet is damaged; no file, no mail, no claim."""
    assigned = await sheets.lay_out(database)
    gone = LeadUnassigned(lead_id="A", revision=1, reason="x", previous_sheet_key=sheets.KEY)
    await bury(database, "documents", assigned, gone)
    assert await outcomes(database_url, settings) == {
        THROUGH: [("the sheet would be made", 1)],
        DONE: [("the sheet is made, or nobody is to get it any more", 1)],
    }
    folder = Path(settings.sheets_dir)
    assert not is_there(folder)

    (ready,) = of(await Driver(database, MakeSheets(SheetStore(settings.sheets_dir))).run(assigned), DocumentReady)
    await execute(database, "DELETE FROM dead_letters")
    told_of = SheetDamaged(document_id=ready.document_id, sheet_key=sheets.KEY)
    await bury(database, "documents", assigned, told_of)
    await bury(database, "notifier", ready, ready.model_copy(update={"document_id": 99, "event_id": "2"}))
    assert await outcomes(database_url, settings) == {
        DONE: [
            ("the sheet is made, or nobody is to get it any more", 1),
            ("the sheet's file is what it must be, or nobody is to get it any more", 1),
        ],
        THROUGH: [("the mail would be sent", 1)],
        FAILS: [("the document does not exist", 1)],
    }
    damage(folder)
    told = await outcomes(database_url, settings)
    assert any(reason.startswith("the sheet cannot be read") for reason, _ in told[FAILS])
    assert told[THROUGH] == [("the sheet would be made anew", 1)]


async def test_a_body_that_holds_no_event_says_what_is_wrong(
    database: Database, database_url: str, settings: Settings
) -> None:
    """Also of a queue that nobody takes from, and of an event that is another queue's."""
    await bury(database, "ingest", a_lead("1"), LeadTaken(lead_id="1"))
    await bury(database, "gone", a_lead("2"))
    await execute(database, "UPDATE dead_letters SET body = '[1]' WHERE lead_id = '1' AND event_type = 'lead.created'")
    told = await outcomes(database_url, settings)
    assert list(told) == [FAILS]
    assert len(told[FAILS]) == 3
