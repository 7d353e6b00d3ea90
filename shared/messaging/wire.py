"""What lies below the client on a connection: deliveries read in bulk, messages published as one buffer.

The client makes objects, futures and tasks for each frame, which costs more than all that we do with a message. So its
transport is ours: a protocol that takes deliveries and publisher confirms of our channels out of the stream of bytes,
and leaves every other frame to the client as it came. It relies on the client's `transport_factory`, on a channel's
number, and on AMQP 0-9-1 itself; the tests hold all three against the version that is installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from aiormq.connection import SSLContextProvider, TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from shared.messaging import frames
from shared.messaging.envelope import Delivery

READ_LIMIT = 2**16
#: The client ends a connection on which it sees nothing for 33 s; of what is taken out of the stream it sees nothing.
TELL_CLIENT_EVERY_S = 1.0


class Wire(asyncio.StreamReaderProtocol):
    """The bytes of one connection."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._taps: dict[int, Tap] = {}
        self._clock = loop.time
        self._told_at = 0.0
        self._rest = b""
        #: Kept when the connection is lost, unlike the base class's own.
        self._line: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._line = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        super().connection_made(transport)

    def tap(self, channel: int, tap: Tap) -> None:
        """Take a channel's deliveries and confirms out of the stream from now on."""
        self._taps[channel] = tap

    def untap(self, channel: int, tap: Tap) -> None:
        """Leave a channel's frames to the client again, unless another has its number by now."""
        if self._taps.get(channel) is tap:
            del self._taps[channel]

    def write(self, data: bytes) -> None:
        """Send whole frames. ConnectionError if the connection is lost."""
        if self._line.is_closing():
            raise ConnectionError("the connection to the broker was lost")
        self._line.write(data)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if data.startswith(b"AMQP"):  # a broker of another protocol: the client knows what to say
            super().data_received(data)
            return
        left, self._rest = self._sort(data)
        if left:
            super().data_received(left)

    def _sort(self, data: bytes) -> tuple[bytes, bytes]:
        """Give each tap what is its own; give the client's frames, and the frame that has not come whole."""
        place, end, last = 0, 0, len(data) - frames.FRAME_EXTRA
        left: list[bytes] = []
        has_taken = False
        unpack, taps = frames.FRAME.unpack_from, self._taps
        while place <= last:
            kind, channel, size = unpack(data, place)
            end = place + size + frames.FRAME_EXTRA
            if end > len(data):
                break
            tap = taps.get(channel)
            if tap is not None and tap.takes(kind, data[place + frames.FRAME.size : end - 1]):
                has_taken = True
            else:
                left.append(data[place:end])
            place = end
        if has_taken and (now := self._clock()) - self._told_at >= TELL_CLIENT_EVERY_S:
            self._told_at = now
            left.append(frames.HEARTBEAT)
        return b"".join(left), data[place:]


class Tap:
    """One channel's deliveries, returns and confirms, and the content that is coming in."""

    def __init__(self) -> None:
        self.on_delivery: Callable[[Delivery], None] | None = None
        self.unconfirmed: Unconfirmed | None = None
        self._method = b""
        self._header = b""
        self._bodies: list[bytes] = []
        self._missing = 0

    def takes(self, kind: int, payload: bytes) -> bool:
        """Take a frame, if it is one of these; the client gets the others."""
        if kind == frames.METHOD:
            return self._takes_method(payload)
        if not self._method:
            return False
        if kind == frames.HEADER:
            self._header, self._missing = payload, frames.body_size(payload)
        else:
            self._bodies.append(payload)
            self._missing -= len(payload)
        if self._missing <= 0:
            self._whole()
        return True

    def _takes_method(self, payload: bytes) -> bool:
        method = payload[:4]
        if method == frames.DELIVER and self.on_delivery is not None:
            self._method = payload
        elif self.unconfirmed is None:
            return False
        elif method == frames.RETURN:
            self._method = payload
        elif method == frames.ACK:
            self.unconfirmed.settle(*frames.confirm(payload))
        elif method == frames.NACK:
            self.unconfirmed.settle(*frames.confirm(payload), problem=Refused())
        else:
            return False
        return True

    def _whole(self) -> None:
        method, bodies = self._method, self._bodies
        self._method, self._bodies = b"", []
        if method[:4] == frames.DELIVER:
            assert self.on_delivery is not None
            body = bodies[0] if len(bodies) == 1 else b"".join(bodies)
            self.on_delivery(frames.delivery(method, self._header, body))
        else:
            assert self.unconfirmed is not None
            self.unconfirmed.returned(frames.returned_id(self._header))


