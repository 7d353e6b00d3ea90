"""The watchdog beside a consumer: looks every so often, on a connection of its own, whether the broker still knows it.

Health is said by the broker's own words, not by what the client believes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aio_pika.exceptions import ChannelNotFoundEntity

from shared.messaging import broker
from shared.messaging.broker import ConsumerChannel, QueueState
from shared.messaging.facts import NotConsuming, Observer, QueueSeen, Stuck
from shared.messaging.settling import Settlement
from shared.messaging.suspicion import GiveUp, Leave, Look, Rebuild, Renew, Suspicion, step

log = structlog.get_logger(__name__)

LOOK_WITHIN_S = 5.0
#: A queue that is not there. Who was registered in the moment in which it went may never have been told.
GONE = QueueState(ready=0, consumers=0)


class DeafConsumerError(Exception):
    """New channels have not made the broker deliver again: the process must be started anew."""


class StuckHandlerError(Exception):
    """The handler does not come back: the process must be started anew, and its messages go to another."""


@dataclass(frozen=True, slots=True)
class Vigilance:
    """How often a watchdog looks, and how long a queue with ready messages may deliver nothing."""

    every_s: float = 15.0
    quiet_limit_s: float = 60.0
    #: An idle consumer is registered anew so often: not all that is wrong with one can be seen.
    renew_after_s: float = 600.0
    #: A handler may be at one piece so long: longer than any mail, render or lot takes.
    stuck_after_s: float = 900.0


WATCHFUL = Vigilance()


class Watchdog:
    """Watches one queue's consumer, from channel to channel. `at_work_s`: how long its handler is at one piece."""

    def __init__(
        self,
        amqp_url: str,
        service: str,
        queue: str,
        vigilance: Vigilance,
        observer: Observer,
        at_work_s: Callable[[], float],
    ) -> None:
        self._url = amqp_url
        self._name = f"{service} watching"
        self._queue = queue
        self._vigilance = vigilance
        self._observer = observer
        self._at_work_s = at_work_s
        self._suspicion = Suspicion()

    @asynccontextmanager
    async def beside(self, channel: ConsumerChannel, settlement: Settlement) -> AsyncIterator[None]:
        """Watch this channel while the block runs. A deaf one is marked as lost.

        Raises:
            DeafConsumerError: after the block, if channel after channel was deaf.
            StuckHandlerError: out of the block, which is cancelled.
        """
        is_over, is_stuck = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(self._watch(channel, settlement, is_over))
        holder = asyncio.current_task()
        assert holder is not None
        stuck = asyncio.create_task(self._watch_handler(is_over, is_stuck, holder))
        try:
            yield
        except asyncio.CancelledError as error:
            if not is_stuck.is_set():
                raise
            holder.uncancel()
            raise StuckHandlerError(f"{self._queue}: {self._why_stuck}; what it holds goes to another") from error
        finally:
            is_over.set()
            await asyncio.gather(task, stuck)

    @property
    def _why_stuck(self) -> str:
        return f"the handler has been at one piece for {self._vigilance.stuck_after_s:.0f} s"

    async def _watch_handler(
        self, is_over: asyncio.Event, is_stuck: asyncio.Event, holder: asyncio.Task[object]
    ) -> None:
        while not await _within(is_over, self._vigilance.every_s):
            if self._at_work_s() >= self._vigilance.stuck_after_s:
                self._observer.observe(Stuck(self._queue, self._why_stuck))
                is_stuck.set()
                holder.cancel()
                return

    async def _watch(self, channel: ConsumerChannel, settlement: Settlement, is_over: asyncio.Event) -> None:
        while not await _within(is_over, self._vigilance.every_s):
            state = await self._look()
            if state is None or not channel.is_consuming or channel.lost.is_set():
                continue
            look = Look(state.consumers, state.ready, settlement.outstanding, settlement.quiet_s)
            self._suspicion, verdict = step(
                self._suspicion,
                look,
                quiet_limit_s=self._vigilance.quiet_limit_s,
                renew_after_s=self._vigilance.renew_after_s,
            )
            match verdict:
                case Leave():
                    self._tell_of(state)
                case Renew():
                    log.debug("consumer.renewed", queue=self._queue, idle_s=round(look.quiet_s))
                    self._tell_of(state)
                    channel.lost.set()
                case Rebuild(why):
                    self._drop(channel, why)
                case GiveUp(why):
                    self._drop(channel, why)
                    raise DeafConsumerError(f"{self._queue}: {why}, on one new channel after the other")

    def _drop(self, channel: ConsumerChannel, why: str) -> None:
        log.error("consumer.deaf", queue=self._queue, why=why)
        self._observer.observe(NotConsuming(self._queue, why))
        channel.lost.set()

    def _tell_of(self, state: QueueState) -> None:
        if self._suspicion == Suspicion():
            self._observer.observe(QueueSeen(self._queue, state.ready, state.consumers))

    async def _look(self) -> QueueState | None:
        """Give the queue as the broker tells it; None if it does not tell, which the consumer notices by itself."""
        try:
            async with asyncio.timeout(LOOK_WITHIN_S), broker.connect(self._url, self._name) as connection:
                return await broker.queue_state(connection, self._queue)
        except ChannelNotFoundEntity:
            return GONE
        except broker.BROKER_ERRORS as error:
            log.debug("watchdog.sees_nothing", queue=self._queue, error=str(error))
            return None


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
