"""How a delivery leaves this process: acknowledged, copied to the retry ladder or the dead, or handed back.

The one place that acknowledges. A channel that is lost settles nothing more: the broker delivers again what was open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog

from shared.messaging.broker import BROKER_ERRORS, ConsumerChannel
from shared.messaging.envelope import Delivery, Failure, Outgoing, copy_of, dead_letter_id, failed_copy
from shared.messaging.facts import UNOBSERVED, End, Observer, Settled
from shared.messaging.ledger import Ledger
from shared.messaging.publisher import Publisher, PublishError
from shared.messaging.topology import DEAD_EXCHANGE, LADDER, REQUEUE_EXCHANGE, RETRY_EXCHANGE

log = structlog.get_logger(__name__)

PUBLISH_AGAIN_AFTER_S = 1.0


class Settlement:
    """Settles the deliveries of one channel's life."""

    def __init__(
        self,
        queue: str,
        channel: ConsumerChannel,
        publisher: Publisher,
        stop: asyncio.Event,
        *,
        buries: bool = True,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._queue = queue
        self._buries = buries
        self._channel = channel
        self._publisher = publisher
        self._stop = stop
        self._observer = observer
        self._ledger = Ledger()
        self._now = asyncio.get_running_loop().time
        self._last_delivery = self._now()

    @property
    def is_lost(self) -> bool:
        return self._channel.lost.is_set()

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def outstanding(self) -> int:
        """How many deliveries are not settled yet."""
        return len(self._ledger)

    @property
    def quiet_s(self) -> float:
        """Seconds since the last delivery, or since the channel was opened."""
        return self._now() - self._last_delivery

    def delivered(self, delivery: Delivery) -> None:
        self._last_delivery = self._now()
        self._ledger.delivered(delivery.tag)

    def settle(self, deliveries: Iterable[Delivery]) -> None:
        """Acknowledge deliveries whose effects are committed."""
        self._settle(deliveries, "handled")

    def _settle(self, deliveries: Iterable[Delivery], end: End) -> None:
        before = len(self._ledger)
        acks = self._ledger.settle(delivery.tag for delivery in deliveries)
        if settled := before - len(self._ledger):
            self._observer.observe(Settled(self._queue, end, settled))
        for ack in acks:
            with self._unless_lost():
                self._channel.ack(ack.tag, is_multiple=ack.is_multiple)

    async def bury(self, delivery: Delivery, failure: Failure) -> None:
        """Send a copy to the dead, then acknowledge."""
        log.warning("message.dead", queue=self._queue, attempts=delivery.attempts + 1, error_type=failure.error_type)
        await self._replace(delivery, failure, DEAD_EXCHANGE, self._queue, "dead")

    async def retry(self, delivery: Delivery, failure: Failure) -> None:
        """Send a copy to the rung of the ladder that its attempts have reached, or to the dead; then acknowledge."""
        if self._buries and delivery.attempts >= len(LADDER):
            await self.bury(delivery, failure)
            return
        rung = LADDER[min(delivery.attempts, len(LADDER) - 1)]
        log.info("message.retry", queue=self._queue, rung=rung, error_type=failure.error_type)
        await self._replace(delivery, failure, RETRY_EXCHANGE, f"{rung}.{self._queue}", "retried")

    async def fail(self, delivery: Delivery, failure: Failure) -> None:
        """Spend an attempt of a message that failed by an error: up the ladder.

        A replayed one is dead again at once: it has been up the ladder, and an operator waits for its outcome.
        """
        if self._buries and dead_letter_id(delivery) is not None:
            await self.bury(delivery, failure)
        else:
            await self.retry(delivery, failure)

    async def put_off(self, delivery: Delivery) -> None:
        """Send a copy to the ladder's first rung, its attempts as they are; then acknowledge."""
        log.debug("message.put_off", queue=self._queue)
        copy = copy_of(delivery, exchange=RETRY_EXCHANGE, routing_key=f"{LADDER[0]}.{self._queue}")
        await self._publish_then_settle(copy, delivery, "put_off")

    async def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Put copies at the queue's end, then acknowledge: unlike handing back, it spends no delivery count."""
        for delivery in deliveries:
            copy = copy_of(delivery, exchange=REQUEUE_EXCHANGE, routing_key=f"held.{self._queue}")
            await self._publish_then_settle(copy, delivery, "put_back")

    def hand_back(self, deliveries: Iterable[Delivery]) -> None:
        """Return deliveries untouched."""
        for tag in self._ledger.release(delivery.tag for delivery in deliveries):
            with self._unless_lost():
                self._channel.hand_back(tag)

    def hand_back_all(self) -> None:
        """Return all that is unsettled untouched, before the channel is closed."""
        for tag in self._ledger.release_all():
            with self._unless_lost():
                self._channel.hand_back(tag)

    async def _replace(self, delivery: Delivery, failure: Failure, exchange: str, routing_key: str, end: End) -> None:
        copy = failed_copy(
            delivery,
            queue=self._queue,
            exchange=exchange,
            routing_key=routing_key,
            attempts=delivery.attempts + 1,
            failure=failure,
            now=datetime.now(UTC),
        )
        await self._publish_then_settle(copy, delivery, end)

    async def _publish_then_settle(self, copy: Outgoing, delivery: Delivery, end: End) -> None:
        while not self.is_lost:
            try:
                await self._publisher.publish([copy])
            except PublishError as error:
                log.debug("copy.unconfirmed", queue=self._queue, error=str(error))
                if await self.pause(PUBLISH_AGAIN_AFTER_S):
                    continue
                return
            self._settle([delivery], end)
            return

    async def pause(self, seconds: float) -> bool:
        """Wait; give False at once when the process is to stop or the channel is lost."""
        waits = [asyncio.create_task(self._stop.wait()), asyncio.create_task(self._channel.lost.wait())]
        done, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return not done

    @contextmanager
    def _unless_lost(self) -> Iterator[None]:
        try:
            yield
        except BROKER_ERRORS as error:
            log.debug("channel.lost_before_ack", queue=self._queue, error=str(error))
