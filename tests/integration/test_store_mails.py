"""A store's mails of a lot against a real PostgreSQL, disk and mail server: all sheets, once, to all recipients."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aio_pika
import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from services.cli.leads import read_story
from services.cli.sheets import read_sheet
from services.cli.statistics import read_statistics
from services.notifier.consumer import Mailed, Pinned
from services.notifier.errands import Desk, StoreErrand, errands
from services.notifier.message import Recipient
from services.notifier.pacing import Pace
from services.notifier.planning import Pin, Send, Visit
from services.notifier.posting import Links
from shared.db.session import Database
from shared.events import DocumentReady, LeadUnassigned, LotCompleted, NotificationSent
from shared.messaging import topology
from shared.messaging.envelope import Outgoing
from shared.messaging.processing import Busy, Deferred, Rejected
from shared.messaging.publisher import open_publisher
from shared.outage import DependencyGoneError
from shared.sheetkeys import read_keys
from shared.sheetlinks import LinkState, verify_link
from shared.sheetstore import SheetStore
from tests.driving import Driver, execute, message, of, rows, scalar
from tests.mailing import Office, all_told, text_of
from tests.mailserver import REFUSALS, Server, hang_up, running
from tests.nursery import OWNER
from tests.replica import Replica
from tests.sheets import add_recipients, lay_out, lay_out_lot
from tests.waiting import eventually

PROFILE = "leads_assignment"
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(Server(), data_size_limit=0) as server:
        yield server


@pytest.fixture
async def office(database: Database, store: SheetStore, server: Server, documents: Driver) -> AsyncIterator[Office]:
    office = Office(database, store, server, documents)
    yield office
    await office.close()


# One mail a store.


async def test_a_store_gets_one_mail_with_all_its_sheets(database: Database, office: Office) -> None:
    """With the last sheet, to all its recipients; another store gets its own."""
    told = await lay_out_lot(database, S1=3, S2=1)
    await add_recipients(database, PROFILE, "ann@example.com")
    await add_recipients(database, PROFILE, "bob@example.com", send_as="cc")
    await add_recipients(database, PROFILE, "eve@example.com", send_as="bcc", env="prod")
    await add_recipients(database, PROFILE, "lab@example.com", env="lab")
    await add_recipients(database, PROFILE, "zoe@example.com", store_code="S2")
    await add_recipients(database, PROFILE, "all@example.com", store_code=None)
    notifier = office.notifier()

    first, second, *_ = [await office.make(event) for event in told["S1"][:2]]
    assert await notifier.run(*first, *second) == []
    assert office.mails == []
    assert await office.status() == "waiting"
    assert await office.reason() == "waits for other sheets of the lot: 2 of 3 are made"

    effects = await notifier.run(*await office.make(told["S1"][2], *told["S2"]))

    assert office.arrived == [("ann all bob eve", ["0001", "0002", "0003"]), ("zoe all", ["0004"])]
    [(_, mail), _] = office.mails
    assert [to.addr_spec for to in mail["To"].addresses] == ["ann@example.com", "all@example.com"]
    assert mail["Cc"].addresses[0].addr_spec == "bob@example.com"
    assert mail["Bcc"] is None
    assert "2026-01-01 10:00 +05:30 (Asia/Kolkata)" in text_of(mail)
    assert [(each.sheet_key, len(each.recipients)) for each in of(effects, NotificationSent)] == [
        *((f"lot-7-S1-000{number}", 4) for number in (1, 2, 3)),
        ("lot-7-S2-0004", 2),
    ]
    assert await notifier.run(*first, *second) == []
    assert len(office.mails) == 2
    # each agent's own mail waits for an address
    assert await scalar(database, "SELECT count(*) FROM notifications WHERE status = 'waiting'") == 4


async def test_replicas_that_come_at_once_send_one_mail(database: Database, office: Office) -> None:
    """Every message of the lot to every replica at the same time; who was busy comes again."""
    told = await lay_out_lot(database, S1=4)
    await add_recipients(database, PROFILE, "ann@example.com")
    events = await all_told(office, told)  # type: ignore[arg-type]
    replicas = [office.notifier() for _ in range(3)]
    effects = await asyncio.gather(*(replica.run(event) for event in events for replica in replicas))
    busy = [each.message for some in effects for each in of(some, Busy)]
    again = await asyncio.gather(*(replicas[0].run(each) for each in busy))

    assert office.arrived == [("ann", ["0001", "0002", "0003", "0004"])]
    assert sum(len(of(some, NotificationSent)) for some in effects) == 4
    assert [each for some in again for each in some] == []
    assert await scalar(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_the_last_sheets_committed_at_once_are_missed_by_nobody(database: Database, office: Office) -> None:
    """Each is made and told of by a process of its own, and mailed by one of its own."""
    told = await lay_out_lot(database, S1=6)
    await add_recipients(database, PROFILE, "ann@example.com")

    async def makes_and_mails(number: int) -> list[Busy]:
        notifier = office.notifier()
        return of(await notifier.run(*await office.make(told["S1"][number])), Busy)

    busy = await asyncio.gather(*(makes_and_mails(number) for number in range(6)))
    for each in (each for some in busy for each in some):
        await office.notifier().run(each.message)

    assert office.arrived == [("ann", [f"000{number}" for number in range(1, 7)])]


async def test_the_commands_tell_of_each_mail(database: Database, office: Office) -> None:
    """Of one that waits for other sheets, too; and why mails wait."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    notifier = office.notifier()
    await notifier.run(*await office.make(told["S1"][0]))

    async def mails() -> list[tuple[Any, ...]]:
        story = await read_story(database, "L11")
        return [(each["mail_of"], each["mail"], each["recipients"]) for each in story.documents]

    assert sorted(await mails()) == [("agent_sheet", "waiting", None), (PROFILE, "waiting", None)]
    await notifier.run(*await office.make(told["S1"][1]))
    assert sorted(await mails()) == [("agent_sheet", "waiting", None), (PROFILE, "sent", "ann@example.com sent")]
    sheet = await read_sheet(database, "lot-7-S1-0001")
    assert [each["status"] for each in sheet.mails if each["mail_of"] == PROFILE] == ["sent"]
    statistics = await read_statistics(database)
    assert (statistics.emails, statistics.mails_waiting) == (1, 2)
    assert {each["reason"] for each in statistics.mails} == {
        "agent 0001 has no e-mail address",
        "agent 0002 has no e-mail address",
    }


