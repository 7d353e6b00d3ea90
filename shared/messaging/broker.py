"""RabbitMQ through aio-pika: the only module that touches the client, and what lies below it (aiormq).

Plain connections, no robust ones: a lost channel is an event that the consumer core must see, since every delivery
tag dies with it. Connecting again is the caller's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel as UnderlayChannel
from aiormq.exceptions import ChannelInvalidStateError
from pamqp.commands import Basic

from shared.messaging.envelope import Delivery, Outgoing, properties_of

CONNECT_TIMEOUT_S = 5
HEARTBEAT_S = 10
CONFIRM_TIMEOUT_S = 10

#: What the client raises when the broker, the connection or the channel is away.
BROKER_ERRORS = (aiormq.exceptions.AMQPError, ChannelInvalidStateError, ConnectionError, TimeoutError, OSError)


@contextmanager
def _speaking() -> Iterator[None]:
    """Make an error of it when a connection dies under a call: the client cancels the caller, whom nobody cancelled."""
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ConnectionError("the connection to the broker was lost") from error


@asynccontextmanager
async def connect(url: str, name: str) -> AsyncIterator[AbstractConnection]:
    """Open one connection that the broker lists as `name`. Raises one of BROKER_ERRORS."""
    # Not by the client's own `connect`: a connection that never came about would be left for the collector to close.
    connection = aio_pika.Connection(
        aio_pika.connection.make_url(url, heartbeat=HEARTBEAT_S), client_properties={"connection_name": name}
    )
    try:
        await connection.connect(timeout=CONNECT_TIMEOUT_S)
        yield connection
    finally:
        with suppress(*BROKER_ERRORS), _speaking():
            await connection.close()


class ConsumerChannel:
    """One channel to consume on: one generation of delivery tags."""

    def __init__(self, channel: UnderlayChannel) -> None:
        self._channel = channel
        self._consumer_tag: str | None = None
        self.lost = asyncio.Event()
        channel.closing.add_done_callback(lambda _: self.lost.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: self.lost.set())

    @property
    def is_consuming(self) -> bool:
        """Whether the broker has registered a consumer on this channel, as far as is known here."""
        return self._consumer_tag is not None

    async def consume(self, queue: str, *, prefetch: int, on_delivery: Callable[[Delivery], None]) -> None:
        """Begin to consume with a prefetch of its own. `on_delivery` must only put the delivery aside."""

        async def receive(message: DeliveredMessage) -> None:
            on_delivery(_delivery(message))

        with _speaking():
            await self._channel.basic_qos(prefetch_count=prefetch)
            answer = await self._channel.basic_consume(queue, receive)
        self._consumer_tag = answer.consumer_tag

    async def cancel(self) -> None:
        """Stop consuming: when this returns, what was delivered has arrived and no more will."""
        if self._consumer_tag is not None:
            tag, self._consumer_tag = self._consumer_tag, None
            with _speaking():
                await self._channel.basic_cancel(tag)
            await asyncio.sleep(0)  # deliveries read before the answer are tasks of this loop: let them run

    async def ack(self, tag: int, *, is_multiple: bool) -> None:
        await self._channel.basic_ack(tag, multiple=is_multiple, wait=False)

    async def hand_back(self, tag: int) -> None:
        """Return a delivery to the queue untouched."""
        await self._channel.basic_nack(tag, requeue=True, wait=False)


@asynccontextmanager
async def open_consumer_channel(connection: AbstractConnection) -> AsyncIterator[ConsumerChannel]:
    with _speaking():
        channel = await connection.channel(publisher_confirms=False)
    try:
        yield ConsumerChannel(await _underlay(channel))
    finally:
        with suppress(*BROKER_ERRORS), _speaking():
            await channel.close()  # sends what is queued, acknowledgements too; closing the connection would drop it


def _delivery(message: DeliveredMessage) -> Delivery:
    frame, properties = message.delivery, message.header.properties
    assert isinstance(frame, Basic.Deliver)
    assert frame.delivery_tag is not None
    return Delivery(
        tag=frame.delivery_tag,
        exchange=frame.exchange or "",
        routing_key=frame.routing_key or "",
        body=message.body,
        headers=properties.headers or {},
        type=properties.message_type,
        content_type=properties.content_type,
        message_id=properties.message_id,
        correlation_id=properties.correlation_id,
        is_redelivered=bool(frame.redelivered),
    )


class Unroutable(Exception):  # noqa: N818  # a result of a publish, raised nowhere
    """No queue takes the message."""


class Refused(Exception):  # noqa: N818
    """A queue refused the message: one that rejects when full."""


async def publish_confirmed(
    channel: UnderlayChannel, messages: Sequence[Outgoing], app_id: str
) -> list[BaseException | None]:
    """Publish all, wait for every confirm, and say for each message what went wrong, or None.

    A timeout leaves open whether the message arrived: publish it again.
    """

    async def one(message: Outgoing) -> None:
        try:
            await channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                properties=properties_of(message, app_id),
                mandatory=message.is_mandatory,
                timeout=CONFIRM_TIMEOUT_S,
                wait=False,
            )
        except aiormq.exceptions.PublishError as error:
            raise Unroutable(f"no queue takes {message.exchange}/{message.routing_key}") from error
        except aiormq.exceptions.DeliveryError as error:
            raise Refused(f"a queue refused {message.exchange}/{message.routing_key}") from error

    return list(await asyncio.gather(*(one(message) for message in messages), return_exceptions=True))


async def open_publishing_channel(connection: AbstractConnection) -> UnderlayChannel:
    with _speaking():
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    return await _underlay(channel)


async def takes_in(channel: UnderlayChannel) -> None:
    """Return at once if the broker reads what is published on this connection; raise TimeoutError if it does not.

    Short of disk or memory it stops reading from whoever publishes, and says so.
    """
    async with asyncio.timeout(0):
        await channel.connection.ready()


async def _underlay(channel: AbstractChannel) -> UnderlayChannel:
    underlay = await channel.get_underlay_channel()
    assert isinstance(underlay, UnderlayChannel)
    return underlay


@dataclass(frozen=True, slots=True)
class QueueState:
    """What the broker tells anybody of a queue. How many messages consumers hold it does not tell over AMQP."""

    ready: int
    consumers: int


async def queue_state(connection: AbstractConnection, queue: str) -> QueueState:
    """Look at a queue. Of a quorum queue whose leader is slow the broker says that nothing is ready: ask twice."""
    async with connection.channel() as channel:
        declared: Any = (await channel.declare_queue(queue, passive=True)).declaration_result
        return QueueState(int(declared.message_count or 0), int(declared.consumer_count or 0))


async def queue_depth(connection: AbstractConnection, queue: str) -> int:
    """Give the number of ready messages, as `queue_state` does."""
    return (await queue_state(connection, queue)).ready


__all__ = [
    "BROKER_ERRORS",
    "ChannelInvalidStateError",
    "ConsumerChannel",
    "QueueState",
    "Refused",
    "UnderlayChannel",
    "Unroutable",
    "connect",
    "open_consumer_channel",
    "open_publishing_channel",
    "publish_confirmed",
    "queue_depth",
    "queue_state",
    "takes_in",
]
