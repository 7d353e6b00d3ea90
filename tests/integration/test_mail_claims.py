"""Who may send a mail, and when one that did not go is sent after all: real broker, database and mail server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aiosmtpd.smtp import SMTP

from services.cli.config import apply_config
from services.cli.configfile import read
from services.documents.consumer import MakeSheets
from services.notifier.consumer import SUBSCRIPTION, MailSheets, Piece
from services.notifier.mailer import Mailer, MailServer
from services.notifier.posting import Post
from services.notifier.templating import Templates
from services.scheduler.mails import ask_for_mails
from shared.db.session import Database, open_database
from shared.events import DocumentReady, NotificationSent
from shared.messaging import broker, topology
from shared.messaging.envelope import Message, Outgoing
from shared.messaging.publisher import open_publisher
from shared.sheetstore import SheetStore
from tests.driving import Driver, execute, of, rows, scalar
from tests.integration.core import consuming
from tests.mailserver import Server, running
from tests.nursery import OWNER
from tests.replica import Replica
from tests.sheets import give_away, lay_out
from tests.waiting import eventually

SENDER = "Leads <leads@example.com>"
ROOT = Path(__file__).parents[2]
QUEUES = ("notifier", "dead", *(f"retry.{rung}" for rung in topology.LADDER))


@pytest.fixture
async def amqp(amqp_url: str) -> str:
    """A virtual host with our queues."""
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
    return amqp_url


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(Server()) as server:
        yield server


class Notifier(MailSheets):
    """The handler, which keeps how many attempts each delivery had spent."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.attempts: list[int] = []

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        self.attempts += [each.delivery.attempts for each in batch]
        async with aclosing(super().prepare(database, batch)) as pieces:
            async for piece in pieces:
                yield piece


@pytest.fixture
async def notifier(store: SheetStore, server: Server) -> AsyncIterator[Callable[[], Notifier]]:
    """Makes replicas' handlers."""
    mailers: list[Mailer] = []

    def replica() -> Notifier:
        mailers.append(Mailer(MailServer("127.0.0.1", server.port)))
        return Notifier(Post(mailers[-1], store.read, Templates(), sender=SENDER), sender=SENDER, env="prod")

    yield replica
    for mailer in mailers:
        await mailer.close()


class Held:
    """Holds the first mail at the DATA stage until it is let go."""

    def __init__(self, server: Server) -> None:
        self.is_at_data = asyncio.Event()
        self.go_on = asyncio.Event()
        server.at_data = self._hold

    async def _hold(self, _smtp: SMTP) -> bool:
        if not self.is_at_data.is_set():
            self.is_at_data.set()
            await self.go_on.wait()
        return True


async def a_sheet(database: Database, store: SheetStore, **options: Any) -> DocumentReady:
    """A sheet on disk, and what documents tells of it."""
    effects = await Driver(database, MakeSheets(store)).run(await lay_out(database, **options))
    (event,) = of(effects, DocumentReady)
    assert isinstance(event, DocumentReady)
    return event


async def publish(amqp_url: str, event: DocumentReady) -> None:
    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish([Outgoing(event.type, event.to_json().encode(), event.key)])


async def waiting_in(amqp_url: str, *queues: str) -> dict[str, int]:
    """How many messages are ready in each queue that has any."""
    async with broker.connect(amqp_url, "looking") as connection:
        depths = {queue: await broker.queue_depth(connection, queue) for queue in queues}
    return {queue: depth for queue, depth in depths.items() if depth}


async def asked(database: Database) -> list[DocumentReady]:
    """What a sweep asks for, as the relay would send it."""
    count = await ask_for_mails(database, env="prod")
    found = await rows(database, "WITH gone AS (DELETE FROM outbox RETURNING *) SELECT bodies FROM gone ORDER BY id")
    events = [DocumentReady.model_validate_json(body) for (bodies,) in found for body in bodies]
    assert count == len(events)
    return events


