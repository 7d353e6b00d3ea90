"""Publishing with confirms: for clients, and for outbox rows while the next batch runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog

from shared.messaging import broker, rollcall
from shared.messaging.envelope import Outgoing
from shared.messaging.facts import UNOBSERVED, Observer, PublishingFails
from shared.messaging.outbox import OutboxRow
from shared.messaging.rollcall import RollCall
from shared.messaging.topology import EVENTS_EXCHANGE, REQUEUE_EXCHANGE, queues_for

log = structlog.get_logger(__name__)

CHUNK = 500
#: What may be unconfirmed. Where each batch is one lead, the confirms of a few rows must not hold up the next batch.
EVENTS_IN_FLIGHT, ROWS_IN_FLIGHT = 4_000, 200
#: To a queue that is not there, past all exchanges of ours: the broker confirms it and throws it away.
PROBE = Outgoing("leadline.probe", b"", exchange="", is_mandatory=False)
SHORT_OF_ROOM = "the broker takes nothing in: it is short of disk or memory"

__all__ = ["Dispatch", "Outgoing", "PublishError", "Publisher", "open_publisher"]


class PublishError(ConnectionError):
    """Not all messages were confirmed; which arrived is unknown. Publish them again."""


class Publisher:
    """One connection to publish on, opened when first needed and again whenever it is lost."""

    def __init__(self, url: str, app_id: str, observer: Observer = UNOBSERVED) -> None:
        self._url = url
        self._app_id = app_id
        self._observer = observer
        self._problem: str | None = None
        self._opening = asyncio.Lock()
        self._resources = AsyncExitStack()
        self._leaving: set[asyncio.Task[None]] = set()
        self._channel: broker.PublishingChannel | None = None
        self._roll_call: RollCall | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Return when the broker has confirmed every message, and each queue of ours was there to take it.

        Raises:
            PublishError: some are not confirmed: the broker is away, or one of our queues is.
        """
        try:
            for start in range(0, len(messages), CHUNK):
                await self._publish(messages[start : start + CHUNK])
            if rollcall.concerns(messages):
                await self._call_the_roll()
        except PublishError as error:
            self._note(str(error))
            raise
        self._note(None)

    async def probe(self) -> None:
        """Return once the broker has taken in a message that goes nowhere; raise as `publish` does if it has not.

        A broker that is short of disk or memory says so only to who publishes, whose first message it still takes.
        """
        await self.publish([PROBE])
        await self.ready()

    async def ready(self) -> broker.PublishingChannel:
        """Return once connected to a broker that, as far as it has said, takes in what is published.

        Raises:
            PublishError: the broker does not answer, or it is short of disk or memory.
        """
        try:
            channel = await self._open_channel()
        except broker.BROKER_ERRORS as error:
            raise PublishError(f"the broker does not answer: {error}") from error
        try:
            await channel.takes_in()
        except TimeoutError as error:
            raise PublishError(SHORT_OF_ROOM) from error
        return channel

    def _note(self, problem: str | None) -> None:
        """Log once that publishing fails, and once that it works again; tell the observer of every failure."""
        if (problem is None) != (self._problem is None):
            if problem is None:
                log.info("publishing.works_again", publisher=self._app_id)
            else:
                log.warning("publishing.fails", publisher=self._app_id, error=problem)
        if problem is not None or self._problem is not None:
            self._observer.observe(PublishingFails(self._app_id, problem))
        self._problem = problem

    async def _publish(self, messages: Sequence[Outgoing]) -> None:
        channel = await self.ready()
        problems = await channel.publish(messages, self._app_id)
        if any(isinstance(problem, TimeoutError) for problem in problems):
            await self._leave_if_silent(channel)
        refused: list[Outgoing] = []
        for message, problem in zip(messages, problems, strict=True):
            if isinstance(problem, broker.Refused) and message.exchange == EVENTS_EXCHANGE:
                refused.append(message)
            elif problem is not None:
                why = str(problem) or f"the broker did not answer within {broker.CONFIRM_TIMEOUT_S} s"
                raise PublishError(f"not confirmed: {why}") from problem
        if refused:
            await self._detour(refused)

    async def _call_the_roll(self) -> None:
        if self._roll_call is None:
            raise PublishError("the connection was lost before it was seen whether all queues are there")
        try:
            queue = await self._roll_call.missing()
        except broker.BROKER_ERRORS as error:
            raise PublishError(f"the broker does not say whether all queues are there: {error}") from error
        if queue is not None:
            raise PublishError(f"the queue {queue!r} is missing: run `leadline setup`")

    async def _leave_if_silent(self, channel: broker.PublishingChannel) -> None:
        """Give up a connection on which nothing comes back any more; raise PublishError if the broker has said why.

        To close it would be to wait for an answer as well: that is done aside.
        """
        try:
            await channel.takes_in()
        except TimeoutError as error:
            raise PublishError(SHORT_OF_ROOM) from error
        if self._channel is channel:
            self._channel = None
            leaving = asyncio.create_task(_close(self._resources.pop_all()))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

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
                await _close(self._resources)
                connection = await self._resources.enter_async_context(
                    broker.connect(self._url, f"{self._app_id} publishing")
                )
                self._channel = await broker.open_publishing_channel(connection)
                self._roll_call = RollCall(broker.QueueLook(connection))
            return self._channel

    async def close(self) -> None:
        self._channel = None
        await _close(self._resources)
        if self._leaving:
            await asyncio.wait(self._leaving)