# Void, superseded, late.


async def test_a_mail_that_waits_for_a_sheet_that_goes_void_is_sent(database: Database, office: Office) -> None:
    """Nothing is told of that sheet: the sweep sees that nothing is waited for any more."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    notifier = office.notifier()
    await notifier.run(*await office.make(told["S1"][0]))
    assert await office.asked() == []

    await office.end("lot-7-S1-0002")
    assert await office.make(told["S1"][1]) == []
    asked = await office.asked()
    assert await office.asked() == []  # once
    await notifier.run(*asked)

    assert office.arrived == [("ann", ["0001"])]
    assert await office.asked() == []


async def test_a_superseded_sheet_is_not_attached(database: Database, office: Office) -> None:
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    events = await office.make(*told["S1"])
    await office.end("lot-7-S1-0001")
    gone = LeadUnassigned(lead_id="L11", revision=2, reason="x", previous_sheet_key="lot-7-S1-0001")
    await office.documents.run(gone)
    await office.notifier().run(*events)
    assert office.arrived == [("ann", ["0002"])]


async def test_a_mail_all_of_whose_sheets_are_void_is_void(database: Database, office: Office) -> None:
    """Until one of their leads is opened again: then it goes, once."""
    told = await lay_out_lot(database, S1=1)
    await add_recipients(database, PROFILE, "ann@example.com")
    events = await office.make(*told["S1"])
    await office.set_status("lot-7-S1-0001", 4)
    notifier = office.notifier()
    await notifier.run(*events)
    assert (await office.status(), office.mails) == ("void", [])
    assert await office.asked() == []

    await office.set_status("lot-7-S1-0001", 2)
    await notifier.run(*await office.asked())
    await notifier.run(*events)
    assert office.arrived == [("ann", ["0001"])]
    assert await office.asked() == []


async def test_an_awaited_mail_all_of_whose_sheets_went_void_is_void(database: Database, office: Office) -> None:
    told = await lay_out_lot(database, S1=2)
    notifier = office.notifier()
    await notifier.run(*await office.make(told["S1"][0]))
    for number in (1, 2):
        await office.end(f"lot-7-S1-000{number}")
    await notifier.run(*await office.asked())
    assert (await office.status(), await office.reason()) == ("void", "its sheets are void")
    assert await office.asked() == []


async def test_a_sheet_that_goes_void_between_the_look_and_the_mail_is_not_sent(
    database: Database, office: Office
) -> None:
    """The store's mail is pinned, its sheet's lead is given away, and no empty mail goes."""
    told = await lay_out_lot(database, S1=1)
    await add_recipients(database, PROFILE, "ann@example.com")
    [event] = await office.make(*told["S1"])
    notifier = office.notifier()
    async with database.reading() as connection:
        errand = next(each for each in await errands(connection, event, "prod") if isinstance(each, StoreErrand))
        desk = Desk("prod", "example.com")
        pin = await errand.look(connection, desk, Visit(), is_claimed=True)
        assert isinstance(pin, Pin)
        [mail] = errand.mails(desk, pin.number, [pin.ready])
        await office.end(event.sheet_key)
        post = notifier.handler._post  # type: ignore[attr-defined]
        ann = (Recipient("ann@example.com"),)
        assert await post.send(connection, errand, Send(mail, ann, ann)) is None
    assert office.mails == []


async def test_a_late_sheet_reaches_the_recipients_once(database: Database, office: Office) -> None:
    """Its lead was closed when the store's mail went, and is opened again: a mail of its own, with it alone."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    notifier = office.notifier()
    await office.set_status("lot-7-S1-0002", 4)
    events = await office.make(*told["S1"])
    await notifier.run(*events)
    await office.set_status("lot-7-S1-0002", 2)
    late = await office.make(told["S1"][1])
    for _ in range(2):
        await notifier.run(*late, *events)

    assert office.arrived == [("ann", ["0001"]), ("ann", ["0002"])]
    assert office.mails[1][1]["Subject"].endswith("(late)")
    assert len(set(office.message_ids)) == 2