async def status(database: Database) -> str | None:
    found: str | None = await scalar(database, "SELECT status FROM notifications")
    return found


# Claims.


async def test_a_claim_that_another_holds_spends_no_attempt(
    database: Database, amqp: str, store: SheetStore, server: Server, notifier: Callable[[], Notifier]
) -> None:
    """One replica is stuck at the DATA stage; the other, given the same, comes back to it until it is done."""
    event = await a_sheet(database, store)
    held, stuck, other = Held(server), notifier(), notifier()
    async with consuming(database, amqp, stuck, SUBSCRIPTION):
        await publish(amqp, event)
        await asyncio.wait_for(held.is_at_data.wait(), 30)
        async with consuming(database, amqp, other, SUBSCRIPTION):
            await publish(amqp, event)
            await eventually(lambda: len(other.attempts) >= 2, within=60)
            held.go_on.set()

            async def is_through() -> bool:
                return await status(database) == "sent" and not await waiting_in(amqp, *QUEUES)

            await eventually(is_through, within=60)

    assert set(other.attempts) == {0}
    assert len(server.mails) == 1
    assert await waiting_in(amqp, *QUEUES) == {}


async def test_a_frozen_notifier_holds_a_mail_no_longer_than_its_claim(
    database: Database,
    database_url: str,
    amqp: str,
    store: SheetStore,
    server: Server,
    notifier: Callable[[], Notifier],
    tmp_path: Path,
) -> None:
    """Another sends it; the frozen one, thawed at the DATA stage with the server's go-ahead, does not."""
    event = await a_sheet(database, store)
    held, other = Held(server), Driver(database, notifier())
    arguments = (database_url, amqp, str(server.port), str(tmp_path / "sheets"), "3")
    frozen = Replica(
        "notifier",
        1,
        ["tests.notifier_process", *arguments],
        {**os.environ, "PYTHONPATH": str(ROOT), OWNER: str(os.getpid())},
        tmp_path / "notifier.log",
    )
    frozen.start()
    try:
        await publish(amqp, event)
        await asyncio.wait_for(held.is_at_data.wait(), 60)
        frozen.freeze()

        async def sends() -> list[NotificationSent]:
            return of(await other.run(event), NotificationSent)

        await eventually(sends, within=60)
        held.go_on.set()
        frozen.thaw()
        await eventually(lambda: "outage.begins" in frozen.log.read_text(), within=60)
        assert await asyncio.to_thread(frozen.stop) == 0  # it says QUIT to the server in this thread
    finally:
        frozen.kill()

    assert len(server.mails) == 1
    assert await status(database) == "sent"
    assert (await waiting_in(amqp, *QUEUES)).keys() <= {"notifier"}  # it may not have come to acknowledge it


