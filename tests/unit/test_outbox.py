"""The outbox's traces, and the topology that its events meet."""

from __future__ import annotations

import re

import pytest

from shared.events import EVENTS
from shared.messaging import topology
from shared.messaging.outbox import follow

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("given", [None, "", "nonsense", "00-short-b7ad6b7169203331-01"])
def test_a_trace_begins_where_none_is_given(given: str | None) -> None:
    """A W3C traceparent of its own."""
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", follow(given))
    assert follow(given) != follow(given)


def test_a_trace_goes_on_with_a_span_of_its_own() -> None:
    """The trace stays, the span is new."""
    followed = follow(f"00-{TRACE}-b7ad6b7169203331-01")

    assert followed.split("-")[1] == TRACE
    assert "b7ad6b7169203331" not in followed


def test_events_that_must_arrive_are_those_with_a_queue_of_ours() -> None:
    """What the contract says of an event is what the topology does with it."""
    assert {event.type: event.is_ours for event in EVENTS} == {
        event.type: bool(topology.queues_for(event.type)) for event in EVENTS
    }


def test_twelve_queues_none_of_which_loses_anything() -> None:
    """Quorum, positive delivery limits, at-least-once dead-lettering, every dead letter's target another queue."""
    arguments = topology.queue_arguments()

    assert len(arguments) == 12
    for name, given in arguments.items():
        assert given["x-queue-type"] == "quorum"
        assert given["x-overflow"] == "reject-publish"
        assert given["x-delivery-limit"] >= topology.WORK_DELIVERY_LIMIT
        if name != topology.DEAD_QUEUE:
            assert given["x-dead-letter-strategy"] == "at-least-once"
            assert given["x-dead-letter-exchange"] in (topology.DEAD_EXCHANGE, topology.REQUEUE_EXCHANGE)


def test_every_rung_of_the_ladder_has_its_queue() -> None:
    """One fixed time to live a queue: messages expire at its head only."""
    ttls = {name: given["x-message-ttl"] for name, given in topology.queue_arguments().items() if "retry" in name}

    assert ttls == {f"retry.{rung}": topology.RETRY_DELAYS_MS[rung] for rung in topology.LADDER}
    assert list(ttls.values()) == sorted(ttls.values())
