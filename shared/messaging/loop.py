"""The consumer: takes what has arrived, has it processed, and keeps going across lost channels and connections.

Two modes. *Careful*: prefetch 1, one message at a time; so begins every channel, and it ends at the first message
that was never delivered before. *In full flow*: whole batches, until a message comes back that had been delivered
before: it may have killed its process, so no other message may be in flight beside it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from shared.db.session import Database
from shared.messaging import broker
from shared.messaging.broker import ConsumerChannel
from shared.messaging.deliveries import Deliveries
from shared.messaging.envelope import Delivery, read
from shared.messaging.facts import UNOBSERVED, Consuming, NotConsuming, Observer, Probe
from shared.messaging.processing import Handler, Processor, Subscription
from shared.messaging.publisher import Dispatch, open_publisher
from shared.messaging.relay import relaying
from shared.messaging.settling import Settlement
from shared.messaging.topology import refuse_other_arguments
from shared.messaging.watchdog import Watchdog

log = structlog.get_logger(__name__)

RECONNECT_LIMIT_S = 5.0
PATIENCE_S = 2.0


async def consume(
    *,
    service: str,
    amqp_url: str,
    database: Database,
    subscription: Subscription,
    handler: Handler[Any],
    stop: asyncio.Event,
    probes: Mapping[str, Probe] | None = None,
    observer: Observer = UNOBSERVED,
) -> None:
    """Consume until `stop` is set; then finish the batch, acknowledge, and return with every confirm that came in time.

    A broker that is away is waited for, for ever. `probes` say whether what the handler depends on answers.

    Raises:
        TopologyError: the queue has other arguments than it must have.
        DeafConsumerError: the broker delivers nothing, on one new channel after the other.
        StuckHandlerError: the handler does not come back.
    """
    queue = subscription.queue
    observer.depends_on("database", database.probe)
    observer.observe(NotConsuming(queue, "it has just started"))
    async with open_publisher(amqp_url, service, observer) as publisher:
        dispatch = Dispatch(publisher)
        processor = Processor(service, database, handler, subscription, dispatch, probes or {}, observer)
        watchdog = Watchdog(amqp_url, service, queue, subscription.vigilance, observer, processor.at_work_s)

        async def one_channel() -> None:
            async with (
                broker.connect(amqp_url, f"{service} consuming") as connection,
                broker.open_consumer_channel(connection) as channel,
            ):
                await refuse_other_arguments(connection, queue)
                settlement = Settlement(queue, channel, publisher, stop, buries=subscription.buries, observer=observer)
                session = _Session(subscription, channel, settlement, processor, stop, observer)
                async with watchdog.beside(channel, settlement):
                    await session.run()

        async with relaying(database, dispatch, observer):
            await _again_and_again(one_channel, stop, queue, observer)
    log.info("consumer.stopped", queue=queue)


async def _again_and_again(
    one_channel: Callable[[], Awaitable[None]], stop: asyncio.Event, queue: str, observer: Observer
) -> None:
    """Live one channel's life after the other until `stop`, with a pause that grows while none comes about."""
    pause, is_told = 0.0, False
    while not stop.is_set():
        why = "its channel to the broker has ended, the next is opened"
        try:
            await one_channel()
            pause, is_told = 0.0, False
        except broker.BROKER_ERRORS as error:
            why = f"the broker does not let us consume: {str(error) or type(error).__name__}"
            log.log(
                logging.DEBUG if is_told else logging.WARNING,
                "broker.lost",
                queue=queue,
                error=str(error) or type(error).__name__,
            )
            is_told = True
        observer.observe(NotConsuming(queue, why))
        if not stop.is_set():
            pause = min(pause * 2 + 0.1, RECONNECT_LIMIT_S)
            await _is_set_within(stop, pause * random.uniform(0.7, 1.3))


class _Session:
    """One channel's life."""

    def __init__(
        self,
        subscription: Subscription,
        channel: ConsumerChannel,
        settlement: Settlement,
        processor: Processor,
        stop: asyncio.Event,
        observer: Observer,
    ) -> None:
        self._subscription = subscription
        self._observer = observer
        event_types = tuple(event.type for event in subscription.events)
        self._read = subscription.read or (lambda delivery: read(delivery, event_types))
        self._channel = channel
        self._settlement = settlement
        self._processor = processor
        self._stop = stop
        self._deliveries = Deliveries()
        self._is_told = False

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._channel.lost.is_set()

    def _receive(self, delivery: Delivery) -> None:
        self._settlement.delivered(delivery)
        self._deliveries.put(self._read(delivery))

    async def run(self) -> None:
        self._processor.begin(self._settlement, self._deliveries)
        wakes = [asyncio.create_task(self._wake_on(event)) for event in (self._stop, self._channel.lost)]
        try:
            while not self._is_over():
                await self._carefully()
                await self._in_full_flow()
        finally:
            for wake in wakes:
                wake.cancel()
        if not self._channel.lost.is_set():
            await self._channel.cancel()
            self._settlement.hand_back_all()

    def _tell_of_consuming(self) -> None:
        """Once a channel: only what the broker has answered counts."""
        if not self._is_told:
            self._is_told = True
            log.info("consumer.started", queue=self._subscription.queue)
            self._observer.observe(Consuming(self._subscription.queue))

    async def _wake_on(self, event: asyncio.Event) -> None:
        await event.wait()
        self._deliveries.arrived.set()

    async def _arrival(self) -> None:
        """Wait for a delivery, or for the end; culprits are held no longer than PATIENCE_S without one."""
        while self._processor.holds_culprits and not self._deliveries.arrived.is_set() and not self._is_over():
            if not await _is_set_within(self._deliveries.arrived, PATIENCE_S):
                await self._processor.give_up()
        if not self._is_over():
            await self._deliveries.arrived.wait()

    async def _carefully(self) -> None:
        """One message at a time, until one has come that was never delivered before."""
        await self._channel.consume(self._subscription.queue, prefetch=1, on_delivery=self._receive)
        self._tell_of_consuming()
        is_fresh = False
        while not is_fresh:
            await self._arrival()
            if self._is_over():
                return
            batch = self._deliveries.take(1)
            is_fresh = batch[0].delivery.delivery_count == 0
            if is_fresh:
                await self._channel.cancel()  # before the acknowledgement, which would bring the next
            await self._processor.process(batch)

    async def _in_full_flow(self) -> None:
        """Whole batches, until a message comes back; then finish the clean ones, and hand back the others once."""
        if self._is_over():
            return
        size = self._subscription.batch_size
        await self._channel.consume(self._subscription.queue, prefetch=2 * size, on_delivery=self._receive)
        while not self._deliveries.has_returned:
            await self._arrival()
            if self._is_over():
                return
            if not self._deliveries.has_returned:
                await self._processor.process(self._deliveries.take(size), in_place=True)
        await self._channel.cancel()
        clean, returned = self._deliveries.take_all()
        log.info("consumer.careful", queue=self._subscription.queue, clean=len(clean), returned=len(returned))
        self._deliveries.put_back(clean)
        while clean := self._deliveries.take(size):
            await self._processor.process(clean)
            if self._is_over():
                return
        self._settlement.hand_back(arrival.delivery for arrival in returned)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
