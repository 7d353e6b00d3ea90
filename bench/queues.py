"""Queues as the bench fills and watches them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ConnectionInternalError

from shared.messaging.envelope import Outgoing
from shared.messaging.publisher import Publisher, PublishError, open_publisher

#: Durable, and replicated where there are nodes to replicate to: what a confirm says is on disk.
QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
LOOK_EVERY_S = 0.05
FILL_CHUNK = 500
READY_TRIES = 5
DECLARE_TRIES = 20
DECLARE_PAUSE_S = 0.5


async def declare(
    amqp_url: str, queues: Sequence[str], declaring: Callable[[AbstractChannel], Awaitable[object]]
) -> None:
    """Declare these queues by `declaring`, and see that each answers.

    A broker that has just deleted others may refuse, or declare one that has no process then (RabbitMQ 3.10): it is
    deleted, and declared again.
    """
    for tries_left in reversed(range(DECLARE_TRIES)):
        try:
            async with await aio_pika.connect(amqp_url) as connection:
                channel = await connection.channel()
                await declaring(channel)
                for queue in queues:
                    await (await channel.get_queue(queue)).get(fail=False)
                return
        except ConnectionInternalError:
            if not tries_left:
                raise
            await asyncio.sleep(DECLARE_PAUSE_S)
            await _delete(amqp_url, queues)


async def _delete(amqp_url: str, queues: Sequence[str]) -> None:
    with suppress(ConnectionInternalError):
        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            for queue in queues:
                await channel.queue_delete(queue)


@dataclass(frozen=True, slots=True)
class Sample:
    """How many messages were in a queue at a moment."""

    at_s: float
    messages: int


class Watch:
    """A look at queues: passive declares, which say how many messages are ready."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel

    async def depth(self, queue: str) -> int:
        return int((await self._declared(queue)).message_count)

    async def consumers(self, queue: str) -> int:
        return int((await self._declared(queue)).consumer_count)

    async def _declared(self, queue: str) -> Any:
        return (await self._channel.declare_queue(queue, passive=True)).declaration_result

    async def wait_for_consumers(self, queue: str, count: int, *, within_s: float = 60) -> None:
        """Return when a queue has so many consumers; TimeoutError if it has not in time."""
        async with asyncio.timeout(within_s):
            while await self.consumers(queue) < count:  # noqa: ASYNC110  # the broker tells nobody
                await asyncio.sleep(LOOK_EVERY_S)

    async def fill(self, queue: str, count: int, *, within_s: float) -> list[Sample]:
        """Watch a queue until it has so many messages; TimeoutError if it stands still for so long.

        A leader that is slow lets the broker answer 0: what counts is the most that was ever seen.
        """
        samples = [Sample(time.perf_counter(), 0)]
        while samples[-1].messages < count:
            await asyncio.sleep(LOOK_EVERY_S)
            found = Sample(time.perf_counter(), await self.depth(queue))
            if found.messages > samples[-1].messages:
                samples.append(found)
            elif found.at_s - samples[-1].at_s > within_s:
                raise TimeoutError(f"{queue} stands still at {samples[-1].messages:,} of {count:,} messages")
        return samples


@asynccontextmanager
async def watching(amqp_url: str) -> AsyncIterator[Watch]:
    async with await aio_pika.connect(amqp_url) as connection:
        yield Watch(await connection.channel())


async def publish(amqp_url: str, messages: Sequence[Outgoing]) -> None:
    """Publish all, confirmed."""
    async with open_publisher(amqp_url, "bench") as publisher:
        await _ready(publisher)
        for start in range(0, len(messages), FILL_CHUNK):
            await publisher.publish(messages[start : start + FILL_CHUNK])


async def _ready(publisher: Publisher) -> None:
    """Wait for a broker that has just made a virtual host."""
    for left in reversed(range(READY_TRIES)):
        try:
            await publisher.ready()
        except PublishError:
            if not left:
                raise
        else:
            return
