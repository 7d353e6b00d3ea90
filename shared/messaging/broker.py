"""RabbitMQ through aio-pika: the only module that touches the client; what lies below it is in `wire`.

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
from aio_pika.abc import AbstractChannel, AbstractConnection, TimeoutType
from aiormq.channel import Channel as UnderlayChannel
from aiormq.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity

from shared.messaging import frames
from shared.messaging.envelope import Delivery, Outgoing, new_message_id
from shared.messaging.wire import Refused, Tap, Unconfirmed, Unroutable, Wire, WireFactory

CONNECT_TIMEOUT_S = 5
HEARTBEAT_S = 10
CONFIRM_TIMEOUT_S = 10
LOST = "the connection to the broker was lost"

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
        raise ConnectionError(LOST) from error


class _Channel(aio_pika.Channel):
    """A channel that says by a ConnectionError that its connection is gone."""

    async def initialize(self, timeout: TimeoutType = None) -> None:
        try:
            await super().initialize(timeout)
        except RuntimeError as error:  # all that the client raises of a connection that it has closed
            raise ConnectionError(LOST) from error


class _Connection(aio_pika.Connection):
    """A connection whose bytes go through a wire of ours."""

    CHANNEL_CLASS = _Channel

    def __init__(self, url: str, name: str) -> None:
        super().__init__(
            aio_pika.connection.make_url(url, heartbeat=HEARTBEAT_S), client_properties={"connection_name": name}
        )
        self._factory = WireFactory()
        self.kwargs["transport_factory"] = self._factory

    @property
    def wire(self) -> Wire:
        return self._factory.wire

    def channel(
        self, channel_number: int | None = None, publisher_confirms: bool = True, on_return_raises: bool = False
    ) -> AbstractChannel:
        """Give a channel to be opened; ConnectionError, then or on opening it, if the connection is lost."""
        if self.transport is None:
            raise ConnectionError(LOST)
        return super().channel(channel_number, publisher_confirms, on_return_raises)


@asynccontextmanager
async def connect(url: str, name: str) -> AsyncIterator[AbstractConnection]:
    """Open one connection that the broker lists as `name`. Raises one of BROKER_ERRORS."""
    # Not by the client's own `connect`: a connection that never came about would be left for the collector to close.
    connection = _Connection(url, name)
    try:
        await connection.connect(timeout=CONNECT_TIMEOUT_S)
        yield connection
    finally:
        with suppress(*BROKER_ERRORS), _speaking():
            await connection.close()


class ConsumerChannel:
    """One channel to consume on: one generation of delivery tags."""

    def __init__(self, channel: UnderlayChannel, wire: Wire, tap: Tap) -> None:
        self._channel = channel
        self._wire = wire
        self._tap = tap
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
        self._tap.on_delivery = on_delivery
        with _speaking():
            await self._channel.basic_qos(prefetch_count=prefetch)
            answer = await self._channel.basic_consume(queue, _bypassed)
        self._consumer_tag = answer.consumer_tag

    async def cancel(self) -> None:
        """Stop consuming: when this returns, what was delivered has arrived and no more will."""
        if self._consumer_tag is not None:
            tag, self._consumer_tag = self._consumer_tag, None
            with _speaking():
                await self._channel.basic_cancel(tag)

    def ack(self, tag: int, *, is_multiple: bool) -> None:
        """Acknowledge a delivery, or all that are open up to it."""
        self._settle(frames.acknowledged(tag, is_multiple=is_multiple, channel=self._channel.number))

    def hand_back(self, tag: int) -> None:
        """Return a delivery to the queue untouched."""
        self._settle(frames.handed_back(tag, channel=self._channel.number))

    def _settle(self, frame: bytes) -> None:
        """All that settles goes this one way: an ack of all up to a tag must not overtake what was handed back."""
        if self._channel.is_closed:
            raise ChannelInvalidStateError(f"{self._channel!r} closed")
        self._wire.write(frame)


@asynccontextmanager
async def open_consumer_channel(connection: AbstractConnection) -> AsyncIterator[ConsumerChannel]:
    with _speaking():
        channel = await connection.channel(publisher_confirms=False)
    try:
        underlay = await _underlay(channel)
        assert isinstance(connection, _Connection)
        yield ConsumerChannel(underlay, connection.wire, _tapped(connection, underlay))
    finally:
        with suppress(*BROKER_ERRORS), _speaking():
            await channel.close()  # sends what the client has queued; closing the connection would drop it


async def _bypassed(message: object) -> None:
    """The client's own way to a delivery, which none must take: two ways would lose their order."""
    raise RuntimeError(f"the client has delivered {message!r} itself: this version does not fit shared.messaging.wire")


