"""The core among odd things: strangers' queues, queues that vanish, rows of the dead, huge bodies, stops."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aio_pika
import pytest

from shared.db.session import open_database
from shared.events import LeadAccepted, LeadUnassigned
from shared.messaging import broker, outbox, topology
from shared.messaging.envelope import Outgoing
from shared.messaging.processing import Subscription
from shared.messaging.publisher import PublishError, open_publisher
from tests.conftest import sql
from tests.integration.core import SUBSCRIPTION, Insert, Replica, drain, effects, lay_out, publish, running
from tests.proxy import open_proxy
from tests.waiting import eventually


@pytest.fixture
async def core(amqp_url: str, database_url: str) -> tuple[str, str]:
    await lay_out(amqp_url, database_url)
    return database_url, amqp_url


@asynccontextmanager
async def channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as opened:
        yield opened


async def outbox_rows(database_url: str) -> int:
    return int((await asyncio.to_thread(sql, database_url, "SELECT count(*) FROM outbox"))[0][0])


async def are_saved(database_url: str, ids: list[str]) -> bool:
    return set(ids) <= await effects(database_url)


async def depth(amqp_url: str, queue: str) -> int:
    async with broker.connect(amqp_url, "looking") as connection:
        return await broker.queue_depth(connection, queue)


async def test_an_outsiders_full_queue_holds_up_nobody(core: tuple[str, str]) -> None:
    """What it makes the broker refuse goes to our own queues by another way, and counts as sent."""
    database_url, amqp_url = core
    full: Mapping[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with channel(amqp_url) as opened:
        queue = await opened.declare_queue("stranger", durable=True, arguments=dict(full))
        await queue.bind("leads", "lead.unassigned")
    ids = [f"lead{number}" for number in range(100)]

    async with running(database_url, amqp_url, Insert()):
        await publish(amqp_url, ids)
        await eventually(lambda: are_saved(database_url, ids), within=20)
        await eventually(lambda: is_empty(database_url), within=10)

    sent = Counter(message.correlation_id for message in await drain(amqp_url, "documents"))
    assert set(sent) == set(ids)
    assert sum(sent.values()) <= 2 * len(ids)


async def is_empty(database_url: str) -> bool:
    return await outbox_rows(database_url) == 0


async def test_a_queue_that_vanishes_is_waited_for(core: tuple[str, str]) -> None:
    """The broker cancels the consumer; it comes back when the queue is declared again."""
    database_url, amqp_url = core
    async with running(database_url, amqp_url, Insert()) as task:
        await publish(amqp_url, ["before"])
        await eventually(lambda: are_saved(database_url, ["before"]), within=10)
        async with channel(amqp_url) as opened:
            await opened.queue_delete("assigner")
        await asyncio.sleep(1)  # it meets a missing queue a few times
        assert not task.done()
        await lay_out(amqp_url, database_url)
        await publish(amqp_url, ["after"])
        await eventually(lambda: are_saved(database_url, ["after"]), within=10)


async def test_what_two_queues_take_waits_for_both(core: tuple[str, str]) -> None:
    """The broker confirms it to the one that is left; we do not. What other queues take goes on."""
    _, amqp_url = core
    for_both = Outgoing("lead.unassigned", b"{}")
    async with open_publisher(amqp_url, "test") as publisher, channel(amqp_url) as opened:
        await topology.bind(opened, "webhooks")
        await publisher.publish([for_both])
        for queue in ("documents", "webhooks"):
            await opened.queue_delete(queue)
            for _ in range(2):
                with pytest.raises(PublishError, match=f"the queue '{queue}' is missing: run `leadline setup`"):
                    await publisher.publish([for_both])
            await publisher.publish([Outgoing("lead.accepted", b"{}")])
            await topology.declare(opened)
            await topology.bind(opened, "webhooks")
            await asyncio.gather(*(publisher.publish([for_both]) for _ in range(10)))
    assert [len(await drain(amqp_url, queue)) for queue in ("documents", "webhooks")] == [22, 10]


async def test_retries_for_a_missing_queue_hold_up_nobody(core: tuple[str, str]) -> None:
    """They end among the dead by the alternate exchange; another queue's retries come back in time."""
    _, amqp_url = core
    async with open_publisher(amqp_url, "test") as publisher:
        for queue in (*["nowhere"] * 50, "notifier"):
            await publisher.publish([Outgoing(f"5s.{queue}", b"{}", exchange=topology.RETRY_EXCHANGE)])

    await eventually(lambda: depth(amqp_url, "notifier"), within=30)
    await eventually(lambda: has(amqp_url, "dead", 50), within=30)


def has_tried(handler: Insert, batches: int) -> bool:
    return len(handler.batches) >= batches


async def has(amqp_url: str, queue: str, count: int) -> bool:
    return await depth(amqp_url, queue) == count


