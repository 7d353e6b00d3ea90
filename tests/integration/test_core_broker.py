"""The core and a broker that restarts, falls silent, or a lock that somebody holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import asyncpg
import pytest

from services.cli.local.nodes import Nodes
from services.webhooks.consumer import SUBSCRIPTION as WEBHOOKS
from services.webhooks.consumer import TellEndpoints
from services.webhooks.sending import open_sender
from shared.db.session import Database, open_database
from shared.events import LeadUnassigned, OutcomeRecorded
from shared.messaging import broker, outbox
from shared.messaging.envelope import Outgoing
from shared.messaging.publisher import Dispatch, PublishError, open_publisher
from shared.messaging.relay import sweep
from shared.messaging.watchdog import Vigilance
from tests.conftest import VirtualHosts, sql
from tests.endpoints import Endpoint, listening, take_events
from tests.integration.core import (
    SUBSCRIPTION,
    Ground,
    Insert,
    consuming,
    drain,
    effects,
    ground_on,
    lay_out,
    publish,
    running,
)
from tests.integration.test_webhooks import add
from tests.proxy import open_proxy
from tests.shortage import no_disk_left
from tests.waiting import eventually

MANY = 10_000
TOLD = 200
#: The broker keeps what a queue's leader knew of 3 s ago.
SETTLED_S = 3


@pytest.fixture(scope="module")
def ground(nodes: Nodes, template: str, vhosts: VirtualHosts) -> Iterator[Ground]:
    with ground_on(nodes, template, vhosts) as ground:
        yield ground


async def saved(database_url: str, least: int) -> bool:
    return len(await effects(database_url)) >= least


async def is_outbox_empty(database_url: str) -> bool:
    (row,) = await asyncio.to_thread(sql, database_url, "SELECT count(*) FROM outbox")
    return bool(row["count"] == 0)


async def assert_once(amqp_url: str, lead_ids: list[str]) -> None:
    """Each lead's event was made once, whatever often it was sent; no attempt is spent."""
    bodies: dict[str, set[bytes]] = {}
    for message in await drain(amqp_url, "documents"):
        bodies.setdefault(message.correlation_id or "", set()).add(message.body)
    assert bodies.keys() == set(lead_ids)
    assert max(len(each) for each in bodies.values()) == 1
    assert [await drain(amqp_url, queue) for queue in ("dead", "retry.5s")] == [[], []]


async def test_a_broker_that_is_killed_with_ten_thousand_messages_in_flight(ground: Ground) -> None:
    """Webhooks that are sent meanwhile arrive too, each once or again under the same id."""
    database_url, amqp_url = ground.take()
    await lay_out(amqp_url, database_url)
    lead_ids = [f"lead{number}" for number in range(MANY)]
    outcomes = [
        OutcomeRecorded(lead_id=f"told{number}", revision=1, lead_assignment_code="L2601010001-1")
        for number in range(TOLD)
    ]
    await take_events(amqp_url)
    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish([Outgoing(each.type, each.to_json().encode()) for each in outcomes])
    await publish(amqp_url, lead_ids)
    await asyncio.sleep(SETTLED_S)  # younger quorum queues may not survive a kill
    async with running(database_url, amqp_url, Insert()), telling(database_url, amqp_url) as endpoint:
        await eventually(lambda: saved(database_url, 500), within=60)
        await eventually(lambda: endpoint.heard, within=20)
        await asyncio.to_thread(ground.nodes.broker.kill)
        endpoint.answers.set()
        before = len(await effects(database_url))
        await asyncio.to_thread(ground.nodes.broker.start)
        await eventually(lambda: saved(database_url, MANY), within=60)
        await eventually(lambda: is_outbox_empty(database_url), within=60)
        await eventually(lambda: set(endpoint.ids) == {each.event_id for each in outcomes}, within=60)
    assert before < MANY
    await assert_once(amqp_url, lead_ids)
    told = await asyncio.to_thread(sql, database_url, "SELECT status, count(*) FROM webhook_deliveries GROUP BY 1")
    assert [tuple(each) for each in told] == [("sent", TOLD)]


