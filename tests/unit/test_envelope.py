"""What is around an event on the wire: read tolerantly, written so that the broker takes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame, header

from shared.events import LeadAccepted
from shared.messaging.envelope import (
    ATTEMPTS,
    BROKER_HEADERS,
    FIRST_FAILED_AT,
    ORIGIN_MESSAGE_ID,
    ORIGIN_QUEUE,
    REASON,
    TRACEBACK,
    Delivery,
    Failure,
    Invalid,
    Message,
    Outgoing,
    copy_of,
    failed_copy,
    new_message_id,
    read,
)
from shared.messaging.frames import published

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
FRAME_MAX_BYTES = 131_072
EVENT = {"lead_id": "X1", "revision": 3}


def a_delivery(body: object = EVENT, /, **changes: Any) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    values = {"tag": 1, "exchange": "leads", "routing_key": "lead.accepted", "headers": {}, **changes}
    return Delivery(body=raw, **values)


def a_failed_copy(delivery: Delivery, failure: Failure | None = None) -> Outgoing:
    return failed_copy(
        delivery,
        queue="assigner",
        exchange="leads.retry",
        routing_key="5s.assigner",
        attempts=delivery.attempts + 1,
        failure=failure or Failure("it failed", "ValueError", "Traceback …"),
        now=NOW,
    )


def on_the_wire(message: Outgoing) -> bytes:
    """All frames of a message."""
    return published(message, "test", new_message_id(), channel=1, frame_max=FRAME_MAX_BYTES)


@pytest.mark.parametrize(
    "delivery",
    [
        a_delivery(),
        a_delivery(exchange="leads.requeue", routing_key="5s.assigner", type="lead.accepted"),
        a_delivery(
            {"specversion": "1.0", "id": "e1", "data": EVENT},
            content_type="application/cloudevents+json; charset=utf-8",
        ),
        a_delivery(headers={"cloudEvents_id": "e1", "cloudEvents_specversion": "1.0"}),
        a_delivery(headers={"cloudEvents:id": "e1"}),
    ],
)
def test_an_event_is_found_however_it_is_wrapped(delivery: Delivery) -> None:
    """Plain, as a copy of ours, as a structured CloudEvent and as a binary one."""
    message = read(delivery, ["lead.accepted"])

    assert isinstance(message, Message)
    assert isinstance(message.event, LeadAccepted)
    assert message.key == "X1"


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (a_delivery({"id": "e1", "data": EVENT}, content_type="application/cloudevents+json"), "e1"),
        (a_delivery(headers={"cloudEvents_id": "e1"}), "e1"),
        (a_delivery(headers={"cloudEvents:id": "e1"}), "e1"),
        (a_delivery({**EVENT, "event_id": "own"}, headers={"cloudEvents_id": "e1"}), "own"),
    ],
)
def test_a_cloudevents_id_is_the_events(given_: Delivery, expected: str) -> None:
    """Unless the event has one of its own."""
    message = read(given_, ["lead.accepted"])

    assert isinstance(message, Message)
    assert message.event.event_id == expected


@pytest.mark.parametrize(
    ("delivery", "word"),
    [
        (a_delivery(b"not json"), "no JSON from line 1"),
        (a_delivery(b'{"lead_id": "\xff"}'), "byte 14 is not"),
        (a_delivery(b""), "is empty"),
        (a_delivery([1]), "one JSON object"),
        (a_delivery({"revision": 1}), "lead_id"),
        (a_delivery({**EVENT, "lead_id": "x" * 10_000}), "128 bytes"),
        (a_delivery({**EVENT, "lead_id": "a\x00b"}), "control characters"),
        (a_delivery(b'{"lead_id": "\\ud800", "revision": 1}'), "half a character"),
        (a_delivery(b" " * 1_048_577), "1,048,577 bytes"),
        (a_delivery(routing_key="lead.unheard_of"), "lead.accepted"),
        (a_delivery([1], content_type="application/cloudevents+json"), "JSON object"),
        (a_delivery({"data": "text"}, content_type="application/cloudevents+json"), "`data`"),
        (a_delivery(b"{", content_type="application/cloudevents+json"), "ends too early"),
    ],
)
def test_what_holds_no_event_says_why(delivery: Delivery, word: str) -> None:
    """A value with words that a person understands, never an exception."""
    arrival = read(delivery, ["lead.accepted"])

    assert isinstance(arrival, Invalid)
    assert word in arrival.reason


@pytest.mark.parametrize(
    ("delivery", "lead_id"),
    [
        (a_delivery({"lead_id": "X1"}), "X1"),
        (a_delivery({"lead_id": 7}), "7"),
        (a_delivery(b'{"lead_id": "X1", "reason": "\\ud800"}'), "X1"),
        (a_delivery(b'{"lead_id": "X1", "reason": "caf\xe9"}'), "X1"),
        (a_delivery({"data": {"lead_id": "X1"}}, content_type="application/cloudevents+json"), "X1"),
        (a_delivery({"lead_id": "x" * 10_000}), None),
        (a_delivery({"lead_id": "ö" * 65}), None),
        (a_delivery({"lead_id": "a\x00b"}), None),
        (a_delivery({"lead_id": "a\ud800"}), None),
        (a_delivery(b'{"lead_id": "caf\xe9"}'), None),
        (a_delivery({"lead_id": True}), None),
        (a_delivery({"lead_id": ["X1"]}), None),
        (a_delivery(b'{"lead_id": "X1"'), None),
        (a_delivery(b"[" * 100_000), None),
    ],
)
def test_what_holds_no_event_says_of_which_lead_it_is(delivery: Delivery, lead_id: str | None) -> None:
    """Where that can be read, and is what a lead's id may be."""
    arrival = read(delivery, ["lead.accepted"])

    assert isinstance(arrival, Invalid)
    assert arrival.lead_id == lead_id


