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
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity, ChannelPreconditionFailed

EVENTS_EXCHANGE = "leads"
RETRY_EXCHANGE = "leads.retry"
REQUEUE_EXCHANGE = "leads.requeue"
DEAD_EXCHANGE = "leads.dead"

#: In the order in which they are made, with their arguments.
EXCHANGES: dict[str, dict[str, Any] | None] = {
    DEAD_EXCHANGE: None,
    REQUEUE_EXCHANGE: {"alternate-exchange": DEAD_EXCHANGE},
    RETRY_EXCHANGE: None,
    EVENTS_EXCHANGE: None,
}

DEAD_QUEUE = "dead"
WORK_DELIVERY_LIMIT = 20
DEAD_DELIVERY_LIMIT = 1_000_000

#: The broker refuses to make a quorum queue with it, and does not compare it with what one has: to declare with it asks
#: whether a queue is as it must be.
NEVER_MADE_WITH = {"x-max-priority": 1}

#: The ladder: a message that failed n times waits on the n-th rung; after the last it is dead.
RETRY_DELAYS_MS = {"5s": 5_000, "30s": 30_000, "2m": 120_000, "10m": 600_000, "1h": 3_600_000}
LADDER = tuple(RETRY_DELAYS_MS)


class TopologyError(Exception):
    """A queue is not what it must be; the message says which, how it differs and what to do."""


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A queue of a service of ours, and the event types that it takes from the exchange `leads`."""

    name: str
    event_types: tuple[str, ...]
    #: It takes events only once somebody wants them: see `bind`. Else each would wait there for nobody.
    is_on_demand: bool = False


WORK_QUEUES = (
    WorkQueue("ingest", ("lead.created", "lead.updated")),
    WorkQueue("assigner", ("lead.accepted", "lead.taken", "lead.closed", "lead.reopened", "assignment.requested")),
    WorkQueue("assigner.lots", ("lot.requested",)),
    WorkQueue("documents", ("lead.assigned", "lead.unassigned", "sheet.returned", "sheet.damaged")),
    WorkQueue("notifier", ("document.ready", "lot.completed")),
    WorkQueue("webhooks", ("lead.assigned", "lead.unassigned", "outcome.recorded"), is_on_demand=True),
)


@lru_cache
def queues_for(event_type: str) -> tuple[str, ...]:
    """Name our queues that take an event type."""
    return tuple(queue.name for queue in WORK_QUEUES if event_type in queue.event_types)


@lru_cache
def is_always_taken(event_type: str) -> bool:
    """Whether the broker may send an event of this type back if no queue takes it: one of ours always does."""
    return any(event_type in queue.event_types and not queue.is_on_demand for queue in WORK_QUEUES)


def shared_event_types() -> dict[str, tuple[str, ...]]:
    """Give the event types of which the broker need not tell if a queue of ours is missing, with these queues."""
    types = {event_type for queue in WORK_QUEUES for event_type in queue.event_types}
    return {
        event_type: queues
        for event_type in sorted(types)
        if len(queues := queues_for(event_type)) > 1 or not is_always_taken(event_type)
    }


def queue_arguments() -> dict[str, dict[str, Any]]:
    """Give the declaration arguments of all twelve queues by name."""
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


@dataclass(frozen=True, slots=True)
class Binding:
    """What brings messages of an exchange to a queue."""

    exchange: str
    key: str
    arguments: dict[str, Any] | None = None


def bindings_of(queue: str) -> list[Binding]:
    """Give all bindings of a queue of ours."""
    if queue == DEAD_QUEUE:
        return [Binding(DEAD_EXCHANGE, "#")]
    if queue.startswith("retry."):
        return [Binding(RETRY_EXCHANGE, f"{queue.removeprefix('retry.')}.#")]
    events = next(work.event_types for work in WORK_QUEUES if work.name == queue)
    return [Binding(REQUEUE_EXCHANGE, f"*.{queue}"), *(Binding(EVENTS_EXCHANGE, event_type) for event_type in events)]


def demanded(queue: str) -> list[Binding]:
    """Give the bindings of a queue that are made once somebody wants its events."""
    on_demand = any(work.name == queue and work.is_on_demand for work in WORK_QUEUES)
    return [each for each in bindings_of(queue) if on_demand and each.exchange == EVENTS_EXCHANGE]


async def bind(channel: AbstractChannel, queue: str) -> None:
    """Have a queue take its events from now on, if it did not. It goes on when nobody wants them any more."""
    declared = await channel.get_queue(queue, ensure=False)
    for binding in demanded(queue):
        await declared.bind(binding.exchange, binding.key)


async def declare(channel: AbstractChannel) -> None:
    """Make the whole topology but what is made on demand, exchanges before queues, targets before sources. Idempotent.

    Raises:
        aio_pika.exceptions.ChannelPreconditionFailed: a queue or exchange exists with other arguments.
    """
    await declare_exchanges(channel)
    queues = {
        name: await channel.declare_queue(name, durable=True, arguments=arguments)
        for name, arguments in reversed(queue_arguments().items())
    }
    for name, queue in queues.items():
        on_demand = demanded(name)
        for binding in bindings_of(name):
            if binding not in on_demand:
                await queue.bind(binding.exchange, binding.key)


async def declare_exchanges(channel: AbstractChannel) -> None:
    """Make the four exchanges. Raises as `declare` does."""
    for exchange, arguments in EXCHANGES.items():
        await channel.declare_exchange(exchange, ExchangeType.TOPIC, durable=True, arguments=arguments)


async def missing_or_other(connection: AbstractConnection, queue: str) -> str | None:
    """Say in words that a queue of ours is missing or has other arguments, and how it differs; None if it is well.

    Changes nothing. Where the broker's user may not declare, other arguments cannot be seen.
    """
    try:
        async with connection.channel() as channel:
            await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return f"the queue {queue!r} is missing: run `leadline setup`"
    return await other_arguments(connection, queue)


async def refuse_other_arguments(connection: AbstractConnection, queue: str) -> None:
    """Return if a queue of ours has the arguments it must have, or is not there yet.

    Raises:
        TopologyError: it has others.
    """
    if (problem := await other_arguments(connection, queue)) is not None:
        raise TopologyError(problem)


async def other_arguments(connection: AbstractConnection, queue: str) -> str | None:
    """Say in words how a queue's arguments differ from those it must have; None if not, or if there is no queue.

    Makes none, also where somebody deletes the queue at this moment: it would have no bindings.
    """
    try:
        async with connection.channel() as channel:
            await channel.declare_queue(queue, durable=True, arguments=queue_arguments()[queue] | NEVER_MADE_WITH)
    except ChannelPreconditionFailed as error:
        how = str(error).partition(" - ")[2] or str(error)
        if "inequivalent" not in how:
            return None
        if any(name in how for name in NEVER_MADE_WITH):
            how = "it is no quorum queue"
        return (
            f"the queue {queue!r} is not as Leadline declares it: {how}; stop what consumes it,"
            " then run `leadline setup --migrate-queues`, which moves its messages to a new one"
        )
    except AMQPError:
        return None
    return None


async def problems(connection: AbstractConnection) -> list[str]:
    """Say of every exchange that is missing, and every queue that is missing or not as it must be. Changes nothing."""
    found = [
        f"the exchange {exchange!r} is missing: run `leadline setup`"
        for exchange in EXCHANGES
        if not await _exists(connection, exchange)
    ]
    return found + [problem for queue in queue_arguments() if (problem := await missing_or_other(connection, queue))]


async def _exists(connection: AbstractConnection, exchange: str) -> bool:
    try:
        async with connection.channel() as channel:
            await channel.get_exchange(exchange, ensure=True)
    except ChannelNotFoundEntity:
        return False
    return True