async def test_a_closed_sheet_that_was_made_reaches_the_recipients_when_it_is_opened(
    database: Database, office: Office
) -> None:
    """Nothing is told of it, since it is there: the sweep sees it."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    notifier = office.notifier()
    events = await office.make(*told["S1"])
    await office.set_status("lot-7-S1-0002", 4)
    await notifier.run(*events)
    assert office.arrived == [("ann", ["0001"])]
    assert await office.asked() == []

    await office.set_status("lot-7-S1-0002", 2)
    await notifier.run(*await office.asked())
    await notifier.run(*await office.asked(), *events)
    assert office.arrived == [("ann", ["0001"]), ("ann", ["0002"])]


# Recipients.


async def test_one_of_three_waits_one_is_refused_and_each_has_one_mail(
    database: Database, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """450, then 250; 550; 250. The second try is the same mail to all eyes, and goes to one."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com", "full@example.com")
    await add_recipients(database, PROFILE, "gone@example.com", send_as="cc")
    events = await office.make(*told["S1"])
    notifier = office.notifier()
    [deferred] = of(await notifier.run(*events), Deferred)
    assert "full@example.com: 450 4.2.2 Mailbox full" in deferred.reason
    assert "gone" not in deferred.reason
    assert await office.deliveries() == {"ann": "sent", "full": "deferred", "gone": "refused"}
    assert await office.status() == "partial"

    monkeypatch.delitem(REFUSALS, "full")
    await add_recipients(database, PROFILE, "new@example.com")
    assert await notifier.run(events[1]) == []  # it is left to the message on the ladder
    effects = await notifier.run(deferred.message)
    assert await notifier.run(*events) == []

    assert office.arrived == [("ann", ["0001", "0002"]), ("full", ["0001", "0002"])]
    assert [each.recipients for each in of(effects, NotificationSent)] == [("full@example.com",)] * 2
    (_, first), (_, second) = office.mails
    for header in ("Message-ID", "To", "Cc", "Subject", "From"):
        assert first[header] == second[header], header
    assert await office.status() == "partial"
    assert await office.deliveries() == {"ann": "sent", "full": "sent", "gone": "refused"}


