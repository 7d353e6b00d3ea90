"""Documents, notifier, dead letters and the sweep against a real PostgreSQL, disk and mail server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from services.deadletters import consumer as deadletters
from services.documents.consumer import MakeSheets
from services.documents.filenames import sheet_path
from services.notifier.consumer import MailSheets
from services.notifier.mailer import Mailer, MailServer
from services.notifier.posting import Post
from services.notifier.templating import Templates
from services.scheduler.sweep import sweep
from shared.db.session import Database
from shared.events import DocumentReady, LeadUnassigned, NotificationSent
from shared.messaging import envelope
from shared.messaging.envelope import Delivery, Outgoing
from shared.messaging.processing import Busy, Deferred, Rejected
from shared.outage import DependencyGoneError
from shared.sheetstore import SheetStore
from tests.driving import Driver, execute, message, of, rows, scalar
from tests.mailserver import Server, running
from tests.sheets import KEY, another_lead, give_away, lay_out

SENDER = "Leads <leads@example.com>"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(Server()) as server:
        yield server


@pytest.fixture
async def mail(database: Database, store: SheetStore, server: Server) -> AsyncIterator[Callable[[], Driver]]:
    """Makes replicas of the notifier."""
    mailers: list[Mailer] = []

    def replica() -> Driver:
        mailers.append(Mailer(MailServer("127.0.0.1", server.port, timeout_s=5)))
        post = Post(mailers[-1], store.read, Templates(), sender=SENDER)
        return Driver(database, MailSheets(post, sender=SENDER, env="prod"))

    yield replica
    for mailer in mailers:
        await mailer.close()


async def ready(database: Database, documents: Driver, **options: Any) -> DocumentReady:
    (event,) = of(await documents.run(await lay_out(database, **options)), DocumentReady)
    assert isinstance(event, DocumentReady)
    return event


# Documents.


async def test_a_lead_assigned_twice_has_one_sheet(
    database: Database, documents: Driver, store: SheetStore, tmp_path: Path
) -> None:
    assigned = await lay_out(database)
    first = await documents.run(assigned)
    again = [*await documents.run(assigned), *await Driver(database, MakeSheets(store)).run(assigned)]

    (told,) = first
    assert isinstance(told, DocumentReady)
    assert (told.sheet_key, told.agent_code, told.lead_ids) == (KEY, "0001", ("A",))
    assert again == []
    ((path, sha256, status),) = await rows(database, "SELECT file_path, sha256, status FROM documents")
    assert store.read(path, sha256).startswith(b"%PDF")
    assert status == "ok"
    assert len([file for file in (tmp_path / "sheets").rglob("*") if file.is_file()]) == 1


async def test_the_first_sheet_of_a_day_goes_without_a_suffix(
    database: Database, documents: Driver, store: SheetStore
) -> None:
    assigned = await lay_out(database)
    await another_lead(database, 2, "L2601010001-0002")
    await another_lead(database, 3, "lot-7-S1-0001", lot_id=7, store_code="S1")
    await another_lead(database, 4, "lot-10-S1-0001", lot_id=10, store_code="S1")
    later = [assigned.model_copy(update={"sheet_key": key}) for key in ("lot-10-S1-0001", "lot-7-S1-0001")]
    second = assigned.model_copy(update={"sheet_key": "L2601010001-0002", "lead_id": "L2"})

    await documents.run(assigned, second, *later)

    folder = "leads_assignment/2026-01-01/leads_assignment_2026-01-01"
    place = sheet_path(date(2026, 1, 1), "all", "0001").removesuffix(".pdf")
    assert await rows(database, "SELECT sheet_key, file_path, storage_backend FROM documents ORDER BY id") == [
        ("L2601010001-0001", f"{place}.pdf", "fs"),
        ("L2601010001-0002", f"{place}_0002.pdf", "fs"),
        ("lot-10-S1-0001", f"{folder}_S1_0001_lot10.pdf", "fs"),
        ("lot-7-S1-0001", f"{folder}_S1_0001.pdf", "fs"),
    ]
    await execute(database, "DELETE FROM documents")
    await asyncio.gather(*(Driver(database, MakeSheets(store)).run(later[0]) for _ in range(3)))
    assert await rows(database, "SELECT file_path FROM documents") == [(f"{folder}_S1_0001_lot10.pdf",)]


async def test_a_document_follows_every_convention(database: Database, documents: Driver) -> None:
    await ready(database, documents)
    assert await rows(
        database,
        """
        SELECT doc_type, doc_subtype, doc_date, reference_name_1, reference_id_1, reference_name_2, reference_id_2,
               reference_name_3, reference_id_3, mime_type, storage_backend, status, created_by FROM documents
        """,
    ) == [
        (
            *("leads_assignment", "per_store_agent_pdf", date(2026, 1, 1), "pipeline", "leads_assignment"),
            *("store_code", "all", "agent_code", "0001", "application/pdf", "fs", "ok", "leads_assignment_pipeline"),
        )
    ]


async def test_two_replicas_at_once_make_one_sheet(database: Database, store: SheetStore) -> None:
    assigned = await lay_out(database)
    effects = await asyncio.gather(*(Driver(database, MakeSheets(store)).run(assigned) for _ in range(3)))
    assert sum(len(each) for each in effects) == 1
    assert await scalar(database, "SELECT count(*) FROM documents") == 1


async def test_a_lead_given_away_before_it_is_rendered_has_no_sheet(database: Database, documents: Driver) -> None:
    assigned = await lay_out(database)
    await give_away(database)
    assert await documents.run(assigned) == []
    assert await scalar(database, "SELECT count(*) FROM documents") == 0


async def test_a_lead_given_away_while_it_is_rendered_has_a_void_sheet(
    database: Database, documents: Driver, store: SheetStore
) -> None:
    assigned = await lay_out(database)
    handler = MakeSheets(store)
    async with aclosing(handler.prepare(database, [message(assigned)])) as preparing:
        piece = await anext(preparing)
        await give_away(database)
        async with database.begin() as tx:
            assert await handler.save(tx, piece) == []
    assert await rows(database, "SELECT status FROM documents") == [("void",)]


async def test_a_sheet_is_superseded_when_its_last_lead_goes(database: Database, documents: Driver) -> None:
    await ready(database, documents)
    gone = LeadUnassigned(lead_id="A", revision=2, reason="x", previous_sheet_key=KEY)

    await documents.run(gone)
    assert await rows(database, "SELECT status FROM documents") == [("ok",)]
    await give_away(database)
    await documents.run(gone)

    assert await rows(database, "SELECT status FROM documents") == [("superseded",)]


async def test_a_void_sheet_is_made_again_when_its_lead_is_reopened(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    assigned = await lay_out(database, status=4)
    assert await documents.run(assigned) == []
    assert await rows(database, "SELECT status FROM documents") == [("void",)]

    await execute(database, "UPDATE assignments SET assignment_status_id = 2")
    (event,) = of(await documents.run(assigned), DocumentReady)
    await mail().run(event)

    assert await rows(database, "SELECT documents.status, notifications.status FROM documents, notifications") == [
        ("ok", "sent")
    ]
    assert len(server.mails) == 1


async def test_a_route_without_sheets_has_none(database: Database, documents: Driver) -> None:
    assigned = await lay_out(database)
    await execute(database, "UPDATE routes SET sheets = false")
    assert await documents.run(assigned) == []


# Mail.


async def test_two_replicas_send_one_mail(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    event = await ready(database, documents)
    effects = await asyncio.gather(*(mail().run(event) for _ in range(3)))

    assert len(server.mails) == 1
    (told,) = [effect for each in effects for effect in each if not isinstance(effect, Busy)]
    assert isinstance(told, NotificationSent)
    assert (told.sheet_key, told.recipients) == (KEY, ("asha@example.com",))
    assert await rows(database, "SELECT status, sent_at IS NULL FROM notifications") == [("sent", False)]
    assert await rows(database, "SELECT email_address, status, answer FROM notification_deliveries") == [
        ("asha@example.com", "sent", "250 2.0.0 Kept")
    ]
    assert await scalar(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_a_deferred_mail_waits_on_the_ladder_then_goes_once(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    event = await ready(database, documents, email="full@example.com")
    first = await mail().run(event)
    assert "450 4.2.2 Mailbox full" in of(first, Deferred)[0].reason
    assert await rows(database, "SELECT status, sent_at FROM notifications") == [("waiting", None)]

    await execute(database, "UPDATE agents SET email = 'asha@example.com'")
    second = [*await mail().run(event), *await mail().run(event)]

    assert [type(effect) for effect in second] == [NotificationSent]
    assert len(server.mails) == 1
    assert await rows(database, "SELECT status FROM notifications") == [("sent",)]


async def test_a_refused_mail_is_not_tried_again(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    event = await ready(database, documents, email="gone@example.com")
    effects = [*await mail().run(event), *await mail().run(event)]

    assert effects == []
    assert server.commands.count("RCPT") == 1
    assert await rows(database, "SELECT status, reason FROM notifications") == [("failed", "550 5.1.1 No such user")]


async def test_an_agent_without_an_address_keeps_the_mail_waiting(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    event = await ready(database, documents, email=None)
    assert await mail().run(event) == []
    assert await rows(database, "SELECT status, reason FROM notifications") == [
        ("waiting", "agent 0001 has no e-mail address")
    ]

    await execute(database, "UPDATE agents SET email = 'asha@example.com'")
    await mail().run(event)
    assert len(server.mails) == 1


async def test_an_address_that_cannot_be_used_fails_the_mail_only(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    event = await ready(database, documents, email="no address")
    assert await mail().run(event) == []
    assert await rows(database, "SELECT status FROM notifications") == [("failed",)]
    assert server.mails == []


async def test_a_server_that_is_gone_is_an_outage_and_leaves_no_trace(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    event = await ready(database, documents)
    port, server.port = server.port, 1
    with pytest.raises(DependencyGoneError, match="smtp"):
        await mail().run(event)
    assert await scalar(database, "SELECT count(*) FROM notifications") == 0
    assert await scalar(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0

    server.port = port
    await mail().run(event)
    assert len(server.mails) == 1


async def test_a_lead_given_away_before_the_mail_makes_it_void(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    event = await ready(database, documents)
    await give_away(database)
    assert await mail().run(event) == []
    assert server.mails == []
    assert await rows(database, "SELECT status FROM notifications") == [("void",)]


async def test_a_crash_between_the_dot_and_the_commit_repeats_the_same_mail(
    database: Database, documents: Driver, mail: Callable[[], Driver], server: Server
) -> None:
    event = await ready(database, documents)
    crashed = mail()
    async with aclosing(crashed.handler.prepare(database, [message(event)])) as preparing:
        await anext(preparing)  # sent, not saved
    await mail().run(event)
    await mail().run(event)

    ids = [line for _, _, content in server.mails for line in content.splitlines() if line.startswith(b"Message-ID")]
    assert len(ids) == 2
    assert ids[0] == ids[1]


async def test_an_unknown_document_is_refused(database: Database, mail: Callable[[], Driver]) -> None:
    effects = await mail().run(DocumentReady(document_id=9, sheet_key="x", agent_code="0001", lead_ids=("A",)))
    assert [type(effect) for effect in effects] == [Rejected]


# Dead letters.


def dead(body: bytes = b"{}", headers: dict[str, Any] | None = None, **properties: Any) -> Delivery:
    return Delivery(tag=1, exchange="leads.dead", routing_key="ingest", body=body, headers=headers or {}, **properties)


async def bury(database: Database, *deliveries: Delivery) -> None:
    handler = deadletters.StoreDeadLetters()
    batch = {arrived.key: arrived for arrived in map(deadletters.read, deliveries)}
    async for piece in handler.prepare(database, list(batch.values())):
        async with database.begin() as tx:
            await handler.save(tx, piece)


async def test_what_the_broker_buried_says_so(database: Database) -> None:
    death = {"queue": "assigner.lots", "reason": "delivery_limit", "count": 1}
    await bury(database, dead(b'{"lead_id": "A"}', {"x-death": [death]}, type="lead.created"))

    assert await rows(
        database, "SELECT service, queue, event_type, lead_id, error_type, headers, attempts, status FROM dead_letters"
    ) == [("assigner", "assigner.lots", "lead.created", "A", "delivery_limit", {}, 1, "new")]
    assert "came back too often" in await scalar(database, "SELECT reason FROM dead_letters")


@pytest.mark.parametrize(
    ("body", "headers", "properties"),
    [
        (b"\xff\xfe\x00", {}, {}),
        (b'{"lead_id": "A\\u0000"}', {envelope.REASON: "nul \x00 and \ud800"}, {}),
        (b"{}", {envelope.ORIGIN_QUEUE: "in\x00gest \ud800", envelope.ERROR_TYPE: 7, envelope.REASON: 3}, {}),
        (b"{}", {"x-death": "not a list"}, {"type": "lead\x00.created", "correlation_id": "\x00"}),
        (b"{}", {"x-death": ["text"], "raw": b"\x00\xff", "deep": {"a": [1, None]}}, {"message_id": "\ud800"}),
        (b"{}", {envelope.FAILED_AT: "0001-01-01T00:00:00+14:00", envelope.FIRST_FAILED_AT: "soon"}, {}),
        (b'{"event_id": {"a": 1}, "lead_id": [1]}', {envelope.ATTEMPTS: "x", envelope.TRACEBACK: b"\x00"}, {}),
        (b"[1]" + b"[" * 100_000, {"long": "x" * 100_000}, {}),
    ],
)
async def test_whatever_is_in_a_dead_message_it_is_stored(
    database: Database, body: bytes, headers: dict[str, Any], properties: dict[str, Any]
) -> None:
    await bury(database, dead(body, headers, **properties))
    await bury(database, dead(body, headers, **properties))

    ((stored, text),) = await rows(database, "SELECT body, headers FROM dead_letters")
    assert bytes(stored) == body
    assert "\x00" not in json.dumps(text)


async def test_the_same_message_dying_again_is_one_row_and_open_again(database: Database) -> None:
    def times(attempts: int, at: str, reason: str) -> Delivery:
        headers = {envelope.ATTEMPTS: attempts, envelope.FAILED_AT: at, envelope.REASON: reason}
        return dead(b'{"event_id": "e1"}', headers)

    await bury(database, times(5, "2026-01-01T00:00:00+00:00", "first"))
    await bury(database, times(5, "2026-01-01T00:00:00+00:00", "first"))
    await execute(database, "UPDATE dead_letters SET status = 'resolved'")
    await bury(database, times(5, "2026-01-01T00:00:00+00:00", "redelivered"))
    assert await rows(database, "SELECT status, reason FROM dead_letters") == [("resolved", "first")]

    await bury(database, times(1, "2026-01-02T00:00:00+00:00", "second"))
    assert await rows(database, "SELECT status, reason, attempts FROM dead_letters") == [("new", "second", 5)]


# The sweep.


class Published:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.routes: list[str | None] = []

    async def publish(self, messages: list[Outgoing]) -> None:
        self.routes += [json.loads(each.body).get("route") for each in messages]


async def swept(database: Database) -> list[str | None]:
    published = Published()
    assert await sweep(database, published) == len(published.routes)  # type: ignore[arg-type]
    return published.routes


async def test_the_sweep_asks_for_routes_where_a_look_may_help(database: Database) -> None:
    await lay_out(database)
    assert await swept(database) == []
    await execute(database, "UPDATE assignments SET assignment_status_id = 1, route_id = 1, reason = 'x'")
    assert await swept(database) == []  # it came a moment ago

    await execute(database, "UPDATE assignments SET created_at = now() - interval '1 minute'")
    assert await swept(database) == ["all"]
    await execute(database, "UPDATE assignments SET retry_at = now() + interval '1 hour'")
    assert await swept(database) == []
    await execute(database, "UPDATE assignments SET retry_at = now() - interval '1 second'")
    assert await swept(database) == ["all"]
    for column in ("mode = 'lot'", "mode = 'stream', retry_pending = false"):
        await execute(database, f"UPDATE routes SET {column}")
        assert await swept(database) == []


async def test_the_sweep_asks_for_leads_on_no_route_where_one_may_help(database: Database) -> None:
    await lay_out(database)
    await execute(
        database,
        "UPDATE assignments SET assignment_status_id = 1, route_id = NULL, created_at = now() - interval '1 minute'",
    )
    await execute(database, "UPDATE routes SET store_code = 'S1'")
    assert await swept(database) == [None]  # nobody has looked at it
    await execute(database, "UPDATE assignments SET reason = 'no route matches'")
    assert await swept(database) == []
    await execute(database, "UPDATE routes SET store_code = NULL, source_id = 101")
    assert await swept(database) == [None]
    await execute(database, "UPDATE assignments SET route_id = 1")
    await execute(database, "UPDATE routes SET is_enabled = false")
    assert await swept(database) == []
