"""Frames as we write and read them are those that pamqp, the client's library, writes and reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body as content
from pamqp import commands, frame, header

from shared.messaging import frames
from shared.messaging.envelope import Outgoing

FRAME_MAX = 4_096
short_texts = st.text(max_size=40)
#: What pamqp takes for an exchange.
names = st.from_regex(r"[a-zA-Z0-9._:-]{0,40}", fullmatch=True)
values = st.one_of(st.text(max_size=50), st.integers(-(2**31), 2**31 - 1), st.booleans())
tables = st.dictionaries(st.text(min_size=1, max_size=20), values, max_size=4)
messages = st.builds(
    Outgoing,
    routing_key=short_texts,
    body=st.binary(max_size=10_000),
    key=st.none() | st.text(max_size=300),
    exchange=short_texts,
    headers=tables,
    type=st.none() | st.text(min_size=1, max_size=40),
    is_mandatory=st.booleans(),
)


def unmarshalled(data: bytes) -> list[Any]:
    found = []
    while data:
        size, channel, each = frame.unmarshal(data)
        assert channel == 3
        found.append(each)
        data = data[size:]
    return found


@given(messages)
def test_what_we_publish_is_what_pamqp_reads(message: Outgoing) -> None:
    """Address, properties, headers and body; the body in as many frames as it takes."""
    data = frames.published(message, "test", "id-1", channel=3, frame_max=FRAME_MAX)
    publish, head, *bodies = unmarshalled(data)

    key = (message.key or "").encode()
    assert isinstance(publish, commands.Basic.Publish)
    assert (publish.exchange, publish.routing_key) == (message.exchange, message.routing_key)
    assert bool(publish.mandatory) is message.is_mandatory
    properties = head.properties
    assert properties.delivery_mode == 2
    assert (properties.message_id, properties.app_id) == ("id-1", "test")
    assert properties.message_type == (message.type or message.routing_key)
    assert properties.correlation_id == (key.decode() if 0 < len(key) <= 255 else None)
    assert properties.headers == dict(message.headers)
    assert b"".join(each.value for each in bodies) == message.body
    assert all(len(each.value) <= FRAME_MAX - frames.FRAME_EXTRA for each in bodies)


properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.text(min_size=1, max_size=20),
        "content_encoding": st.text(min_size=1, max_size=20),
        "headers": tables,
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 9),
        "correlation_id": st.text(min_size=1, max_size=40),
        "reply_to": st.text(min_size=1, max_size=20),
        "expiration": st.just("1000"),
        "message_id": st.text(min_size=1, max_size=40),
        "message_type": st.text(min_size=1, max_size=40),
        "user_id": st.just("guest"),
        "app_id": st.text(min_size=1, max_size=20),
    },
)


@given(properties, st.integers(1, 2**63 - 1), st.booleans(), names, short_texts, st.binary(max_size=100))
def test_what_pamqp_writes_is_what_we_read(
    given_properties: dict[str, Any], tag: int, is_redelivered: bool, exchange: str, routing_key: str, body: bytes
) -> None:
    """Whatever properties a stranger sets."""
    deliver = commands.Basic.Deliver("ctag", tag, is_redelivered, exchange, routing_key)
    head = header.ContentHeader(0, len(body), commands.Basic.Properties(**given_properties))
    payloads = [frame.marshal(each, 1)[frames.FRAME.size : -1] for each in (deliver, head, content.ContentBody(body))]

    read = frames.delivery(*payloads)

    assert frames.body_size(payloads[1]) == len(body)
    assert (read.tag, read.exchange, read.routing_key, read.body) == (tag, exchange, routing_key, body)
    assert read.is_redelivered is is_redelivered
    assert read.headers == given_properties.get("headers", {})
    assert read.type == given_properties.get("message_type")
    for name in ("content_type", "correlation_id", "message_id"):
        assert getattr(read, name) == given_properties.get(name)
    assert frames.returned_id(payloads[1]) == given_properties.get("message_id")


@pytest.mark.parametrize("multiple", [True, False])
@pytest.mark.parametrize("kind", [commands.Basic.Ack, commands.Basic.Nack])
def test_a_confirm_is_read(kind: type[Any], multiple: bool) -> None:
    """A nack has a second bit, which says nothing to a publisher."""
    payload = frame.marshal(kind(7, multiple), 1)[frames.FRAME.size : -1]

    assert payload[:4] in {frames.ACK, frames.NACK}
    assert frames.confirm(payload) == (7, multiple)


def test_headers_that_cannot_be_read_are_none() -> None:
    """A table of a type that AMQP does not have, and text that is no UTF-8."""
    assert frames._table(b"\x00\x00\x00\x03\x01a?") == {}
    assert frames._table(b"\x00\x00\x00\x08\x01\xffS\x00\x00\x00\x01a") == {}


def test_text_that_is_no_utf8_is_read_all_the_same() -> None:
    """A routing key may be any bytes: it hurts only its own message."""
    deliver = frames.DELIVER + b"\x01c" + b"\x00" * 8 + b"\x00" + b"\x01\xff" + b"\x01\xfe"
    head = frames._BASIC + b"\x00" * 8 + b"\x00\x00"

    assert frames.delivery(deliver, head, b"{}").routing_key == "\N{REPLACEMENT CHARACTER}"


def test_a_short_string_over_255_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="255"):
        frames.published(Outgoing("x" * 256, b"{}"), "test", "1", channel=1, frame_max=FRAME_MAX)


@given(st.integers(1, 2**63 - 1), st.booleans(), st.integers(1, 2_047))
def test_what_settles_is_what_the_library_makes(tag: int, is_multiple: bool, channel: int) -> None:
    made = frame.marshal(commands.Basic.Ack(tag, is_multiple), channel)
    assert frames.acknowledged(tag, is_multiple=is_multiple, channel=channel) == made
    made = frame.marshal(commands.Basic.Nack(tag, requeue=True), channel)
    assert frames.handed_back(tag, channel=channel) == made