async def test_an_event_that_no_queue_takes_stays_in_the_outbox(core: tuple[str, str]) -> None:
    """It goes once its queue is there; the consumer does not wait for it."""
    database_url, amqp_url = core
    async with channel(amqp_url) as opened:
        for queue in topology.queues_for("lead.assigned"):
            await opened.queue_delete(queue)
    async with running(database_url, amqp_url, Insert()):
        await publish(amqp_url, ["a"])
        await eventually(lambda: are_saved(database_url, ["a"]), within=10)
        await eventually(lambda: has(amqp_url, "assigner", 0), within=5)
        assert await outbox_rows(database_url) == 1
        await lay_out(amqp_url, database_url)
        await eventually(lambda: is_empty(database_url), within=30)

    assert [message.correlation_id for message in await drain(amqp_url, "documents")] == ["a"]


async def test_rows_of_a_dead_process_are_sent_by_another(core: tuple[str, str]) -> None:
    """Of whatever service, and of a type that nobody here knows; a transaction of many events has several rows."""
    database_url, amqp_url = core
    async with open_database(database_url) as database, database.begin() as tx:
        events = [LeadUnassigned(lead_id=f"lead{number}", revision=1, reason="test") for number in range(2_500)]
        rows = await outbox.add(tx, "somebody", events)
        assert [len(row.messages) for row in rows] == [1_000, 1_000, 500]
        await outbox.add(tx, "somebody", [LeadAccepted(lead_id="other", revision=1)])
    await asyncio.to_thread(sql, database_url, "UPDATE outbox SET types = '{lead.unheard_of}' WHERE keys = '{other}'")

    async with running(database_url, amqp_url, Insert()):
        await eventually(lambda: is_empty(database_url), within=20)

    assert len(await drain(amqp_url, "documents")) == 2_500


async def test_a_huge_body_is_dead_and_costs_little(core: tuple[str, str]) -> None:
    """Five megabytes: the others go through, the copy of the dead is whole, nothing is parsed."""
    database_url, amqp_url = core
    body = b'{"lead_id": "huge", "revision": 1, "filler": "' + b"x" * 5_000_000 + b'"}'
    tracemalloc.start()
    async with running(database_url, amqp_url, Insert()):
        async with open_publisher(amqp_url, "test") as publisher:
            await publisher.publish([Outgoing("lead.accepted", body)])
        await publish(amqp_url, ["a", "b"])
        await eventually(lambda: are_saved(database_url, ["a", "b"]), within=10)
        await eventually(lambda: has(amqp_url, "dead", 1), within=10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    (dead,) = await drain(amqp_url, "dead")
    assert dead.body == body
    assert "5,000,048 bytes" in str(dead.headers["x-error-reason"])
    assert peak < 100_000_000


async def test_a_stop_in_an_outage_is_prompt(core: tuple[str, str], tmp_path: Any) -> None:
    """SIGTERM while the database is waited for: the batch goes back to the queue, and the exit code is 0."""
    database_url, amqp_url = core
    async with open_proxy(database_url) as proxy:
        replica = Replica(proxy.url, amqp_url, tmp_path / "replica.log")
        await publish(amqp_url, ["a"])
        await eventually(lambda: are_saved(database_url, ["a"]), within=10)
        proxy.refuse()
        proxy.reset()
        await publish(amqp_url, ["b"])
        await eventually(lambda: "outage.begins" in replica.log, within=10)
        began = asyncio.get_running_loop().time()
        code = await asyncio.to_thread(replica.stop)

    assert code == 0
    assert asyncio.get_running_loop().time() - began < 15
    assert await depth(amqp_url, "assigner") == 1


async def test_the_breaker_holds_across_lost_connections(core: tuple[str, str]) -> None:
    """A connection that breaks while the breaker is open spends no attempt; once mended, all go through once."""
    database_url, amqp_url = core
    ids = [f"lead{number}" for number in range(30)]
    is_broken = True

    def break_all(lead_id: str) -> None:
        if is_broken:
            raise RuntimeError("column missing")

    handler = Insert(break_all)
    async with open_proxy(amqp_url) as proxy, running(database_url, proxy.url, handler, SUBSCRIPTION):
        await publish(amqp_url, ids)
        for _ in range(2):
            tried = len(handler.batches)
            await eventually(partial(has_tried, handler, tried + 3), within=40)
            proxy.reset()
        is_broken = False
        await eventually(lambda: are_saved(database_url, ids), within=60)
        await eventually(lambda: is_empty(database_url), within=20)

    assert not await drain(amqp_url, "retry.5s")
    assert not await drain(amqp_url, "dead")


async def test_a_broker_that_falls_silent_is_noticed(core: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats tell, and the consumer connects anew."""
    database_url, amqp_url = core
    monkeypatch.setattr(broker, "HEARTBEAT_S", 2)  # three and a half of them; with the usual ten it takes 35 s
    quick = Subscription("assigner", SUBSCRIPTION.events)
    async with open_proxy(amqp_url) as proxy, running(database_url, proxy.url, Insert(), quick) as task:
        await publish(amqp_url, ["a"])
        await eventually(lambda: are_saved(database_url, ["a"]), within=10)
        proxy.half_open()
        await publish(amqp_url, ["b"])
        await eventually(lambda: are_saved(database_url, ["b"]), within=60)
        assert not task.done()
