"""Whoever tells endpoints is killed, or races another: each is told, and told again under the same id only."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from services.cli.local.nodes import ROOT
from services.webhooks.consumer import TellEndpoints
from services.webhooks.sending import open_sender
from shared.db.session import Database
from shared.messaging import broker, topology
from shared.messaging.envelope import Outgoing
from shared.messaging.processing import Deferred
from shared.messaging.publisher import open_publisher
from tests.driving import Driver, message, of, rows
from tests.endpoints import Endpoint, listening, take_events
from tests.integration.test_webhooks import add, unassigned
from tests.nursery import OWNER
from tests.proxy import open_proxy
from tests.replica import Replica
from tests.waiting import eventually

TOLD = "SELECT event_id, status, attempts FROM webhook_deliveries ORDER BY webhook_id"
INHERITED = ("LEADLINE_", "POSTGRES_")


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with listening() as endpoint:
        yield endpoint


@contextmanager
def telling(database_url: str, amqp_url: str, folder: Path, number: int) -> Iterator[Replica]:
    """A process of the service."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(INHERITED)} | {
        "PYTHONPATH": str(ROOT),
        OWNER: str(os.getpid()),
        "LEADLINE_DATABASE_URL": database_url,
        "LEADLINE_AMQP_URL": amqp_url,
        "LEADLINE_WEBHOOKS_ALLOW_HTTP": "true",
    }
    replica = Replica("webhooks", number, ["services.webhooks"], environment, folder / f"webhooks-{number}.log")
    replica.start()
    try:
        yield replica
    finally:
        replica.kill()


async def publish(amqp_url: str, *events: Any) -> None:
    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish([Outgoing(event.type, event.to_json().encode()) for event in events])


async def lay_out(amqp_url: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
    await take_events(amqp_url)


async def waiting(amqp_url: str) -> int:
    """How many are ready for whoever comes next."""
    async with broker.connect(amqp_url, "looking") as connection:
        return await broker.queue_depth(connection, "webhooks")


async def test_killed_before_the_commit_and_after_it(
    database: Database, endpoint: Endpoint, database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    """Before it: told again, under the same id. After it and before the ack: not told again."""
    await lay_out(amqp_url)
    await add(database, endpoint.url)
    event = unassigned()
    endpoint.answers.clear()
    with telling(database_url, amqp_url, tmp_path, 1) as first:
        await publish(amqp_url, event)
        await eventually(lambda: len(endpoint.heard) == 1, within=30)
        first.kill()
    assert await rows(database, TOLD) == []

    async with open_proxy(amqp_url) as proxy:
        with telling(database_url, proxy.url, tmp_path, 2) as second:
            await eventually(lambda: len(endpoint.heard) == 2, within=30)
            proxy.half_open()  # its acknowledgement reaches nobody
            endpoint.answers.set()
            await eventually(lambda: rows(database, TOLD), within=30)
            second.kill()
    await eventually(lambda: waiting(amqp_url), within=30)

    with telling(database_url, amqp_url, tmp_path, 3) as third:
        await eventually(lambda: is_taken(amqp_url), within=30)
        assert await asyncio.to_thread(third.stop) == 0
    assert await waiting(amqp_url) == 0
    assert endpoint.ids == [event.event_id] * 2
    assert await rows(database, TOLD) == [(event.event_id, "sent", 1)]


async def is_taken(amqp_url: str) -> bool:
    return await waiting(amqp_url) == 0


async def test_two_replicas_that_have_the_same_event_at_once(database: Database, endpoint: Endpoint) -> None:
    """As when a channel is cut: both tell it, under one id. Told once is told, whatever the other one was answered."""
    await add(database, endpoint.url)
    event = unassigned()
    endpoint.codes = [200, 500]
    endpoint.answers.clear()
    async with open_sender(allow_private=True) as sender:
        one, other = Driver(database, TellEndpoints(sender)), Driver(database, TellEndpoints(sender))
        racing = [asyncio.create_task(each.run(message(event))) for each in (one, other)]
        await eventually(lambda: len(endpoint.heard) == 2, within=10)
        endpoint.answers.set()
        effects = [effect for each in await asyncio.gather(*racing) for effect in each]
        again = await other.run(message(event))

    assert [each.reason for each in of(effects, Deferred)] == ["webhook 1: HTTP 500"]
    assert (endpoint.ids, again) == ([event.event_id] * 2, [])
    ((event_id, status, _),) = await rows(database, TOLD)
    assert (event_id, status) == (event.event_id, "sent")
