"""Exchanges, queues and bindings: the one place that names and declares them.

The arguments mean the same on RabbitMQ 3.10 and 4.x. Retry queues expire into `leads.requeue` under the message's own
key `{delay}.{queue}`, whose last words name the one queue that sees it again; a key that no queue takes goes to the
dead by the alternate exchange, so that one missing queue does not block everyone's retries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel

EVENTS_EXCHANGE = "leads"
RETRY_EXCHANGE = "leads.retry"
REQUEUE_EXCHANGE = "leads.requeue"
DEAD_EXCHANGE = "leads.dead"

DEAD_QUEUE = "dead"
WORK_DELIVERY_LIMIT = 20
DEAD_DELIVERY_LIMIT = 1_000_000

#: The ladder: a message that failed n times waits on the n-th rung; after the last it is dead.
RETRY_DELAYS_MS = {"5s": 5_000, "30s": 30_000, "2m": 120_000, "10m": 600_000, "1h": 3_600_000}
LADDER = tuple(RETRY_DELAYS_MS)


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A queue of a service of ours, and the event types that it takes from the exchange `leads`."""

    name: str
    event_types: tuple[str, ...]


WORK_QUEUES = (
    WorkQueue("ingest", ("lead.created", "lead.updated")),
    WorkQueue("assigner", ("lead.accepted", "lead.taken", "lead.closed", "lead.reopened", "assignment.requested")),
    WorkQueue("assigner.lots", ("lot.requested",)),
    WorkQueue("documents", ("lead.assigned", "lead.unassigned", "sheet.returned")),
    WorkQueue("notifier", ("document.ready", "lot.completed")),
)


@lru_cache
def queues_for(event_type: str) -> tuple[str, ...]:
    """Name our queues that take an event type."""
    return tuple(queue.name for queue in WORK_QUEUES if event_type in queue.event_types)


def queue_arguments() -> dict[str, dict[str, Any]]:
    """Give the declaration arguments of all eleven queues by name."""
    at_least_once = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
    }
    arguments: dict[str, dict[str, Any]] = {
        queue.name: {
            **at_least_once,
            "x-delivery-limit": WORK_DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD_EXCHANGE,
            "x-dead-letter-routing-key": queue.name,
        }
        for queue in WORK_QUEUES
    }
    for delay, ttl in RETRY_DELAYS_MS.items():
        arguments[f"retry.{delay}"] = {
            **at_least_once,
            "x-delivery-limit": DEAD_DELIVERY_LIMIT,
            "x-message-ttl": ttl,
            "x-dead-letter-exchange": REQUEUE_EXCHANGE,
        }
    arguments[DEAD_QUEUE] = {
        "x-queue-type": "quorum",
        "x-overflow": "reject-publish",
        "x-delivery-limit": DEAD_DELIVERY_LIMIT,
    }
    return arguments


async def declare(channel: AbstractChannel) -> None:
    """Make the whole topology, exchanges before queues, targets before sources. Idempotent.

    Raises:
        aio_pika.exceptions.ChannelPreconditionFailed: a queue or exchange exists with other arguments.
    """
    topic = ExchangeType.TOPIC
    dead = await channel.declare_exchange(DEAD_EXCHANGE, topic, durable=True)
    requeue = await channel.declare_exchange(
        REQUEUE_EXCHANGE, topic, durable=True, arguments={"alternate-exchange": DEAD_EXCHANGE}
    )
    retry = await channel.declare_exchange(RETRY_EXCHANGE, topic, durable=True)
    events = await channel.declare_exchange(EVENTS_EXCHANGE, topic, durable=True)

    queues = {
        name: await channel.declare_queue(name, durable=True, arguments=arguments)
        for name, arguments in reversed(queue_arguments().items())
    }
    await queues[DEAD_QUEUE].bind(dead, "#")
    for work in WORK_QUEUES:
        await queues[work.name].bind(requeue, f"*.{work.name}")
        for event_type in work.event_types:
            await queues[work.name].bind(events, event_type)
    for delay in RETRY_DELAYS_MS:
        await queues[f"retry.{delay}"].bind(retry, f"{delay}.#")


async def check(channel: AbstractChannel) -> None:
    """Raise ChannelNotFoundEntity for the first exchange or queue that is missing."""
    for exchange in (EVENTS_EXCHANGE, RETRY_EXCHANGE, REQUEUE_EXCHANGE, DEAD_EXCHANGE):
        await channel.get_exchange(exchange, ensure=True)
    for queue in queue_arguments():
        await channel.declare_queue(queue, passive=True)