async def test_a_session_that_is_done_with_a_mail_may_be_idle(
    database_url: str, store: SheetStore, notifier: Callable[[], Notifier]
) -> None:
    """A pooled connection keeps neither the claim nor its end."""
    async with open_database(database_url, pool_size=1) as database:
        await Driver(database, notifier()).run(await a_sheet(database, store))
        assert await rows(database, "SHOW idle_session_timeout") == [("0",)]
        assert await scalar(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


# Mails that did not go.


async def test_an_address_set_by_config_apply_sends_what_waited(
    database: Database, amqp: str, store: SheetStore, server: Server, notifier: Callable[[], Notifier]
) -> None:
    """Once, however many sweeps ask, and by itself: the relay sends the request."""
    event = await a_sheet(database, store, email=None)
    async with consuming(database, amqp, notifier(), SUBSCRIPTION), consuming(database, amqp, notifier(), SUBSCRIPTION):
        await publish(amqp, event)
        await eventually(lambda: is_status(database, "waiting"), within=30)
        assert await ask_for_mails(database, env="prod") == 0

        config = read('agents: [{code: "0001", name: Asha, email: asha@example.com}]', file="agents.yaml")
        await apply_config(database, config, actor="asha")
        assert sorted(await asyncio.gather(*(ask_for_mails(database, env="prod") for _ in range(3)))) == [0, 0, 1]
        await eventually(lambda: is_status(database, "sent"), within=30)
        assert await ask_for_mails(database, env="prod") == 0

    assert [recipients for _, recipients, _ in server.mails] == [["asha@example.com"]]


async def is_status(database: Database, expected: str) -> bool:
    return await status(database) == expected


async def test_a_reopened_leads_mail_goes_once(
    database: Database, store: SheetStore, server: Server, notifier: Callable[[], Notifier]
) -> None:
    """Void while the lead is closed, sent when it is its agent's again, and not a second time."""
    driver = Driver(database, notifier())
    event = await a_sheet(database, store)
    await execute(database, "UPDATE assignments SET assignment_status_id = 4")
    await driver.run(event)
    assert await status(database) == "void"
    assert await asked(database) == []

    for _ in range(2):
        await execute(database, "UPDATE assignments SET assignment_status_id = 2")
        await driver.run(*await asked(database))
        assert (await status(database), len(server.mails)) == ("sent", 1)
        await execute(database, "UPDATE assignments SET assignment_status_id = 4")
        await driver.run(event)


async def test_a_mail_that_becomes_void_again_is_asked_for_again(
    database: Database, store: SheetStore, server: Server, notifier: Callable[[], Notifier]
) -> None:
    """Closed between the request and the mail, then reopened once more."""
    driver = Driver(database, notifier())
    event = await a_sheet(database, store)
    await execute(database, "UPDATE assignments SET assignment_status_id = 4")
    await driver.run(event)
    await execute(database, "UPDATE assignments SET assignment_status_id = 2")
    (request,) = await asked(database)
    await execute(database, "UPDATE assignments SET assignment_status_id = 4")
    await driver.run(request)
    assert await asked(database) == []

    await execute(database, "UPDATE assignments SET assignment_status_id = 2")
    await driver.run(*await asked(database))
    assert len(server.mails) == 1


@pytest.mark.parametrize("wrong", ["no address", "gone@example.com"])
async def test_a_corrected_address_gets_the_mail_that_failed(
    database: Database, store: SheetStore, server: Server, notifier: Callable[[], Notifier], wrong: str
) -> None:
    driver = Driver(database, notifier())
    await driver.run(await a_sheet(database, store, email=wrong))
    assert await status(database) == "failed"
    assert await asked(database) == []

    await execute(database, "UPDATE agents SET email = 'asha@example.com'")
    await driver.run(*await asked(database))
    assert await status(database) == "sent"
    assert [recipients for _, recipients, _ in server.mails] == [["asha@example.com"]]


async def test_a_mail_on_the_ladder_is_left_to_it(
    database: Database, store: SheetStore, notifier: Callable[[], Notifier]
) -> None:
    await Driver(database, notifier()).run(await a_sheet(database, store, email="full@example.com"))
    assert await status(database) == "waiting"
    assert await asked(database) == []


async def test_an_agent_who_has_the_mail_gets_no_second_one_at_a_new_address(
    database: Database, store: SheetStore, server: Server, notifier: Callable[[], Notifier]
) -> None:
    driver = Driver(database, notifier())
    event = await a_sheet(database, store)
    await driver.run(event)
    await execute(database, "UPDATE agents SET email = 'asha@example.org'")
    await driver.run(event)
    assert (len(server.mails), await asked(database)) == (1, [])


async def test_a_waiting_mail_of_a_lead_that_is_anothers_is_not_asked_for(
    database: Database, store: SheetStore, notifier: Callable[[], Notifier]
) -> None:
    await Driver(database, notifier()).run(await a_sheet(database, store, email=None))
    await execute(database, "UPDATE agents SET email = 'asha@example.com'")
    await give_away(database)
    assert await asked(database) == []