async def _close(resources: AsyncExitStack) -> None:
    with suppress(*broker.BROKER_ERRORS):
        await resources.aclose()


@asynccontextmanager
async def open_publisher(amqp_url: str, app_id: str, observer: Observer = UNOBSERVED) -> AsyncIterator[Publisher]:
    """Give a publisher; the broker need not be there yet."""
    publisher = Publisher(amqp_url, app_id, observer)
    try:
        yield publisher
    finally:
        await publisher.close()


class Dispatch:
    """Outbox rows on their way. A row that is not confirmed stays in the table: the relay sends it again."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._events = 0
        self._confirmed: set[int] = set()

    @property
    def confirmed(self) -> frozenset[int]:
        """Rows to delete in the next transaction; call `forget` once that is committed."""
        return frozenset(self._confirmed)

    @property
    def held(self) -> frozenset[int]:
        """Rows that are this process's business: on their way, or confirmed and not yet deleted."""
        return frozenset(self._tasks) | self.confirmed

    async def probe(self) -> None:
        """Return when there is a broker that takes in what it is sent; raise PublishError when there is none."""
        await self._publisher.probe()

    def forget(self, row_ids: frozenset[int]) -> None:
        self._confirmed -= row_ids

    async def send(self, row: OutboxRow) -> None:
        """Begin to publish a committed row; waits first while too much is unconfirmed.

        One that is on its way already, as a relay has found it due while it waited here, is left to that.
        """
        while self._events >= EVENTS_IN_FLIGHT or len(self._tasks) >= ROWS_IN_FLIGHT:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        if row.id in self._tasks:
            return
        self._events += len(row.messages)
        task = self._tasks[row.id] = asyncio.create_task(self._publish(row))
        task.add_done_callback(lambda _: self._ended(row))

    def _ended(self, row: OutboxRow) -> None:
        self._events -= len(row.messages)
        del self._tasks[row.id]

    async def _publish(self, row: OutboxRow) -> None:
        try:
            await self._publisher.publish(row.messages)
        except PublishError as error:
            log.debug("outbox.unconfirmed", row=row.id, events=len(row.messages), error=str(error))
        else:
            self._confirmed.add(row.id)

    async def settled(self, timeout_s: float) -> None:
        """Wait until nothing is on its way, at most `timeout_s`."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=timeout_s)
