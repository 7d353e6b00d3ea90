"""The stream of one connection's bytes, sorted: deliveries and confirms of tapped channels, the rest to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body as content
from pamqp import commands, frame, header, heartbeat

from shared.messaging.envelope import Delivery
from shared.messaging.wire import Refused, Tap, Unconfirmed, Unroutable, Wire

TAPPED, OTHER = 1, 2


def message(tag: int, body: bytes, *, channel: int = TAPPED, part: int = 50) -> list[bytes]:
    """A delivery's frames, its body in parts."""
    return [
        frame.marshal(commands.Basic.Deliver("ctag", tag, False, "leads", "lead.created"), channel),
        frame.marshal(header.ContentHeader(0, len(body), commands.Basic.Properties(message_id=f"m{tag}")), channel),
        *(
            frame.marshal(content.ContentBody(body[start : start + part]), channel)
            for start in range(0, len(body), part)
        ),
    ]


class Client:
    """Where the stream goes, as the client reads it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reader = asyncio.StreamReader(loop=loop)
        self.wire = Wire(self.reader, loop)
        self.tap = Tap()
        self.wire.tap(TAPPED, self.tap)

    async def left(self) -> bytes:
        """What the client got, without the heartbeats that keep it from thinking the connection dead."""
        self.reader.feed_eof()
        return (await self.reader.read()).replace(heartbeat.Heartbeat().marshal(), b"")


@given(st.lists(st.binary(max_size=200), max_size=5), st.lists(st.integers(1, 60), min_size=1, max_size=50))
async def test_deliveries_are_whole_however_the_bytes_are_cut(bodies: Sequence[bytes], cuts: Sequence[int]) -> None:
    """In order, each once; frames of other channels, between those of one message too, are the client's."""
    client = Client(asyncio.get_running_loop())
    got: list[Delivery] = []
    client.tap.on_delivery = got.append
    strangers = [each for tag in range(len(bodies)) for each in message(tag, b"other", channel=OTHER)]
    ours = [each for tag, body in enumerate(bodies, 1) for each in message(tag, body)]
    stream = b"".join(each for pair in zip_longest(ours, strangers) for each in pair if each)

    place = 0
    for cut in (*cuts, len(stream)):
        client.wire.data_received(stream[place : place + cut])
        place += cut

    assert [(each.tag, each.body) for each in got] == list(enumerate(bodies, 1))
    assert await client.left() == b"".join(strangers)


async def test_nothing_is_taken_from_a_channel_that_nobody_consumes_on() -> None:
    """Answers to calls, confirms and deliveries of channels that the client manages itself."""
    client = Client(asyncio.get_running_loop())
    answers = [frame.marshal(each, TAPPED) for each in (commands.Basic.QosOk(), commands.Basic.Ack(1))]
    stream = b"".join([*answers, *message(1, b"{}")])

    client.wire.data_received(stream)

    assert await client.left() == stream


async def test_a_channel_that_is_untapped_is_the_clients_again() -> None:
    client = Client(asyncio.get_running_loop())
    client.tap.on_delivery = lambda delivery: pytest.fail(f"{delivery} was taken")
    client.wire.untap(TAPPED, Tap())  # another's: nothing happens
    client.wire.untap(TAPPED, client.tap)
    stream = b"".join(message(1, b"{}"))

    client.wire.data_received(stream)

    assert await client.left() == stream


async def test_another_protocols_greeting_is_the_clients() -> None:
    client = Client(asyncio.get_running_loop())

    client.wire.data_received(b"AMQP\x00\x00\x09\x01")

    assert await client.left() == b"AMQP\x00\x00\x09\x01"


async def test_the_client_is_told_that_the_connection_lives() -> None:
    """It sees nothing of what is taken out of the stream, and would end a connection that is silent."""
    client = Client(asyncio.get_running_loop())
    client.tap.on_delivery = lambda delivery: None

    client.wire.data_received(b"".join(message(1, b"{}")))

    client.reader.feed_eof()
    assert await client.reader.read() == heartbeat.Heartbeat().marshal()


# Confirms.

answers = st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.booleans()), max_size=30)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), answers)
async def test_every_message_has_the_first_answer_that_meant_it(
    sizes: Sequence[int], given_answers: Sequence[tuple[int, bool, bool]]
) -> None:
    """Singly or all up to a tag, in any order, ack or nack: as counted by hand."""
    unconfirmed = Unconfirmed()
    batches = [unconfirmed.add([f"{size}.{number}" for number in range(size)]) for size in sizes]
    expected: dict[int, bool] = {}

    for tag, is_multiple, is_refused in given_answers:
        unconfirmed.settle(tag, is_multiple, Refused() if is_refused else None)
        for each in range(1 if is_multiple else tag, min(tag, sum(sizes)) + 1):
            expected.setdefault(each, is_refused)

    for batch in batches:
        tags = range(batch.first_tag, batch.last_tag + 1)
        assert [not is_open for is_open in batch.is_open] == [tag in expected for tag in tags]
        assert [index in batch.problems for index in range(len(tags))] == [expected.get(tag, False) for tag in tags]
        assert batch.settled.done() == all(tag in expected for tag in tags)


async def test_a_returned_message_is_found_by_its_id() -> None:
    """Its confirm follows; it alone is unroutable."""
    client = Client(asyncio.get_running_loop())
    client.tap.unconfirmed = Unconfirmed()
    batch = client.tap.unconfirmed.add(["m1", "m2", "m3"])
    properties = commands.Basic.Properties(message_id="m2")
    returned: list[Any] = [
        commands.Basic.Return(312, "NO_ROUTE", "leads", "lead.lost"),
        header.ContentHeader(0, 2, properties),
        content.ContentBody(b"{}"),
        commands.Basic.Ack(3, True),
    ]

    client.wire.data_received(b"".join(frame.marshal(each, TAPPED) for each in returned))

    assert batch.settled.done()
    assert {index: type(problem) for index, problem in batch.problems.items()} == {1: Unroutable}


async def test_what_is_open_on_a_lost_channel_has_failed() -> None:
    """What was confirmed before is not."""
    unconfirmed = Unconfirmed()
    batch = unconfirmed.add(["m1", "m2"])
    unconfirmed.settle(1, is_multiple=False)

    unconfirmed.lost()

    assert batch.settled.done()
    assert {index: type(problem) for index, problem in batch.problems.items()} == {1: ConnectionError}