@asynccontextmanager
async def telling(database_url: str, amqp_url: str) -> AsyncIterator[Endpoint]:
    """An endpoint that webhooks are sent to, and that answers none until it is told to."""
    async with (
        listening() as endpoint,
        open_sender(allow_private=True) as sender,
        open_database(database_url) as database,
    ):
        endpoint.answers.clear()
        await add(database, endpoint.url, "outcome.recorded")
        async with consuming(database, amqp_url, TellEndpoints(sender), WEBHOOKS):
            yield endpoint


async def test_a_broker_that_is_gone_without_a_word(ground: Ground) -> None:
    """The client's connection is half open; the watchdog sees before any heartbeat that nobody consumes."""
    database_url, amqp_url = ground.take()
    await lay_out(amqp_url, database_url)
    watched = replace(SUBSCRIPTION, vigilance=Vigilance(every_s=0.5))
    async with open_proxy(amqp_url) as proxy, running(database_url, proxy.url, Insert(), watched):
        await publish(amqp_url, ["before"])
        await eventually(lambda: saved(database_url, 1), within=20)
        proxy.half_open()
        await publish(amqp_url, ["after"])
        await eventually(lambda: saved(database_url, 2), within=30)
        await eventually(lambda: is_outbox_empty(database_url), within=60)
    await assert_once(amqp_url, ["before", "after"])


async def test_a_broker_that_is_slow(ground: Ground) -> None:
    """All it says and hears is a quarter of a second late: nothing is wrong, nothing is given up or done twice."""
    database_url, amqp_url = ground.take()
    await lay_out(amqp_url, database_url)
    lead_ids = [f"lead{number}" for number in range(20)]
    watched = replace(SUBSCRIPTION, vigilance=Vigilance(every_s=0.5))
    async with open_proxy(amqp_url) as proxy:
        proxy.delay_s = 0.25
        async with running(database_url, proxy.url, Insert(), watched):
            await publish(amqp_url, lead_ids)
            await eventually(lambda: saved(database_url, len(lead_ids)), within=30)
            await eventually(lambda: is_outbox_empty(database_url), within=30)
            proxy.delay_s = 0
    await assert_once(amqp_url, lead_ids)


async def test_a_broker_without_disk_puts_no_row_off(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so only to who publishes: a relay that has not published yet asks before it claims what is due."""
    monkeypatch.setattr(broker, "CONFIRM_TIMEOUT_S", 2)
    database_url, amqp_url = ground.take()
    await lay_out(amqp_url, database_url)
    async with open_database(database_url) as database, open_publisher(amqp_url, "test") as publisher:
        async with database.begin() as tx:
            await outbox.add(tx, "somebody", [LeadUnassigned(lead_id="a", revision=1, reason="test")], is_left=True)
        dispatch = Dispatch(publisher)
        async with no_disk_left(ground.nodes.broker):
            for _ in range(2):
                with pytest.raises(PublishError, match="short of disk or memory"):
                    await sweep(database, dispatch)
            assert await asyncio.to_thread(sql, database_url, "SELECT 1 FROM outbox WHERE attempts > 0") == []
        await eventually(lambda: can_sweep(database, dispatch), within=10)
        await dispatch.settled(10)
        assert len(dispatch.confirmed) == 1
    assert await drain(amqp_url, "dead") == []


async def can_sweep(database: Database, dispatch: Dispatch) -> bool:
    with suppress(PublishError):
        await sweep(database, dispatch)
        return True
    return False


async def test_a_lock_that_is_held_holds_up_one_batch(ground: Ground) -> None:
    """Its statement is cut again and again; another replica goes on, and what waited is through when it is let go."""
    database_url, amqp_url = ground.take()
    await lay_out(amqp_url, database_url)
    holder = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    held = holder.transaction()
    await held.start()
    await holder.execute("INSERT INTO effects (lead_id) VALUES ('held')")
    singly = replace(SUBSCRIPTION, batch_size=1)
    others = [f"lead{number}" for number in range(50)]
    async with running(database_url, amqp_url, Insert(), singly), running(database_url, amqp_url, Insert(), singly):
        await publish(amqp_url, ["held", *others])
        await eventually(lambda: saved(database_url, 45), within=15)
        await held.rollback()
        await eventually(lambda: saved(database_url, 51), within=30)
    await holder.close()
    await assert_once(amqp_url, ["held", *others])