class Unroutable(Exception):  # noqa: N818  # a result of a publish, raised nowhere
    """No queue takes the message."""


class Refused(Exception):  # noqa: N818
    """A queue refused the message: one that rejects when full."""


@dataclass(slots=True)
class Batch:
    """Messages that were published together: their ids, and of each what went wrong, once that is known."""

    first_tag: int
    ids: Sequence[str]
    settled: asyncio.Future[None]
    is_open: bytearray = field(init=False)
    left: int = field(init=False)
    problems: dict[int, BaseException] = field(default_factory=dict)
    _low: int = 0

    def __post_init__(self) -> None:
        self.left = len(self.ids)
        self.is_open = bytearray(b"\x01") * self.left

    @property
    def last_tag(self) -> int:
        return self.first_tag + len(self.ids) - 1

    def settle(self, tag: int, problem: BaseException | None, *, is_multiple: bool) -> None:
        """The broker has answered for a tag, or for all that are open up to it."""
        last = min(tag - self.first_tag, len(self.ids) - 1)
        for index in range(self._low if is_multiple else last, last + 1):
            if self.is_open[index]:
                self.is_open[index] = 0
                self.left -= 1
                if problem is not None:
                    self.problems.setdefault(index, problem)
        if is_multiple:
            self._low = last + 1
        if not self.left and not self.settled.done():
            self.settled.set_result(None)


class Unconfirmed:
    """What was published on a channel and is not yet confirmed, in order. Nobody else publishes on it."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._next_tag = 1

    def add(self, ids: Sequence[str]) -> Batch:
        """Expect confirms for messages with these ids, which are written next."""
        batch = Batch(self._next_tag, ids, asyncio.get_running_loop().create_future())
        self._next_tag += len(ids)
        self._batches.append(batch)
        return batch

    def settle(self, tag: int, is_multiple: bool, problem: BaseException | None = None) -> None:
        """The broker has confirmed a tag, or refused it."""
        for batch in self._batches:
            if batch.first_tag > tag:
                break
            if is_multiple or tag <= batch.last_tag:
                batch.settle(tag, problem, is_multiple=is_multiple)
        self._batches = [batch for batch in self._batches if batch.left]

    def returned(self, message_id: str | None) -> None:
        """No queue took a message. Its confirm follows."""
        for batch in self._batches:
            if message_id in batch.ids:
                batch.problems[batch.ids.index(message_id)] = Unroutable()

    def lost(self) -> None:
        """The channel is gone: what is open will never be confirmed."""
        batches, self._batches = self._batches, []
        for batch in batches:
            batch.settle(batch.last_tag, ConnectionError("the connection to the broker was lost"), is_multiple=True)


class WireFactory(TransportFactory):
    """Gives the client its transport, and keeps it."""

    def __init__(self) -> None:
        self.wire: Wire

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As `asyncio.open_connection`, with a protocol of ours."""
        loop = asyncio.get_running_loop()
        context: SSLContextProvider = kwargs.pop("ssl_context_provider")
        ssl = await context.get_context() if url.scheme == "amqps" else None
        host, port = url.host or "", url.port or 0
        reader = asyncio.StreamReader(READ_LIMIT, loop)
        self.wire = Wire(reader, loop)
        try:
            transport, _ = await loop.create_connection(lambda: self.wire, host, port, ssl=ssl, **kwargs)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        return reader, asyncio.StreamWriter(transport, self.wire, reader, loop)