async def test_an_address_that_is_none_does_not_keep_the_others_mail(database: Database, office: Office) -> None:
    told = await lay_out_lot(database, S1=1)
    await add_recipients(database, PROFILE, "no address", "ann@example.com")
    await office.notifier().run(*await office.make(*told["S1"]))
    assert office.arrived == [("ann", ["0001"])]
    assert await office.deliveries() == {"no address": "refused", "ann": "sent"}


async def test_a_recipient_that_comes_by_sql_gets_what_waits_and_nothing_old(
    database: Database, office: Office
) -> None:
    told = await lay_out_lot(database, S1=2)
    notifier = office.notifier()
    events = await office.make(*told["S1"])
    await notifier.run(*events)
    assert await office.status() == "waiting"
    assert await office.reason() == "no recipient is active for the store S1"
    await add_recipients(database, PROFILE, "other@example.com", store_code="S2")
    await add_recipients(database, PROFILE, "lab@example.com", env="lab")
    assert await office.asked() == []

    await add_recipients(database, PROFILE, "ann@example.com")
    await notifier.run(*await office.asked())
    assert office.arrived == [("ann", ["0001", "0002"])]

    await add_recipients(database, PROFILE, "new@example.com")
    await notifier.run(*await office.asked(), *events)
    assert len(office.mails) == 1


async def test_a_store_on_a_stream_gets_a_mail_a_sheet(database: Database, office: Office) -> None:
    """Once there is somebody to get it; the agent's own goes at once."""
    assigned = await lay_out(database)
    await execute(database, "UPDATE assignments SET store_code = 'S1'")
    events = await office.make(assigned)
    notifier = office.notifier()
    await notifier.run(*events)
    assert office.arrived == [("asha", ["0001"])]

    await add_recipients(database, PROFILE, "ann@example.com")
    await notifier.run(*await office.asked())
    await notifier.run(*events, *await office.asked())
    assert office.arrived == [("asha", ["0001"]), ("ann", ["0001"])]
    assert "Ann" in text_of(office.mails[1][1])


# Crashes and drops.


async def test_a_crash_after_the_dot_repeats_the_same_mail_once(database: Database, office: Office) -> None:
    """Also where a sheet turned up meanwhile: that goes in a mail of its own."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    await office.set_status("lot-7-S1-0002", 4)
    events = await office.make(*told["S1"])
    crashed = office.notifier()
    async with aclosing(crashed.handler.prepare(database, [message(events[0])])) as preparing:
        async for piece in preparing:
            if isinstance(piece, Mailed):
                break  # sent, not saved
            async with database.begin() as tx:
                await crashed.handler.save(tx, piece)

    await office.set_status("lot-7-S1-0002", 2)
    late = await office.make(told["S1"][1])
    notifier = office.notifier()
    for _ in range(2):
        await notifier.run(*late, *events)

    assert office.arrived == [("ann", ["0001"]), ("ann", ["0001"]), ("ann", ["0002"])]
    assert office.message_ids[0] == office.message_ids[1] != office.message_ids[2]


async def test_a_crash_before_the_mail_keeps_its_sheets(database: Database, office: Office) -> None:
    """What it was to carry is committed; whoever comes next sends it."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    events = await office.make(*told["S1"])
    crashed = office.notifier()
    async with aclosing(crashed.handler.prepare(database, [message(events[1])])) as preparing:
        async for piece in preparing:
            async with database.begin() as tx:
                await crashed.handler.save(tx, piece)
            if isinstance(piece, Pinned):
                break
    assert await scalar(database, "SELECT count(*) FROM notification_sheets WHERE profile_id = 1") == 2
    await office.notifier().run(*events)
    assert office.arrived == [("ann", ["0001", "0002"])]