class PublishingChannel:
    """One channel with confirms. Nobody else publishes on it."""

    def __init__(self, channel: UnderlayChannel, wire: Wire, tap: Tap) -> None:
        self._channel = channel
        self._wire = wire
        self._frame_max = channel.connection.connection_tune.frame_max
        self._unconfirmed = tap.unconfirmed = Unconfirmed()
        channel.closing.add_done_callback(lambda _: self._unconfirmed.lost())

    @property
    def is_closed(self) -> bool:
        return self._channel.is_closed

    async def takes_in(self) -> None:
        """Return at once if the broker reads what is published on this connection; raise TimeoutError if it does not.

        Short of disk or memory it stops reading from whoever publishes, and says so.
        """
        async with asyncio.timeout(0):
            await self._channel.connection.ready()

    async def publish(self, messages: Sequence[Outgoing], app_id: str) -> list[BaseException | None]:
        """Publish all as one buffer, wait for every confirm, and say for each message what went wrong, or None.

        A timeout leaves open whether the message arrived: publish it again.
        """
        problems: list[BaseException | None] = [None] * len(messages)
        ids: list[str] = []
        places: list[int] = []
        buffer: list[bytes] = []
        for place, message in enumerate(messages):
            message_id = new_message_id()
            try:
                buffer.append(self._frames(message, app_id, message_id))
            except (TypeError, ValueError) as error:  # headers that no frame can hold: its own fault alone
                problems[place] = error
            else:
                ids.append(message_id)
                places.append(place)
        for index, problem in (await self._confirmed(b"".join(buffer), ids)).items():
            problems[places[index]] = problem
        return [problem and _in_words(problem, message) for problem, message in zip(problems, messages, strict=True)]

    def _frames(self, message: Outgoing, app_id: str, message_id: str) -> bytes:
        number, frame_max = self._channel.number, self._frame_max
        return frames.published(message, app_id, message_id, channel=number, frame_max=frame_max)

    async def _confirmed(self, buffer: bytes, ids: Sequence[str]) -> dict[int, BaseException]:
        """Write frames, wait until the broker has answered for all these ids, and give the problems by place."""
        if not ids:
            return {}
        try:
            if self.is_closed:
                raise ChannelInvalidStateError(f"{self._channel!r} closed")
            self._wire.write(buffer)
        except BROKER_ERRORS as error:
            return dict.fromkeys(range(len(ids)), error)
        batch = self._unconfirmed.add(ids)
        try:
            async with asyncio.timeout(CONFIRM_TIMEOUT_S):
                await asyncio.shield(batch.settled)
        except TimeoutError as error:
            return batch.problems | {index: error for index in range(len(ids)) if batch.is_open[index]}
        return batch.problems


def _in_words(problem: BaseException, message: Outgoing) -> BaseException:
    where = f"{message.exchange}/{message.routing_key}"
    match problem:
        case Unroutable():
            return Unroutable(f"no queue takes {where}")
        case Refused():
            return Refused(f"a queue refused {where}")
    return problem


async def open_publishing_channel(connection: AbstractConnection) -> PublishingChannel:
    with _speaking():
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    underlay = await _underlay(channel)
    assert isinstance(connection, _Connection)
    return PublishingChannel(underlay, connection.wire, _tapped(connection, underlay))


class QueueLook:
    """Sees whether queues are there, on a channel of its own that it opens when needed."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: UnderlayChannel | None = None

    async def missing(self, queues: Sequence[str]) -> str | None:
        """Name the first of these queues that is not there; None: all are. Raises one of BROKER_ERRORS."""
        async with asyncio.timeout(CONFIRM_TIMEOUT_S):
            for queue in queues:
                if not await self._is_there(queue):
                    return queue
        return None

    async def _is_there(self, queue: str) -> bool:
        if self._channel is None or self._channel.is_closed:
            with _speaking():
                self._channel = await _underlay(await self._connection.channel(publisher_confirms=False))
        try:
            with _speaking():
                await self._channel.queue_declare(queue, passive=True)
        except ChannelNotFoundEntity:
            return False
        return True


async def _underlay(channel: AbstractChannel) -> UnderlayChannel:
    underlay = await channel.get_underlay_channel()
    assert isinstance(underlay, UnderlayChannel)
    return underlay


def _tapped(connection: AbstractConnection, channel: UnderlayChannel) -> Tap:
    """Have a channel's deliveries and confirms taken out of the connection's stream, as long as the channel lives."""
    assert isinstance(connection, _Connection)
    tap, wire, number = Tap(), connection.wire, channel.number
    wire.tap(number, tap)
    channel.closing.add_done_callback(lambda _: wire.untap(number, tap))
    return tap


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
    "PublishingChannel",
    "QueueLook",
    "QueueState",
    "Refused",
    "Unroutable",
    "connect",
    "open_consumer_channel",
    "open_publishing_channel",
    "queue_depth",
    "queue_state",
]
