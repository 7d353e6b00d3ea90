"""Our wire under the client that is installed, against the real broker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.messaging import broker, topology
from shared.messaging.broker import BROKER_ERRORS, Refused, Unroutable
from shared.messaging.envelope import Delivery, Outgoing
from tests.waiting import eventually

FULL: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish", "x-queue-type": "quorum"}


async def test_a_batch_is_answered_message_by_message(amqp_url: str) -> None:
    """One without a queue, one that a full queue refuses, one that no frame can hold: each alone is not confirmed."""
    async with broker.connect(amqp_url, "test") as connection:
        async with connection.channel() as channel:
            await topology.declare(channel)
            full = await channel.declare_queue("full", durable=True, arguments=FULL)
            await full.bind("leads", "lead.full")
        publishing = await broker.open_publishing_channel(connection)
        await publishing.publish([Outgoing("lead.full", b"{}")] * 5, "test")  # quorum queues refuse a little late

        good = Outgoing("lead.created", b"{}")
        batch = [
            good,
            Outgoing("lead.nobodys", b"{}"),
            Outgoing("lead.full", b"{}"),
            Outgoing("lead.created", b"{}", headers={"a": object()}),
            good,
        ]
        problems = await publishing.publish(batch, "test")

        assert [type(problem) for problem in problems] == [type(None), Unroutable, Refused, TypeError, type(None)]
        assert await broker.queue_depth(connection, "ingest") == 2


async def test_messages_arrive_as_they_were_sent(amqp_url: str) -> None:
    """In order, whole, also what takes several frames, nothing, or headers of all kinds."""
    bodies = [b"x" * 300_000, b"", *(b"%d" % number for number in range(1_000))]
    headers = {"traceparent": "00-ab-cd-01", "count": 7, "nested": {"list": [1, "two"]}}
    got: list[Delivery] = []
    async with broker.connect(amqp_url, "test") as connection:
        async with connection.channel() as channel:
            await topology.declare(channel)
        publishing = await broker.open_publishing_channel(connection)
        sent = [Outgoing("lead.created", body, "X1", headers=headers) for body in bodies]
        assert set(await publishing.publish(sent, "test")) == {None}

        async with broker.open_consumer_channel(connection) as consuming:
            await consuming.consume("ingest", prefetch=2_000, on_delivery=got.append)
            await eventually(lambda: len(got) >= len(bodies), within=20)
            await consuming.cancel()

    assert [each.body for each in got] == bodies
    assert {(each.routing_key, each.type, each.correlation_id) for each in got} == {
        ("lead.created", "lead.created", "X1")
    }
    assert all(each.headers == headers for each in got)


async def test_what_is_handed_back_is_not_acknowledged_with_what_came_after_it(amqp_url: str) -> None:
    """An acknowledgement of all up to a tag comes behind the return of one of them."""
    got: list[Delivery] = []
    async with broker.connect(amqp_url, "test") as connection:
        async with connection.channel() as channel:
            await topology.declare(channel)
        publishing = await broker.open_publishing_channel(connection)
        await publishing.publish([Outgoing("lead.created", b"%d" % number) for number in range(5)], "test")
        async with broker.open_consumer_channel(connection) as consuming:
            await consuming.consume("ingest", prefetch=5, on_delivery=got.append)
            await eventually(lambda: len(got) == 5)
            await consuming.cancel()
            consuming.hand_back(got[1].tag)
            consuming.ack(got[3].tag, is_multiple=True)
        left: list[Delivery] = []
        async with broker.open_consumer_channel(connection) as consuming:
            await consuming.consume("ingest", prefetch=5, on_delivery=left.append)
            await eventually(lambda: len(left) == 2)

    assert sorted(each.body for each in left) == [b"1", b"4"]


async def test_a_connection_that_is_lost_fails_what_is_unconfirmed(amqp_url: str) -> None:
    """Nobody waits for a confirm that will not come."""
    async with broker.connect(amqp_url, "test") as connection:
        async with connection.channel() as channel:
            await topology.declare(channel)
        publishing = await broker.open_publishing_channel(connection)
        published = asyncio.create_task(publishing.publish([Outgoing("lead.created", b"{}")] * 20_000, "test"))
        await asyncio.sleep(0)
        connection.wire._line.abort()  # type: ignore[attr-defined]

        problems = await asyncio.wait_for(published, 5)

        assert any(isinstance(problem, BROKER_ERRORS) for problem in problems)


async def test_what_is_asked_of_a_lost_connection_is_an_outage(amqp_url: str) -> None:
    """Whoever speaks when the client has closed it already: it has other words for that, which are nobody's outage."""
    async with broker.connect(amqp_url, "test") as connection:
        publishing = await broker.open_publishing_channel(connection)
        unopened = connection.channel()
        connection.wire._line.abort()  # type: ignore[attr-defined]
        await eventually(lambda: publishing.is_closed)

        (problem,) = await publishing.publish([Outgoing("lead.created", b"{}")], "test")
        assert isinstance(problem, BROKER_ERRORS)
        with pytest.raises(BROKER_ERRORS):
            await broker.QueueLook(connection).missing(["ingest"])
        with pytest.raises(BROKER_ERRORS):
            await unopened
        with pytest.raises(BROKER_ERRORS):
            async with broker.open_consumer_channel(connection):
                raise AssertionError("a lost connection has given a channel")
