"""Sheets that come back, against a real PostgreSQL: outcomes, reviews, history, and what follows for the lead."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from services.assigner.consumer import AssignLeads
from services.documents.consumer import MakeSheets
from services.documents.pdf import render
from services.documents.returning import NOT_OURS
from services.documents.sheet import field_name
from shared.db.session import Database
from shared.events import LeadClosed, LeadTaken, OutcomeRecorded, SheetReturned
from shared.messaging.processing import Effect, Rejected
from shared.sheetkeys import read_keys
from shared.sheetstore import SheetStore
from tests.driving import Driver, execute, of, rows, scalar
from tests.filling import by_pdfium, by_pypdf, by_qpdf
from tests.sheets import KEY, another_lead, give_away, lay_out
from tests.unit.test_sheet import a_row, a_sheet

WON = {"conv": "Y", "order_no": "SO-7", "order_date": "31/12/2025", "value": "₹1,250.50", "payment_mode": "UPI"}
OUTCOMES = """
    SELECT lead_assignment_id, converted_flag, order_number, order_date, order_value, payment_mode, payment_amount,
           remarks FROM lead_assignment_outcomes ORDER BY lead_assignment_id
"""
REVIEWS = "SELECT lead_assignment_code, status, reason FROM sheet_reviews ORDER BY id"
BACK = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
async def printed(database: Database, documents: Driver, store: SheetStore) -> bytes:
    """The sheet of one lead, as it was mailed."""
    await documents.run(await lay_out(database))
    ((path, digest),) = await rows(database, "SELECT file_path, sha256 FROM documents")
    return store.read(path, digest)


def filled(content: bytes, values: Mapping[str, str], code: str = KEY) -> bytes:
    """With these fields filled in."""
    return by_pypdf(content, {field_name(code, name): value for name, value in values.items()})


def back(store: SheetStore, content: bytes, at: datetime = BACK) -> SheetReturned:
    """The file in the store, and what is told of it."""
    stored = store.write(f"returned/{sha256(content).hexdigest()}.pdf", content)
    return SheetReturned(file_path=stored.path, sha256=stored.sha256, received_from="a test", occurred_at=at)


def kinds(effects: list[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


async def test_an_order_is_recorded_and_wins_the_lead(
    database: Database, documents: Driver, store: SheetStore, printed: bytes
) -> None:
    """One outcome, told once, and the lead closed as won in the name of the sheet's agent."""
    effects = await documents.run(back(store, filled(printed, WON)))

    assert await rows(database, OUTCOMES) == [
        (1, True, "SO-7", date(2025, 12, 31), Decimal("1250.50"), "UPI", None, None)
    ]
    recorded, closed = effects
    assert isinstance(recorded, OutcomeRecorded)
    assert (recorded.lead_id, recorded.lead_assignment_code, recorded.order_value) == ("A", KEY, "1250.50")
    assert isinstance(closed, LeadClosed)
    assert (closed.lead_id, closed.agent_code, closed.reason) == ("A", "0001", "won")
    assert await rows(database, "SELECT sheet_key, status, outcomes, reviews FROM returned_sheets") == [
        (KEY, "read", 1, 0)
    ]


async def test_the_place_of_a_won_lead_is_free(
    database: Database, documents: Driver, store: SheetStore, printed: bytes
) -> None:
    """The assigner takes the close like any other."""
    await execute(database, "UPDATE agent_counters SET open_load = 1")
    (closed,) = of(await documents.run(back(store, filled(printed, WON))), LeadClosed)

    await Driver(database, AssignLeads()).run(closed)

    assert await scalar(database, "SELECT open_load FROM agent_counters") == 0
    assert await rows(database, "SELECT assignment_status_id, reason FROM assignments") == [(4, "won")]


async def test_the_same_sheet_twice_changes_nothing(
    database: Database, documents: Driver, store: SheetStore, printed: bytes
) -> None:
    """Delivered again, sent again, or saved again by another tool with the same values."""
    event = back(store, filled(printed, WON))
    await documents.run(event)
    assert await documents.run(event) == []
    assert await documents.run(back(store, filled(printed, WON))) == []

    again = by_qpdf(printed, {field_name(KEY, name): value for name, value in WON.items()})
    assert await documents.run(back(store, again)) == []
    assert await scalar(database, "SELECT count(*) FROM lead_assignment_outcomes") == 1


async def test_a_later_sheet_updates_and_history_stays(
    database: Database, documents: Driver, store: SheetStore, printed: bytes
) -> None:
    """What it was before is in the audit log; one that comes late, but was sent before, changes nothing."""
    first = (await documents.run(back(store, filled(printed, {"remarks": "call on Monday"}))))[0]
    later = await documents.run(back(store, filled(printed, WON), BACK + timedelta(days=2)))
    late = await documents.run(back(store, filled(printed, {"conv": "N"}), BACK + timedelta(days=1)))

    assert kinds(later) == ["OutcomeRecorded", "LeadClosed"]
    assert late == []
    assert isinstance(first, OutcomeRecorded)
    assert of(later, OutcomeRecorded)[0].revision > first.revision
    assert [row[1:3] for row in await rows(database, OUTCOMES)] == [(True, "SO-7")]
    assert await rows(
        database,
        """
        SELECT action, old_value ->> 'remarks', new_value ->> 'order_number' FROM audit_logs
        WHERE table_name = 'lead_assignment_outcomes' ORDER BY id
        """,
    ) == [("INSERT", None, None), ("UPDATE", "call on Monday", "SO-7")]


