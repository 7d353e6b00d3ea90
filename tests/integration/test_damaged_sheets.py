"""A file that is not what its document says: whoever is to mail it has it made anew, and mails that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import aio_pika
import pytest

from services.documents import consumer as making
from services.documents.consumer import MakeSheets, Piece
from services.notifier import consumer as mailing
from services.notifier.posting import DamagedSheetsError
from shared.db.session import Database
from shared.events import DocumentReady, LeadAssigned, SheetDamaged
from shared.messaging import topology
from shared.messaging.envelope import Outgoing
from shared.messaging.publisher import open_publisher
from shared.sheetstore import SheetStore
from tests.driving import Driver, execute, message, rows
from tests.integration.core import consuming, drain
from tests.mailing import Office
from tests.mailserver import Server, running
from tests.sheets import add_recipients, another_lead, lay_out, lay_out_lot
from tests.waiting import eventually

SHARED = "lot-7-S1-0001"


@pytest.fixture
async def office(database: Database, store: SheetStore, documents: Driver) -> AsyncIterator[Office]:
    async with running(Server()) as server:
        office = Office(database, store, server, documents)
        yield office
        await office.close()


async def with_two_leads(database: Database) -> LeadAssigned:
    """One sheet for both."""
    assigned = await lay_out(database)
    await execute(database, "UPDATE assignments SET sheet_key = :key", key=SHARED)
    await another_lead(database, 2, SHARED)
    return assigned.model_copy(update={"sheet_key": SHARED})


async def overwritten(office: Office) -> DocumentReady:
    """A replica was frozen between rendering a sheet and writing it, and has lost its connections when it comes round.

    Meanwhile one of the leads was taken away, and another replica has made the sheet and ended all its messages.
    """
    assigned = await with_two_leads(office.database)
    async with aclosing(MakeSheets(office.store).prepare(office.database, [message(assigned)])) as pieces:
        piece = await anext(pieces)
    assert isinstance(piece, Piece)
    (early,) = piece.kept
    content = office.store.read(early.file_path, early.sha256)
    await execute(office.database, "UPDATE assignments SET is_current = false, ended_at = now() WHERE lead_id = 2")
    (ready,) = await office.make(assigned)
    assert ready.lead_ids == ("A",)
    office.store.write(early.file_path, content)
    return ready


async def made(office: Office) -> list[bytes]:
    """The sheets' files, each what its document says."""
    found = await rows(office.database, "SELECT file_path, sha256 FROM documents ORDER BY sheet_key")
    return [office.store.read(path, sha256) for path, sha256 in found]


def mailed(office: Office) -> list[bytes]:
    return [part.get_content() for _, mail in office.mails for part in mail.iter_attachments()]


async def test_a_stale_sheet_is_not_mailed_but_made_anew(office: Office) -> None:
    """Told twice, it is made once; nobody is told that it is ready, since its mail is still asked for."""
    ready = await overwritten(office)
    notifier = office.notifier()

    with pytest.raises(DamagedSheetsError, match=r"_0001\.pdf; documents is told"):
        await notifier.run(ready)
    told = notifier.take(SheetDamaged)
    assert [(each.document_id, each.sheet_key) for each in told] == [(ready.document_id, SHARED)]
    assert office.mails == []

    assert [await office.documents.run(*told) for _ in range(2)] == [[], []]
    await notifier.run(ready)

    assert mailed(office) == await made(office)


async def test_of_a_stores_sheets_those_are_told_that_are_damaged(office: Office, tmp_path: Path) -> None:
    """One file is gone, one is another's; the third is left as it is."""
    told = await lay_out_lot(office.database, S1=3)
    await add_recipients(office.database, "leads_assignment", "ann@example.com")
    events = await office.make(*told["S1"])
    before = await made(office)
    first, second, _ = sorted((tmp_path / "sheets").rglob("*.pdf"))
    first.unlink()
    second.write_bytes(b"%PDF of somebody else")
    notifier = office.notifier()

    with pytest.raises(DamagedSheetsError):
        await notifier.run(*events)
    damaged = {each.sheet_key: each for each in notifier.take(SheetDamaged)}
    assert list(damaged) == ["lot-7-S1-0001", "lot-7-S1-0002"]
    await office.documents.run(*damaged.values())
    await notifier.run(*events)

    assert mailed(office) == await made(office) == before
    assert office.arrived == [("ann", ["0001", "0002", "0003"])]


async def test_it_mends_itself(office: Office, amqp_url: str) -> None:
    """By the broker, with both services: the mail waits on the ladder's first rung for the right file."""
    ready = await overwritten(office)
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
    async with (
        consuming(office.database, amqp_url, office.documents.handler, making.SUBSCRIPTION),
        consuming(office.database, amqp_url, office.notifier().handler, mailing.SUBSCRIPTION),
        open_publisher(amqp_url, "test") as publisher,
    ):
        await publisher.publish([Outgoing("document.ready", ready.to_json().encode(), ready.sheet_key)])
        await eventually(lambda: len(office.mails) == 1, within=60)

    assert mailed(office) == await made(office)
    assert await drain(amqp_url, "dead") == []
