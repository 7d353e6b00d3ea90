"""Publishing with confirms: for clients, and for outbox rows while the next batch runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from shared.messaging import broker
from shared.messaging.envelope import Outgoing
from shared.messaging.outbox import OutboxRow
from shared.messaging.topology import EVENTS_EXCHANGE, REQUEUE_EXCHANGE, queues_for

log = structlog.get_logger(__name__)

CHUNK = 500
ROWS_IN_FLIGHT = 8

__all__ = ["Dispatch", "Outgoing", "PublishError", "Publisher", "open_publisher"]


class PublishError(ConnectionError):
    """Not all messages were confirmed; which arrived is unknown. Publish them again."""


class Publisher:
    """One connection to publish on, opened when first needed and again whenever it is lost."""

    def __init__(self, url: str, app_id: str) -> None:
        self._url = url
        self._app_id = app_id
        self._opening = asyncio.Lock()
        self._resources = AsyncExitStack()
        self._channel: broker.PublishingChannel | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Return when the broker has confirmed every message.

        Raises:
            PublishError: some are not confirmed: the broker is away, or no queue takes one.
        """
        for start in range(0, len(messages), CHUNK):
            await self._publish(messages[start : start + CHUNK])

    async def ready(self) -> broker.PublishingChannel:
        """Return once connected.

        Raises:
            PublishError: the broker does not answer.
        """
        try:
            return await self._open_channel()
        except broker.BROKER_ERRORS as error:
            raise PublishError(f"the broker does not answer: {error}") from error

    async def _publish(self, messages: Sequence[Outgoing]) -> None:
        channel = await self.ready()
        problems = await channel.publish(messages, self._app_id)
        refused: list[Outgoing] = []
        for message, problem in zip(messages, problems, strict=True):
            if isinstance(problem, broker.Refused) and message.exchange == EVENTS_EXCHANGE:
                refused.append(message)
            elif problem is not None:
                raise PublishError(f"not confirmed: {problem}") from problem
        if refused:
            await self._detour(refused)

    async def _detour(self, refused: list[Outgoing]) -> None:
        """Bring to our own queues what a stranger's full queue made the broker refuse. It counts as sent."""
        log.warning(
            "publish.refused_by_outsider", messages=len(refused), event_types=sorted({m.routing_key for m in refused})
        )
        detours = [
            Outgoing(
                routing_key=f"detour.{queue}",
                body=message.body,
                key=message.key,
                exchange=REQUEUE_EXCHANGE,
                headers=message.headers,
                type=message.routing_key,
            )
            for message in refused
            for queue in queues_for(message.routing_key)
        ]
        if detours:
            await self._publish(detours)

    async def _open_channel(self) -> broker.PublishingChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                await self.close()
                connection = await self._resources.enter_async_context(
                    broker.connect(self._url, f"{self._app_id} publishing")
                )
                self._channel = await broker.open_publishing_channel(connection)
            return self._channel

    async def close(self) -> None:
        self._channel = None
        with suppress(*broker.BROKER_ERRORS):
            await self._resources.aclose()


@asynccontextmanager
async def open_publisher(amqp_url: str, app_id: str) -> AsyncIterator[Publisher]:
    """Give a publisher; the broker need not be there yet."""
    publisher = Publisher(amqp_url, app_id)
    try:
        yield publisher
    finally:
        await publisher.close()


class Dispatch:
    """Outbox rows on their way. A row that is not confirmed stays in the table: the relay sends it again."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._confirmed: set[int] = set()

    @property
    def confirmed(self) -> frozenset[int]:
        """Rows to delete in the next transaction; call `forget` once that is committed."""
        return frozenset(self._confirmed)

    @property
    def held(self) -> frozenset[int]:
        """Rows that are this process's business: on their way, or confirmed and not yet deleted."""
        return frozenset(self._tasks) | self.confirmed

    async def ready(self) -> None:
        """Return when there is a broker to send to; raise PublishError when there is none."""
        await self._publisher.ready()

    def forget(self, row_ids: frozenset[int]) -> None:
        self._confirmed -= row_ids

    async def send(self, row: OutboxRow) -> None:
        """Begin to publish a committed row; waits first while too many are unconfirmed."""
        while len(self._tasks) >= ROWS_IN_FLIGHT:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._publish(row))
        self._tasks[row.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(row.id, None))

    async def _publish(self, row: OutboxRow) -> None:
        try:
            await self._publisher.publish(row.messages)
        except PublishError as error:
            log.warning("outbox.unconfirmed", row=row.id, events=len(row.messages), error=str(error))
        else:
            self._confirmed.add(row.id)

    async def settled(self, timeout_s: float) -> None:
        """Wait until nothing is on its way, at most `timeout_s`."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=timeout_s)