async def test_a_row_that_was_begun_is_taken(
    database: Database, documents: Driver, store: SheetStore, printed: bytes
) -> None:
    """What an agent has written about is in progress; a blank sheet is nothing."""
    assert await documents.run(back(store, printed)) == []
    _, taken = await documents.run(back(store, filled(printed, {"remarks": "call on Monday"})))
    assert isinstance(taken, LeadTaken)
    assert (taken.lead_id, taken.agent_code) == ("A", "0001")


async def test_what_cannot_be_right_waits_for_a_person_and_the_rest_is_taken(
    database: Database, documents: Driver, store: SheetStore
) -> None:
    """A lot's sheet with a good, a bad and a blank row; a right one later resolves the review."""
    assigned = await lay_out(database)
    for number in (2, 3, 4):
        await another_lead(database, number, "lot-7-S1-0001", lot_id=7, store_code="S1")
    await documents.run(assigned.model_copy(update={"sheet_key": "lot-7-S1-0001"}))
    ((path, digest),) = await rows(database, "SELECT file_path, sha256 FROM documents")
    sheet = store.read(path, digest)
    good, bad = "L2601010001-0002", "L2601010001-0003"
    content = filled(filled(sheet, {"conv": "N"}, good), {"conv": "Y", "value": "a lot"}, bad)

    effects = await documents.run(back(store, content))

    assert kinds(effects) == ["OutcomeRecorded", "LeadTaken"]
    assert await rows(database, REVIEWS) == [(bad, "open", "Value says 'a lot', which is no amount")]
    assert await rows(database, 'SELECT "values" FROM sheet_reviews') == [({"conv": "Y", "value": "a lot"},)]
    await documents.run(back(store, filled(content, {"value": "1250"}, bad), BACK + timedelta(hours=1)))
    assert await rows(database, REVIEWS) == [(bad, "resolved", "Value says 'a lot', which is no amount")]
    assert [row[0] for row in await rows(database, OUTCOMES)] == [200, 300]


async def test_a_lead_that_was_given_to_another_is_not_closed(
    database: Database, documents: Driver, store: SheetStore, printed: bytes
) -> None:
    """Recorded for the assignment that the sheet was printed for, and for a person to see."""
    await give_away(database)
    effects = await documents.run(back(store, filled(printed, WON)))

    assert kinds(effects) == ["OutcomeRecorded"]
    assert [row[:3] for row in await rows(database, OUTCOMES)] == [(1, True, "SO-7")]
    ((code, status, reason),) = await rows(database, REVIEWS)
    assert (code, status) == (KEY, "open")
    assert "taken from agent 0001 before the sheet came back" in reason


async def test_a_sheet_of_another_installation_is_refused(
    database: Database, documents: Driver, store: SheetStore, printed: bytes
) -> None:
    """Signed with another key: a dead letter in words, and a row that says so; nothing of it is taken."""
    strange = render(a_sheet(a_row(lead_assignment_code=KEY), sheet_key=KEY), b"the key of another installation")
    (refused,) = await documents.run(back(store, filled(strange, WON)))

    assert isinstance(refused, Rejected)
    assert refused.reason == f"the returned sheet is refused: {NOT_OURS}"
    assert await rows(database, "SELECT status, reason FROM returned_sheets") == [("refused", NOT_OURS)]
    assert await rows(database, OUTCOMES) == []


async def test_a_file_that_was_refused_can_come_again(
    database: Database, documents: Driver, store: SheetStore, printed: bytes, tmp_path: Path
) -> None:
    """It was not where it should be; mended and replayed it is taken."""
    event = back(store, filled(printed, WON))
    path = tmp_path / "sheets" / event.file_path
    path.rename(tmp_path / "elsewhere")
    assert kinds(await documents.run(event)) == ["Rejected"]

    (tmp_path / "elsewhere").rename(path)
    assert kinds(await documents.run(event)) == ["OutcomeRecorded", "LeadClosed"]
    assert await rows(database, "SELECT status, reason FROM returned_sheets") == [("read", None)]


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "returned/none.pdf", "a\x01b"])
async def test_a_path_that_holds_no_returned_file_is_refused(database: Database, documents: Driver, path: str) -> None:
    """Whoever published it."""
    effects = await documents.run(SheetReturned(file_path=path, sha256="0" * 64, received_from="a stranger"))
    assert kinds(effects) == ["Rejected"]


async def test_keys_can_be_changed(database: Database, store: SheetStore, printed: bytes) -> None:
    """The first that is set signs; sheets that another has signed, or the installation itself, are still taken."""
    async with database.reading() as connection:
        own = (await read_keys(connection)).signing
        keys = await read_keys(connection, "the newest of all keys,one that was used before")
    assert keys.known == (b"the newest of all keys", b"one that was used before", own)
    replica = Driver(database, MakeSheets(store, sheet_key="the newest of all keys"))
    assert kinds(await replica.run(back(store, filled(printed, WON)))) == ["OutcomeRecorded", "LeadClosed"]


async def test_two_replicas_take_one_sheet_once(
    database: Database, store: SheetStore, documents: Driver, printed: bytes
) -> None:
    """At the same time, from Chromium's engine."""
    content = by_pdfium(printed, {field_name(KEY, name): value for name, value in WON.items() if name != "value"})
    event = back(store, content)

    effects = await asyncio.gather(*(Driver(database, MakeSheets(store)).run(event) for _ in range(3)))
    told: list[Any] = [effect for each in effects for effect in each]
    assert sorted(kinds(told)) == ["LeadClosed", "OutcomeRecorded"]
