"""A service's facts as Prometheus metrics: the one place that knows their names."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared.events import Event, LeadAccepted, LeadAssigned
from shared.messaging.facts import (
    Answered,
    Consuming,
    Fact,
    NotConsuming,
    OutboxSeen,
    PublishingFails,
    QueueSeen,
    Saved,
    Settled,
    Stuck,
    Taken,
    Waits,
)

_Metric = TypeVar("_Metric")

CONTENT_TYPE = CONTENT_TYPE_LATEST
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
SAVE_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 12, 60)
LEAD_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)
#: Ends of messages as counters, each with what it counts.
ENDS = {
    "handled": "Messages acknowledged after their effects were committed.",
    "retried": "Messages that failed and went to the retry ladder.",
    "dead": "Messages that went to the dead.",
    "put_off": "Messages that somebody else was at: sent to the first rung, no attempt spent.",
    "put_back": "Messages put back in their queue after too long a wait, no attempt spent.",
}


class Metrics:
    """Counts facts. A registry of its own: two in one process never meet."""

    def __init__(self, service: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        build = {"service": service, "version": _version(), "python": platform.python_version()}
        Gauge("leadline_build_info", "What runs here.", tuple(build), registry=registry).labels(**build).set(1)
        count = _by_queue(Counter, registry)
        gauge = _by_queue(Gauge, registry)
        self._ends = {end: count(f"leadline_messages_{end}", text) for end, text in ENDS.items()}
        self._redelivered = count(
            "leadline_messages_redelivered", "Messages that the broker had delivered before: done already, mostly."
        )
        self._transactions = count("leadline_transactions", "Pieces committed, one transaction each.")
        self._batches = Histogram(
            "leadline_batch_messages", "Messages in a batch.", ["queue"], buckets=BATCH_BUCKETS, registry=registry
        )
        self._saves = Histogram(
            "leadline_handler_seconds",
            "Seconds of a piece's transaction, the handler's work in it and the commit.",
            ["queue"],
            buckets=SAVE_BUCKETS,
            registry=registry,
        )
        self._assigned = Histogram(
            "leadline_lead_assignment_seconds",
            "Seconds from lead.created to lead.assigned, of leads that had not to wait for a place or a lot.",
            buckets=LEAD_BUCKETS,
            registry=registry,
        )
        self._answered = Counter(
            "leadline_api_requests", "Requests that the HTTP API has answered.", ["method", "status"], registry=registry
        )
        self._ready = gauge("leadline_queue_ready", "Messages ready in the queue.")
        self._consumers = gauge("leadline_queue_consumers", "Consumers of the queue that the broker knows.")
        self._consuming = gauge("leadline_consuming", "1 while the broker has this process as the queue's consumer.")
        self._waiting = gauge("leadline_waiting", "1 while the consumer waits for what it depends on, or the breaker.")
        self._breaker = gauge("leadline_breaker_open", "1 while the breaker is open: all messages fail alike.")
        self._publishing = Gauge("leadline_publishing_fails", "1 while nothing can be published.", registry=registry)
        self._outbox = Gauge(
            "leadline_outbox_rows", "Outbox rows not yet confirmed, counted up to 10,000.", registry=registry
        )
        self._oldest = Gauge(
            "leadline_outbox_oldest_seconds", "Age of the oldest outbox row not yet confirmed.", registry=registry
        )

    def observe(self, fact: Fact) -> None:
        match fact:
            case Settled(queue, end, messages):
                self._ends[end].labels(queue).inc(messages)
            case Taken(queue, messages, redelivered):
                self._batches.labels(queue).observe(messages)
                self._redelivered.labels(queue).inc(redelivered)
            case Saved(queue, seconds, came, made):
                self._transactions.labels(queue).inc()
                self._saves.labels(queue).observe(seconds)
                for waited_s in seconds_to_assigned(came, made):
                    self._assigned.observe(waited_s)
            case Answered(method, status):
                self._answered.labels(method, status).inc()
            case _:
                self._observe_state(fact)

    def _observe_state(self, fact: Fact) -> None:
        match fact:
            case QueueSeen(queue, ready, consumers):
                self._ready.labels(queue).set(ready)
                self._consumers.labels(queue).set(consumers)
            case Consuming(queue):
                self._consuming.labels(queue).set(1)
            case NotConsuming(queue) | Stuck(queue):
                self._consuming.labels(queue).set(0)
            case Waits(queue, what, is_breaker):
                self._waiting.labels(queue).set(what is not None)
                self._breaker.labels(queue).set(is_breaker and what is not None)
            case OutboxSeen(rows, oldest_s):
                self._outbox.set(rows)
                self._oldest.set(oldest_s)
                if rows == 0:
                    self._publishing.set(0)
            case PublishingFails(_, reason):
                self._publishing.set(reason is not None)

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self._registry)


def seconds_to_assigned(came: Iterable[Event], made: Iterable[Event]) -> list[float]:
    """Give for each lead assigned on arrival the seconds since its `lead.created`; no less than none."""
    assigned = [event for event in made if isinstance(event, LeadAssigned)]
    if not assigned:
        return []
    since = {event.lead_id: event.since for event in came if isinstance(event, LeadAccepted) and event.since}
    return [
        max((event.occurred_at - since[event.lead_id]).total_seconds(), 0.0)
        for event in assigned
        if event.lead_id in since and event.occurred_at is not None
    ]


def _by_queue(kind: Callable[..., _Metric], registry: CollectorRegistry) -> Callable[[str, str], _Metric]:
    return lambda name, text: kind(name, text, ["queue"], registry=registry)


def _version() -> str:
    try:
        return version("leadline")
    except PackageNotFoundError:
        return "unknown"
