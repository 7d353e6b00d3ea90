"""What comes back by folder and by mail, against a real broker and IMAP server: stored and told of, or refused."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest

from services.receiver.dropfolder import DropFolder
from services.receiver.mailbox import Account, Mailbox
from services.receiver.receiving import Receiver
from services.receiver.watching import watch
from shared.events import SheetReturned
from shared.messaging import topology
from shared.messaging.publisher import PublishError, open_publisher
from shared.outage import DependencyGoneError
from shared.sheetstore import SheetStore
from tests.filling import by_pypdf
from tests.imapserver import ImapServer, running_imap
from tests.integration.test_form_reading import CONTENT, VALUES
from tests.waiting import eventually

FILLED = by_pypdf(CONTENT, VALUES)


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
        yield channel


@pytest.fixture
async def receiver(amqp_url: str, channel: aio_pika.abc.AbstractChannel, store: SheetStore) -> AsyncIterator[Receiver]:
    async with open_publisher(amqp_url, "receiver") as publisher:
        yield Receiver(store, publisher)


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    return tmp_path / "drop"


async def told(channel: aio_pika.abc.AbstractChannel) -> list[SheetReturned]:
    """What waits in the documents service's queue."""
    queue = await channel.get_queue("documents")
    events = []
    while (message := await queue.get(fail=False)) is not None:
        await message.ack()
        events.append(SheetReturned(**json.loads(message.body)))
    return events


def put(folder: Path, name: str, content: bytes, age_s: float = 60) -> Path:
    """A file that was written some time ago."""
    path = folder / name
    path.write_bytes(content)
    written = time.time() - age_s
    os.utime(path, (written, written))
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_dropped_sheet_is_stored_told_of_and_moved(
    channel: aio_pika.abc.AbstractChannel, receiver: Receiver, store: SheetStore, drop: Path
) -> None:
    """Two of one name stay two files."""
    folder = DropFolder(drop, receiver)
    put(drop, "sheet.pdf", FILLED)
    assert await folder.look() == 1
    put(drop, "sheet.pdf", FILLED)
    assert await folder.look() == 1

    first, second = await told(channel)
    assert store.read(first.file_path, first.sha256) == FILLED
    assert first.file_path == f"returned/{first.sha256[:2]}/{first.sha256}.pdf" == second.file_path
    assert first.received_from == "drop folder: sheet.pdf"
    assert names(drop / "done") == {f"sheet-{first.sha256[:8]}.pdf", "sheet.pdf"}
    assert names(drop) == {"done", "refused"}


async def test_what_is_no_sheet_is_put_aside_with_the_reason(
    channel: aio_pika.abc.AbstractChannel, receiver: Receiver, drop: Path
) -> None:
    """The one beside it is taken."""
    folder = DropFolder(drop, receiver)
    put(drop, "a.xlsx", b"PK\x03\x04")
    put(drop, "b.pdf", FILLED)
    assert await folder.look() == 1
    assert (drop / "refused/a.xlsx").read_bytes() == b"PK\x03\x04"
    assert (drop / "refused/a.xlsx.txt").read_text() == "a.xlsx was not taken: it is no PDF\n"
    assert len(await told(channel)) == 1


async def test_what_is_still_being_written_is_left(receiver: Receiver, drop: Path, tmp_path: Path) -> None:
    """So are hidden files, folders and links to elsewhere."""
    folder = DropFolder(drop, receiver)
    put(drop, "new.pdf", FILLED, age_s=-5)
    put(drop, ".hidden.pdf", FILLED)
    (drop / "folder").mkdir()
    (drop / "link.pdf").symlink_to(put(tmp_path, "secret.pdf", FILLED))
    assert await folder.look() == 0
    assert names(drop) == {"new.pdf", ".hidden.pdf", "folder", "link.pdf", "done", "refused"}


async def test_a_broker_that_is_away_leaves_the_file(store: SheetStore, drop: Path) -> None:
    """It is tried again at the next look."""
    async with open_publisher("amqp://guest:guest@127.0.0.1:1/", "receiver") as publisher:
        folder = DropFolder(drop, Receiver(store, publisher))
        path = put(drop, "sheet.pdf", FILLED)
        with pytest.raises(PublishError):
            await folder.look()
    assert path.exists()


async def test_watching_goes_on_over_an_outage_and_stops_at_once() -> None:
    """What is away is no reason to end; what is a bug is."""
    looks = 0
    stop = asyncio.Event()

    async def look() -> int:
        nonlocal looks
        looks += 1
        raise DependencyGoneError("mailbox", "away")

    watching = asyncio.ensure_future(watch("somewhere", look, 0.01, stop))
    await eventually(lambda: looks > 3)
    stop.set()
    await asyncio.wait_for(watching, 5)

    async def bug() -> int:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await watch("somewhere", bug, 60, asyncio.Event())


@pytest.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with running_imap() as server:
        yield server


async def test_sheets_that_agents_answer_with_are_received(
    channel: aio_pika.abc.AbstractChannel, receiver: Receiver, imap: ImapServer
) -> None:
    """Each attached PDF, by its type or its name; the mail is read then, and not looked at again."""
    await imap.deliver(FILLED, CONTENT)
    await imap.deliver(FILLED, name="Sheet.PDF", kind="octet-stream")
    mailbox = Mailbox(imap.account, receiver, imap.context)

    assert await mailbox.look() == 3
    assert await mailbox.look() == 0

    assert {event.received_from for event in await told(channel)} == {"mailbox: asha@example.com"}
    assert [set(mail.flags) - {"\\Recent"} for mail in await imap.mails()] == [{"\\Seen"}, {"\\Seen"}]


async def test_a_mail_without_a_sheet_is_flagged_for_a_person(
    channel: aio_pika.abc.AbstractChannel, receiver: Receiver, imap: ImapServer
) -> None:
    """Nothing attached, or something that is no sheet."""
    await imap.deliver()
    await imap.deliver(b"%PDF-1.7 but broken")
    assert await Mailbox(imap.account, receiver, imap.context).look() == 0
    assert [set(mail.flags) - {"\\Recent"} for mail in await imap.mails()] == [{"\\Seen", "\\Flagged"}] * 2
    assert await told(channel) == []


async def test_a_broker_that_is_away_leaves_the_mail_unread(store: SheetStore, imap: ImapServer) -> None:
    """It is received at the next look."""
    await imap.deliver(FILLED)
    async with open_publisher("amqp://guest:guest@127.0.0.1:1/", "receiver") as publisher:
        with pytest.raises(PublishError):
            await Mailbox(imap.account, Receiver(store, publisher), imap.context).look()
    assert [set(mail.flags) - {"\\Recent"} for mail in await imap.mails()] == [set()]


async def test_a_mailbox_that_lets_nobody_in_is_an_outage(receiver: Receiver, imap: ImapServer) -> None:
    """A wrong password, a certificate of nobody's, nobody there."""
    account = imap.account
    wrong = Account(account.host, account.port, account.username, "wrong")
    nobody = Account(account.host, 1, account.username, account.password)
    for mailbox in (
        Mailbox(wrong, receiver, imap.context),
        Mailbox(account, receiver),
        Mailbox(nobody, receiver, imap.context),
    ):
        with pytest.raises(DependencyGoneError, match="mailbox"):
            await mailbox.look()
