"""Moves a queue of ours that exists with other arguments to one that has the right ones, and loses nothing.

The messages wait in a queue beside it while the old one is deleted and the new one declared. At every moment what is
published to the queue is routed to at least one of the two; what is routed to both comes twice, and handlers take that.
Killed at any line, the same move begun again completes: what stands in the broker says how far it had come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from shared.messaging import broker, topology
from shared.messaging.envelope import Delivery, Outgoing, copy_of
from shared.messaging.publisher import Publisher
from shared.messaging.settling import Settlement
from shared.messaging.topology import Binding

CHUNK = 500
SUFFIX = ".moving"
#: A queue counts as empty when it is so twice: what was routed to it a moment ago may still be on its way inside.
LOOK_AGAIN_AFTER_S = 1.0
CONSUMERS_LOOK_S = 0.5
BESIDE_ARGUMENTS: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-delivery-limit": 1_000_000,
}


class QueueInUseError(Exception):
    """Somebody consumes the queue: what they hold would be lost with it."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How many messages went aside, and how many came back."""

    queue: str
    aside: int
    back: int


def beside(queue: str) -> str:
    """Name the queue in which the messages wait, and the exchange through which they go."""
    return f"{queue}{SUFFIX}"


async def is_under_way(connection: AbstractConnection, queue: str) -> bool:
    """Whether a move of this queue was begun and not ended."""
    return await _exists(connection, beside(queue))


async def move(
    connection: AbstractConnection,
    publisher: Publisher,
    queue: str,
    *,
    strangers: Sequence[Binding] = (),
    wait_s: float = 0.0,
) -> Moved:
    """Move a queue, or go on with a move that was interrupted. `strangers`: bindings of it that are not ours.

    Raises:
        QueueInUseError: it has consumers, for longer than `wait_s`.
        PublishError, or one of BROKER_ERRORS: begin it again when the broker answers.
    """
    bindings = [*topology.bindings_of(queue), *strangers]
    exists = await _exists(connection, queue)
    aside = 0
    if exists and await topology.other_arguments(connection, queue) is not None:
        await _until_unused(connection, queue, wait_s)
        await _open_beside(connection, queue, bindings)
        await _unbind(connection, queue, bindings)
        aside = await _drain(connection, publisher, queue, through=beside(queue))
        await _delete(connection, queue)
    elif not await is_under_way(connection, queue):
        return Moved(queue, 0, 0)
    await _open_anew(connection, queue, bindings)
    await _unbind(connection, beside(queue), bindings)
    back = await _drain(connection, publisher, beside(queue), through=beside(queue))
    async with connection.channel() as channel:
        await channel.exchange_delete(beside(queue))
    await _delete(connection, beside(queue))
    return Moved(queue, aside, back)


async def _exists(connection: AbstractConnection, queue: str) -> bool:
    try:
        async with connection.channel() as channel:
            await channel.declare_queue(queue, passive=True)
    except ChannelNotFoundEntity:
        return False
    return True


async def _until_unused(connection: AbstractConnection, queue: str, wait_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + wait_s
    while consumers := (await broker.queue_state(connection, queue)).consumers:
        if asyncio.get_running_loop().time() >= deadline:
            raise QueueInUseError(_in_use(queue, consumers))
        await asyncio.sleep(CONSUMERS_LOOK_S)


def _in_use(queue: str, consumers: int) -> str:
    return (
        f"{consumers} consume the queue {queue!r}, and what they hold would go with it: stop them and run this again,"
        " or add --wait SECONDS to wait for them"
    )


async def _open_beside(connection: AbstractConnection, queue: str, bindings: Sequence[Binding]) -> None:
    """Make the queue beside and bind it to all that the old one is bound to; from now on new messages go to both."""
    async with connection.channel() as channel:
        exchange = await channel.declare_exchange(beside(queue), ExchangeType.FANOUT, durable=True)
        waiting = await channel.declare_queue(beside(queue), durable=True, arguments=BESIDE_ARGUMENTS)
        await waiting.bind(exchange)
        for binding in bindings:
            await waiting.bind(binding.exchange, binding.key, arguments=binding.arguments)


async def _open_anew(connection: AbstractConnection, queue: str, bindings: Sequence[Binding]) -> None:
    """Declare the queue as it must be, bound; then what is sent through the exchange beside goes to it alone."""
    async with connection.channel() as channel:
        exchange = await channel.declare_exchange(beside(queue), ExchangeType.FANOUT, durable=True)
        anew = await channel.declare_queue(queue, durable=True, arguments=topology.queue_arguments()[queue])
        for binding in bindings:
            await anew.bind(binding.exchange, binding.key, arguments=binding.arguments)
        await anew.bind(exchange)
        waiting = await channel.get_queue(beside(queue))
        await waiting.unbind(exchange)


async def _unbind(connection: AbstractConnection, queue: str, bindings: Sequence[Binding]) -> None:
    """Take its bindings from a queue; one that it has not is no error."""
    async with connection.channel() as channel:
        bound = await channel.get_queue(queue)
        for binding in bindings:
            await bound.unbind(binding.exchange, binding.key, arguments=binding.arguments)


async def _delete(connection: AbstractConnection, queue: str) -> None:
    async with connection.channel() as channel:
        await channel.queue_delete(queue)


async def _drain(connection: AbstractConnection, publisher: Publisher, queue: str, *, through: str) -> int:
    """Send all that is ready through an exchange: a copy is confirmed before its original is acknowledged.

    Raises:
        QueueInUseError: somebody else has begun to consume the queue meanwhile.
    """
    moved, looks = 0, 0
    arrived: list[Delivery] = []
    async with broker.open_consumer_channel(connection) as channel:
        settlement = Settlement(queue, channel, publisher, asyncio.Event())
        await channel.consume(queue, prefetch=CHUNK, on_delivery=_taking(settlement, arrived.append))
        while looks < 2:
            while chunk := arrived[:CHUNK]:
                del arrived[: len(chunk)]
                await publisher.publish([_copy(delivery, queue, through) for delivery in chunk])
                settlement.settle(chunk)
                moved, looks = moved + len(chunk), 0
                await asyncio.sleep(0)
            if channel.lost.is_set():
                raise ConnectionError(f"the channel was lost while {queue!r} was moved; run this again")
            if await settlement.pause(LOOK_AGAIN_AFTER_S) and not arrived:
                looks = looks + 1 if await _is_empty(connection, queue) else 0
        await channel.cancel()
    return moved


async def _is_empty(connection: AbstractConnection, queue: str) -> bool:
    """Whether nothing is ready, and nobody but us consumes: nobody holds anything that would come back."""
    state = await broker.queue_state(connection, queue)
    if state.consumers > 1:
        raise QueueInUseError(_in_use(queue, state.consumers - 1))
    return state.ready == 0


def _taking(settlement: Settlement, keep: Callable[[Delivery], None]) -> Callable[[Delivery], None]:
    def take(delivery: Delivery) -> None:
        settlement.delivered(delivery)
        keep(delivery)

    return take


def _copy(delivery: Delivery, queue: str, exchange: str) -> Outgoing:
    """Under its own routing key, which says where a retry goes. In the dead, the broker's words are why it is there."""
    death = delivery.headers.get("x-death") if queue.startswith(topology.DEAD_QUEUE) else None
    headers = {} if death is None else {"x-death": death}
    return copy_of(delivery, exchange=exchange, routing_key=delivery.routing_key, headers=headers)