async def test_a_drop_before_the_dot_and_one_after_it(database: Database, office: Office) -> None:
    """Before: nothing arrived, one mail with the next try. After: at most one more, under the same Message-ID."""
    told = await lay_out_lot(database, S1=1, S2=1)
    await add_recipients(database, PROFILE, "ann@example.com")
    await add_recipients(database, PROFILE, "zoe@example.com", store_code="S2")
    [one], [two] = await office.make(*told["S1"]), await office.make(*told["S2"])
    notifier = office.notifier()

    async def drop(smtp: SMTP) -> bool:
        hang_up(smtp)
        return False

    office.server.at_data = drop
    with pytest.raises(DependencyGoneError):
        await notifier.run(one)
    office.server.at_data = None
    await notifier.run(one)
    assert office.arrived == [("ann", ["0001"])]

    office.server.before_the_dot_is_answered = hang_up
    with pytest.raises(DependencyGoneError):
        await notifier.run(two)
    office.server.before_the_dot_is_answered = lambda _smtp: None
    await notifier.run(two)
    await notifier.run(two)
    assert office.arrived[1:] == [("zoe", ["0002"])] * 2
    assert office.message_ids[1] == office.message_ids[2]


@pytest.fixture
async def amqp(amqp_url: str) -> str:
    """A virtual host with our queues."""
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
    return amqp_url


@pytest.mark.parametrize("when", ["before the dot", "after the dot"])
async def test_a_notifier_killed_in_the_middle_of_a_stores_mail(
    database: Database, database_url: str, amqp: str, office: Office, tmp_path: Path, when: str
) -> None:
    """kill -9 of who has it, and the broker gives the message to another: one mail, or one more of the same."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    events = await office.make(*told["S1"])
    killed: list[int] = []
    arguments = (database_url, amqp, str(office.server.port), str(tmp_path / "sheets"), "360")
    replicas = [
        Replica(
            "notifier",
            number,
            ["tests.notifier_process", *arguments],
            {**os.environ, "PYTHONPATH": str(ROOT), OWNER: str(os.getpid())},
            tmp_path / f"notifier-{number}.log",
        )
        for number in (0, 1)
    ]

    def kill(smtp: SMTP) -> None:
        if not killed:
            killed.append(1)
            replicas[0].kill()
            hang_up(smtp)

    async def at_data(smtp: SMTP) -> bool:
        if when == "before the dot" and not killed:
            await asyncio.to_thread(kill, smtp)
            return False
        return True

    office.server.at_data = at_data
    if when == "after the dot":
        office.server.before_the_dot_is_answered = kill
    try:
        replicas[0].start()
        async with open_publisher(amqp, "test") as publisher:
            await publisher.publish([Outgoing(each.type, each.to_json().encode(), each.key) for each in events])
        await eventually(lambda: killed, within=60)
        replicas[1].start()

        async def is_sent() -> bool:
            return bool(await office.status() == "sent")

        await eventually(is_sent, within=60)
    finally:
        for replica in replicas:
            if replica.starts:
                replica.kill()

    mails = 2 if when == "after the dot" else 1
    assert office.arrived == [("ann", ["0001", "0002"])] * mails
    assert len(set(office.message_ids)) == 1


# Sizes.


@pytest.fixture
async def small(database: Database, store: SheetStore, documents: Driver) -> AsyncIterator[Office]:
    """A mail server that takes 100 kB."""
    async with running(Server(), data_size_limit=100_000) as server:
        office = Office(database, store, server, documents)
        yield office
        await office.close()


async def test_sheets_that_are_too_large_together_come_in_parts(database: Database, small: Office) -> None:
    """Each sheet once; each part a mail of its own. A crash after the first part's dot repeats that part, as it was."""
    told = await lay_out_lot(database, S1=3)
    await add_recipients(database, PROFILE, "ann@example.com")
    events = await small.make(*told["S1"])
    await small.inflate(*events, size=30_000)
    crashed = small.notifier()
    async with aclosing(crashed.handler.prepare(database, [message(events[0])])) as preparing:
        async for piece in preparing:
            if isinstance(piece, Mailed):
                break
            async with database.begin() as tx:
                await crashed.handler.save(tx, piece)
    await small.end("lot-7-S1-0002")  # what is void is left out, and nothing moves into its place
    for _ in range(2):
        await small.notifier().run(*events)

    assert small.arrived == [("ann", ["0001", "0002"]), ("ann", ["0001"]), ("ann", ["0003"])]
    subjects = [str(mail["Subject"]) for _, mail in small.mails]
    assert [subject[-13:] for subject in subjects] == ["(part 1 of 2)", "(part 1 of 2)", "(part 2 of 2)"]
    assert small.message_ids[0] == small.message_ids[1] != small.message_ids[2]
    assert await rows(database, "SELECT status, part, parts FROM notifications WHERE lot_id = 7 ORDER BY id") == [
        ("sent", 1, 2),
        ("sent", 2, 2),
    ]


