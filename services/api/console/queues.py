"""The broker as anybody may see it: how much is ready in each queue, and who consumes; asked on one kept connection.

AMQP does not tell how old a message is. What is known is when a queue was last seen empty: what is in it now is not
older than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection

from services.cli.monitor.looks import LADDER, QUEUES
from shared.messaging import broker

EVERY_S = 2.0
WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Queue:
    """`oldest_s`: the messages in it are at most so old; None where it was never seen empty."""

    name: str
    ready: int
    consumers: int
    oldest_s: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """All queues at one moment, or why the broker does not answer."""

    queues: Mapping[str, Queue]
    retry: Sequence[Queue]
    problem: str | None


class Queues:
    """Looks at the broker at most every two seconds, whoever asks."""

    def __init__(self, amqp_url: str) -> None:
        self._url = amqp_url
        self._stack = AsyncExitStack()
        self._connection: AbstractConnection | None = None
        self._emptied: dict[str, float] = {}
        self._at = 0.0
        self._last: Seen | None = None
        self._turn = asyncio.Lock()

    async def look(self) -> Seen:
        """Give what was seen. A broker that is away is told, not raised."""
        async with self._turn:
            if self._last is None or time.monotonic() - self._at > EVERY_S:
                self._last = await self._try()
                self._at = time.monotonic()
            return self._last

    async def close(self) -> None:
        self._connection = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def _try(self) -> Seen:
        try:
            async with asyncio.timeout(WITHIN_S):
                return await self._ask()
        except broker.BROKER_ERRORS as error:
            return await self._away(error)
        except asyncio.CancelledError as error:  # the client cancels who speaks while its connection dies
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return await self._away(error)

    async def _away(self, error: BaseException) -> Seen:
        await self._drop()
        return Seen({}, [], f"the broker does not answer: {str(error) or type(error).__name__}")

    async def _drop(self) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                await self.close()
        except broker.BROKER_ERRORS:
            return  # it is gone already: the next look opens another

    async def _ask(self) -> Seen:
        if self._connection is None or self._connection.is_closed:
            self._connection = await self._stack.enter_async_context(broker.connect(self._url, "leadline console"))
        found = {name: await self._queue(self._connection, name) for name in (*QUEUES, *LADDER)}
        return Seen({name: found[name] for name in QUEUES}, [found[name] for name in LADDER], None)

    async def _queue(self, connection: AbstractConnection, name: str) -> Queue:
        state = await broker.queue_state(connection, name)
        now = time.monotonic()
        if not state.ready:
            self._emptied[name] = now
        since = self._emptied.get(name)
        oldest_s = now - since if since is not None and state.ready else None
        return Queue(name, state.ready, state.consumers, oldest_s)