@given(st.binary(max_size=200), st.text(max_size=40), st.sampled_from([None, "application/cloudevents+json"]))
def test_reading_never_raises(body: bytes, routing_key: str, content_type: str | None) -> None:
    """Whatever came."""
    delivery = a_delivery(body, routing_key=routing_key, content_type=content_type)

    assert isinstance(read(delivery, ["lead.accepted", routing_key][:1]), Message | Invalid)


def test_a_failed_copy_tells_its_story() -> None:
    """Where it came from, how often it failed, when first, and why."""
    first = a_failed_copy(a_delivery(message_id="m1"))
    again = a_failed_copy(a_delivery(headers={**first.headers, FIRST_FAILED_AT: "before"}, message_id="m2"))

    assert first.headers[ORIGIN_QUEUE] == "assigner"
    assert (first.headers[ATTEMPTS], again.headers[ATTEMPTS]) == (1, 2)
    assert (first.headers[ORIGIN_MESSAGE_ID], again.headers[ORIGIN_MESSAGE_ID]) == ("m1", "m1")
    assert (first.headers[FIRST_FAILED_AT], again.headers[FIRST_FAILED_AT]) == (NOW.isoformat(), "before")
    assert first.type == "lead.accepted"


def test_a_copy_keeps_what_its_reader_needs_and_nothing_of_the_brokers() -> None:
    """The content type (a CloudEvent is one again), strangers' headers, but no x-death, which 3.10 reads as a cycle."""
    headers = {**dict.fromkeys(BROKER_HEADERS, "theirs"), "traceparent": "00-1", "cloudEvents_id": "e1"}
    delivery = a_delivery(headers=headers, content_type="application/cloudevents+json", correlation_id="X1")

    for copy in (a_failed_copy(delivery), copy_of(delivery, exchange="leads.requeue", routing_key="held.assigner")):
        assert not BROKER_HEADERS & set(copy.headers)
        assert copy.headers["traceparent"] == "00-1"
        assert copy.content_type == "application/cloudevents+json"
        assert (copy.key, copy.body) == ("X1", delivery.body)


NASTY = st.text(st.characters(exclude_categories=[]), max_size=300)  # lone surrogates too


@given(
    NASTY, NASTY, st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=30), st.integers(0, 99), max_size=5)
)
def test_a_copy_always_goes_on_the_wire(reason: str, trace: str, headers: dict[str, Any]) -> None:
    """Whatever an error says, and whatever headers came."""
    copy = a_failed_copy(a_delivery(headers=headers), Failure(reason * 40, "E", trace * 400))

    assert len(on_the_wire(copy)) < FRAME_MAX_BYTES
    assert len(copy.headers[REASON].encode()) <= 1_000
    assert len(copy.headers[TRACEBACK].encode()) <= 6_000


def test_what_an_error_says_cannot_steer_a_terminal() -> None:
    """Controls are shown as what they are; letters and line ends stay."""
    copy = a_failed_copy(a_delivery(), Failure("é \x1b[2J \x00 \u202e \ud800", "E", "one\n\ttwo\r"))

    assert copy.headers[REASON] == "é \\x1b[2J \\x00 \\u202e \\ud800"
    assert copy.headers[TRACEBACK] == "one\n\\ttwo\\r"


def test_headers_that_filled_a_frame_leave_room_for_ours() -> None:
    """A stranger's 120 kB are dropped, and so is what cannot be written again; the rest stays."""
    copy = a_failed_copy(a_delivery(headers={"small": 1, "huge": "x" * 120_000, "odd": object()}))

    assert "small" in copy.headers
    assert not {"huge", "odd"} & set(copy.headers)
    assert len(on_the_wire(copy)) < FRAME_MAX_BYTES


@pytest.mark.parametrize(
    ("key", "expected"),
    [("X1", "X1"), (None, None), ("", None), ("ö" * 127, "ö" * 127), ("ö" * 128, None), ("a\ud800", "a?")],
)
def test_a_key_becomes_the_correlation_id_where_it_fits(key: str | None, expected: str | None) -> None:
    """A short string has at most 255 bytes; more is an exception in the client."""
    message = Outgoing("lead.accepted", b"{}", key)

    frames = on_the_wire(message)
    publish_size, _, _ = frame.unmarshal(frames)
    _, _, head = frame.unmarshal(frames[publish_size:])
    assert isinstance(head, header.ContentHeader)

    assert head.properties.correlation_id == expected


def test_message_ids_are_fresh_each_time() -> None:
    """A returned message is found by it."""
    assert len({new_message_id() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("headers", "is_redelivered", "count"),
    [({}, False, 0), ({}, True, 1), ({"x-delivery-count": 0}, True, 0), ({"x-delivery-count": 7}, True, 7)],
)
def test_delivery_count(headers: dict[str, Any], is_redelivered: bool, count: int) -> None:
    """The broker's number where it gives one."""
    assert a_delivery(headers=headers, is_redelivered=is_redelivered).delivery_count == count