async def test_a_sheet_too_large_for_any_mail_comes_as_a_link(database: Database, small: Office) -> None:
    """Signed with the installation's key, until it expires; the others are attached beside it."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    events = await small.make(*told["S1"])
    await small.inflate(events[0], size=200_000)
    links = Links("https://leads.example.com", 14)
    effects = await small.notifier(links=links).run(*events)

    assert small.arrived == [("ann", ["0002"])]
    [link] = [line for line in text_of(small.mails[0][1]).splitlines() if line.startswith("https://")]
    query = parse_qs(urlsplit(link).query)
    sheet_key = unquote(urlsplit(link).path.rpartition("/")[2])
    assert sheet_key == "lot-7-S1-0001"
    assert {each.sheet_key for each in of(effects, NotificationSent)} == {"lot-7-S1-0001", "lot-7-S1-0002"}
    async with database.reading() as connection:
        keys = (await read_keys(connection)).known
    sent_at = small.mails[0][1]["Date"].datetime
    state = verify_link(sheet_key, query["expires"][0], query["signature"][0], keys, sent_at)
    assert state is LinkState.GOOD


async def test_a_sheet_too_large_for_any_mail_fails_alone_without_links(database: Database, small: Office) -> None:
    """With the reason and what to do; it is not tried again and again."""
    told = await lay_out_lot(database, S1=2)
    await add_recipients(database, PROFILE, "ann@example.com")
    events = await small.make(*told["S1"])
    await small.inflate(events[0], size=200_000)
    await small.notifier().run(*events)

    assert small.arrived == [("ann", ["0002"])]
    [reason] = [await small.reason(f"lot:7:S1:{number}") for number in (1,)]
    assert reason.startswith("over the mail server's limit of 0.1 MB: leads_assignment_2026-01-01_S1_0001.pdf (0.2 MB)")
    assert "LEADLINE_PUBLIC_URL" in reason
    assert (await small.status("lot:7:S1:1"), await small.status("lot:7:S1:2")) == ("failed", "sent")
    assert await small.asked() == []


# TLS, login, pace.


async def test_over_starttls_with_a_login(database: Database, store: SheetStore, documents: Driver) -> None:
    """A server that takes nothing without both."""
    authority = trustme.CA()
    served, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(trusting)

    def knows(_server: object, _session: object, _envelope: object, _mechanism: str, login: object) -> AuthResult:
        is_ours = (getattr(login, "login", b""), getattr(login, "password", b"")) == (b"leadline", b"secret")
        return AuthResult(success=is_ours, handled=False)

    told = await lay_out_lot(database, S1=1)
    await add_recipients(database, PROFILE, "ann@example.com")
    options = {"require_starttls": True, "auth_required": True, "authenticator": knows}
    async with running(Server(), tls_context=served, **options) as server:
        office = Office(database, store, server, documents)
        events = await office.make(*told["S1"])
        login: dict[str, Any] = {"username": "leadline", "tls_context": trusting}
        with pytest.raises(DependencyGoneError, match="SMTPAuthenticationError"):
            await office.notifier(password="wrong", **login).run(*events)
        with pytest.raises(DependencyGoneError, match="CERTIFICATE_VERIFY_FAILED"):
            await office.notifier(password="secret", username="leadline").run(*events)
        await office.notifier(password="secret", **login).run(*events)
        await office.close()
    assert office.arrived == [("ann", ["0001"])]


class Watched(Pace):
    """Says when a turn is waited for that has not come."""

    def __init__(self, per_minute: int, stop: asyncio.Event) -> None:
        super().__init__(per_minute, stop)
        self.is_waited_for = asyncio.Event()

    async def turn(self) -> bool:
        if self._sent_at:
            self.is_waited_for.set()
        return await super().turn()


async def test_a_notifier_that_waits_for_its_turn_holds_nothing(database: Database, office: Office) -> None:
    """No claim and no connection; a stop ends the wait, and the message comes again."""
    told = await lay_out_lot(database, S1=1, S2=1)
    await add_recipients(database, PROFILE, "ann@example.com")
    await add_recipients(database, PROFILE, "zoe@example.com", store_code="S2")
    [one], [two] = await office.make(*told["S1"]), await office.make(*told["S2"])
    stop = asyncio.Event()
    pace = Watched(1, stop)
    slow = office.notifier(pace=pace)
    await slow.run(one)
    waiting = asyncio.create_task(slow.run(two))
    await asyncio.wait_for(pace.is_waited_for.wait(), 30)

    await office.notifier().run(two)  # another may send it meanwhile
    assert await scalar(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    assert not waiting.done()
    stop.set()
    [busy] = of(await asyncio.wait_for(waiting, 30), Busy)
    assert busy.message.event == two
    assert office.arrived == [("ann", ["0001"]), ("zoe", ["0002"])]


# Summaries.


async def a_summary_profile(database: Database) -> None:
    await execute(
        database,
        """
        INSERT INTO notification_profiles (pipeline_id, code, scope, attach_mode)
        SELECT id, 'lot_summary', 'global', 'none' FROM pipelines WHERE code = 'leads_assignment'
        """,
    )


DONE = LotCompleted(lot_id=7, route="pickups", assigned=6, unassigned={"daily cap reached": 3})


async def test_operators_get_one_summary_of_a_lot(database: Database, office: Office) -> None:
    """Once there is one to get it, however often the lot is told of; no sheet is attached."""
    await lay_out_lot(database, S1=2, S2=1)
    await a_summary_profile(database)
    replicas = [office.notifier() for _ in range(2)]
    await replicas[0].run(DONE)
    assert await office.status("lot:7") == "waiting"
    assert await office.asked() == []

    await add_recipients(database, "lot_summary", "ops@example.com", store_code=None)
    [asked] = await office.asked()
    assert isinstance(asked, LotCompleted)
    assert (asked.assigned, asked.unassigned) == (6, {"daily cap reached": 3})
    await asyncio.gather(*(replica.run(asked, DONE) for replica in replicas))

    assert office.arrived == [("ops", [])]
    [(_, mail)] = office.mails
    assert mail["Subject"] == "pickups: 6 assigned, 3 unassigned in lot 7"
    body = text_of(mail)
    assert body.startswith("6 leads to 3 agents of 2 stores, 3 wait: 3 daily cap reached")
    for said in ("2026-01-01 10:00 +05:30", "run run-1", "S1  0001 Agent 1  2 leads", "Sheets: 3"):
        assert said in body


async def test_a_lot_with_nothing_to_assign_has_no_mail(database: Database, office: Office) -> None:
    await lay_out_lot(database, S1=1)
    await execute(database, "UPDATE lots SET assigned = 0, sheets = '{}'")
    await a_summary_profile(database)
    await add_recipients(database, "lot_summary", "ops@example.com", store_code=None)
    assert await office.notifier().run(DONE) == []
    assert office.mails == []
    assert await scalar(database, "SELECT count(*) FROM notifications") == 0


async def test_a_message_about_nothing_is_refused(database: Database, office: Office) -> None:
    nothing = DocumentReady(document_id=99, sheet_key="x", agent_code="0001", lead_ids=())
    effects = await office.notifier().run(nothing, DONE)
    assert [each.reason for each in of(effects, Rejected)] == ["the document does not exist", "the lot does not exist"]
