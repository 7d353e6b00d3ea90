"""One batch from arrival to settlement: prepare, save piece by piece, and what to do when that fails.

`failures.step` decides; this module only carries out.
"""

from __future__ import annotations

import random
import time
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.session import Database
from shared.events import Event
from shared.messaging import failures, outbox
from shared.messaging.deliveries import Arrival, Deliveries
from shared.messaging.envelope import Delivery, Failure, Invalid, Message
from shared.messaging.facts import UNOBSERVED, Observer, Probe, Saved, Taken
from shared.messaging.outbox import OutboxRow
from shared.messaging.publisher import Dispatch
from shared.messaging.replays import replayed, resolve
from shared.messaging.settling import Settlement
from shared.messaging.waiting import Waiting
from shared.messaging.watchdog import WATCHFUL, Vigilance

log = structlog.get_logger(__name__)

Piece = TypeVar("Piece")

AGAIN_PAUSE_S = 0.05
NO_ERROR = Exception("none")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that can never be handled: to the dead, with this reason."""

    message: Message | Invalid
    reason: str
    error_type: str = "Rejected"


@dataclass(frozen=True, slots=True)
class Deferred:
    """A message that cannot be handled yet: to the retry ladder, with this reason."""

    message: Message
    reason: str
    error_type: str = "Deferred"


@dataclass(frozen=True, slots=True)
class Busy:
    """A message that somebody else is at: it comes again in a few seconds, and no attempt is spent."""

    message: Message


Apart = Rejected | Deferred | Busy
Effect = Event | Apart


class Handler(Protocol[Piece]):
    """What a service does with a batch."""

    def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        """Yield the batch in pieces. No transaction is open; what is held around a `yield` is held through its save."""

    async def save(self, tx: AsyncConnection, piece: Piece) -> Sequence[Effect]:
        """Write one piece's effects and give its events. Run again after a crash, it must change nothing more."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a service takes: its queue, the events on it, and how messages that hold none are told of and refused."""

    queue: str
    events: tuple[type[Event], ...]
    #: Words for an invalid message and the events that tell its sender.
    refuse: Callable[[Invalid], tuple[str, Sequence[Event]]] = field(default=lambda invalid: (invalid.reason, ()))
    #: How a delivery is read; None: as the event that its type says.
    read: Callable[[Delivery], Arrival] | None = None
    batch_size: int = 200
    #: False: what fails for the last time waits on the last rung again, since it is dead already.
    buries: bool = True
    #: Hold a batch at most this long for a dependency or a breaker, then put it back in the queue once.
    hold_s: float = 600.0
    vigilance: Vigilance = WATCHFUL

    def at_most(self, messages: int) -> Subscription:
        """The same, with batches no larger than this."""
        return replace(self, batch_size=min(self.batch_size, messages))


class Processor:
    """Processes batches; remembers between them what `failures.step` needs."""

    def __init__(
        self,
        service: str,
        database: Database,
        handler: Handler[Any],
        subscription: Subscription,
        dispatch: Dispatch,
        probes: Mapping[str, Probe],
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._service = service
        self._database = database
        self._handler = handler
        self._subscription = subscription
        self._dispatch = dispatch
        probes = {"database": database.probe, "network": database.probe, **probes}
        self._waiting = Waiting(subscription.queue, subscription.hold_s, probes, observer)
        self._observer = observer
        self._state = failures.State()
        self._deliveries: Deliveries
        self._settlement: Settlement
        #: Culprits, not yet sent to the ladder: if all that follow fail alike, they are none.
        self._held: deque[tuple[Arrival, BaseException]] = deque()
        self._at_work_since: float | None = None

    def begin(self, settlement: Settlement, deliveries: Deliveries) -> None:
        """Serve a new channel from now on. What was held came on the old one, and comes again."""
        self._settlement = settlement
        self._deliveries = deliveries
        self._waiting.begin(settlement)
        self._held.clear()
        self._state = replace(self._state, again=0, outages=0)

    @property
    def holds_culprits(self) -> bool:
        return bool(self._held)

    def at_work_s(self) -> float:
        """How long the handler has been at one piece; 0 while it has nothing to do, or waits for a dependency."""
        return 0.0 if self._at_work_since is None else time.monotonic() - self._at_work_since

    async def process(self, batch: Sequence[Arrival], *, in_place: bool = False) -> None:
        """Bring every arrival to its end, or hold it; unsettled stays what a lost channel or a stop interrupts.

        `in_place`: others may arrive meanwhile, so an open breaker is waited for here, and what of the batch it keeps
        from being tried goes back to the deliveries. Else it goes to the queue's end, no attempt spent.
        """
        redelivered = sum(arrival.delivery.is_redelivered for arrival in batch)
        self._observer.observe(Taken(self._subscription.queue, len(batch), redelivered))
        parts = _parts(batch)
        while parts and not self._settlement.is_lost:
            part = parts.pop()
            action, refused, error = await self._attempt(part)
            if isinstance(action, failures.Settle | failures.Close):
                await self._through(action, part, parts, refused)
            elif not await self._troubled(action, part, parts, error, in_place=in_place):
                return await self._leave(parts)
        return None

    async def _through(
        self,
        action: failures.Settle | failures.Close,
        part: Sequence[Arrival],
        parts: list[Sequence[Arrival]],
        refused: Sequence[Apart],
    ) -> None:
        await self._settle(part, refused)
        match action:
            case failures.Close():
                log.info("breaker.closed", queue=self._subscription.queue, held=len(self._held))
                self._waiting.over()
                held = (arrival for arrival, _ in self._held)
                self._deliveries.put_back(sorted(held, key=lambda arrival: arrival.delivery.tag))
                self._held.clear()
            case failures.Settle() if self._state.is_broken:
                parts += self._next_try()
            case failures.Settle():
                self._waiting.over()
                if not self._state.culprits:
                    await self.give_up()

    async def _troubled(
        self,
        action: failures.Action,
        part: Sequence[Arrival],
        parts: list[Sequence[Arrival]],
        error: BaseException,
        *,
        in_place: bool,
    ) -> bool:
        """Do what a part's failure asks for; False if there is no going on."""
        match action:
            case failures.RunAgain(tries):
                parts.append(part)
                return await self._settlement.pause(AGAIN_PAUSE_S * 2**tries * random.uniform(0.5, 1.5))
            case failures.Split():
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            case failures.Hold():
                self._held.append((part[0], error))
            case failures.Blame():
                await self._spend_attempt(part[0], error)
            case failures.AwaitDependency(dependency):
                parts.append(part)
                return await self._waiting.for_dependency(dependency, error)
            case failures.Break(fingerprint):
                self._held.append((part[0], error))
                if not await self._waiting.between_tries(fingerprint, error, in_place=in_place):
                    return False
                self._deliveries.put_back([arrival for rest in reversed(parts) for arrival in rest])
                parts[:] = self._next_try()
        return True

    def _next_try(self) -> list[Sequence[Arrival]]:
        """Choose what an open breaker tries next: the newest arrival, or what has been held longest."""
        held = {arrival.key for arrival, _ in self._held}
        if (newest := self._deliveries.take_newest(besides=held)) is not None:
            return [[newest]]
        return [[self._held.popleft()[0]]] if self._held else []

    async def give_up(self) -> None:
        """Spend an attempt of each culprit held: something else went through since, or nothing came for a while."""
        while self._held:
            await self._spend_attempt(*self._held.popleft())

    async def _spend_attempt(self, culprit: Arrival, error: BaseException) -> None:
        log.error("message.failed", queue=self._subscription.queue, key=culprit.key, exc_info=error)
        failure = Failure(_reason(error), failures.fingerprint_of(error), "".join(traceback.format_exception(error)))
        await self._settlement.fail(culprit.delivery, failure)

    async def _attempt(self, part: Sequence[Arrival]) -> tuple[failures.Action, Sequence[Apart], BaseException]:
        keys = tuple(arrival.key for arrival in part)
        self._at_work_since = time.monotonic()
        try:
            refused = await self._run(part)
        except Exception as error:  # classified here; what it leads to is the action
            self._state, action = failures.step(self._state, failures.Failed(failures.classify(error), keys))
            return action, (), error
        finally:
            self._at_work_since = None
        through = failures.Through(keys, tells=any(isinstance(arrival, Message) for arrival in part))
        self._state, action = failures.step(self._state, through)
        return action, refused, NO_ERROR

    async def _run(self, part: Sequence[Arrival]) -> list[Apart]:
        """Save a part piece by piece; give what of it was refused."""
        messages = [arrival for arrival in part if isinstance(arrival, Message)]
        refused = await self._refuse([arrival for arrival in part if isinstance(arrival, Invalid)])
        if messages:
            traces = {m.key: str(m.delivery.headers.get(outbox.TRACEPARENT, "")) for m in messages}
            async with aclosing(self._handler.prepare(self._database, messages)) as pieces:
                async for piece in pieces:
                    refused += await self._save(piece, messages, traces)
                    self._at_work_since = time.monotonic()
            await self._resolve(messages, refused)
        return refused

    async def _resolve(self, messages: Sequence[Message], refused: Sequence[Apart]) -> None:
        """Mark what was replayed and is through, once all its pieces are saved: before that it may still fail.

        Nothing is acknowledged yet: who dies here gets the messages again, changes nothing, and marks them then.
        """
        through = replayed(m.delivery for m in messages) - replayed(each.message.delivery for each in refused)
        if through and self._subscription.buries:
            async with self._database.begin() as tx:
                await resolve(tx, self._subscription.queue, through)

    async def _save(self, piece: object, messages: Sequence[Message], traces: Mapping[str, str]) -> list[Apart]:
        confirmed = self._dispatch.confirmed
        began = time.perf_counter()
        async with self._database.begin() as tx:
            effects = await self._handler.save(tx, piece)
            events = [effect for effect in effects if isinstance(effect, Event)]
            rows = await outbox.add(tx, self._service, events, confirmed, traces)
        seconds = time.perf_counter() - began
        self._observer.observe(Saved(self._subscription.queue, seconds, [m.event for m in messages], events))
        self._dispatch.forget(confirmed)
        await self._send(rows)
        return [effect for effect in effects if not isinstance(effect, Event)]

    async def _refuse(self, invalid: Sequence[Invalid]) -> list[Apart]:
        refused: list[Apart] = []
        events: list[Event] = []
        for arrival in invalid:
            reason, tells = self._subscription.refuse(arrival)
            refused.append(Rejected(arrival, reason, "Invalid"))
            events += tells
        if events:
            async with self._database.begin() as tx:
                rows = await outbox.add(tx, self._service, events)
            await self._send(rows)
        return refused

    async def _send(self, rows: Sequence[OutboxRow]) -> None:
        for row in rows:
            await self._dispatch.send(row)

    async def _settle(self, part: Sequence[Arrival], refused: Sequence[Apart]) -> None:
        """Acknowledge what went through; bury, defer or put off the others, once each, the copy confirmed first."""
        apart = {effect.message.delivery.tag: effect for effect in refused}
        self._settlement.settle(arrival.delivery for arrival in part if arrival.delivery.tag not in apart)
        for effect in apart.values():
            match effect:
                case Rejected(message, reason, error_type):
                    await self._settlement.bury(message.delivery, Failure(reason, error_type))
                case Deferred(message, reason, error_type):
                    await self._settlement.retry(message.delivery, Failure(reason, error_type))
                case Busy(message):
                    await self._settlement.put_off(message.delivery)

    async def _leave(self, parts: Sequence[Sequence[Arrival]]) -> None:
        """Put all that is left at the queue's end, no attempt spent: the wait was too long, or none is possible."""
        if self._settlement.is_stopping or self._settlement.is_lost:
            return
        left = [arrival for arrival, _ in self._held] + [arrival for part in reversed(parts) for arrival in part]
        self._held.clear()
        what = self._waiting.what
        log.warning("batch.put_back", queue=self._subscription.queue, messages=len(left), waits_for=what)
        await self._settlement.give_back(arrival.delivery for arrival in left)


def _parts(batch: Sequence[Arrival]) -> list[Sequence[Arrival]]:
    """What holds no event apart from the rest; the last part runs first."""
    invalid = [arrival for arrival in batch if isinstance(arrival, Invalid)]
    valid = [arrival for arrival in batch if isinstance(arrival, Message)]
    return [part for part in (invalid, valid) if part]


def _reason(error: BaseException) -> str:
    """Give an error's type and the first line of what it says, whatever that is."""
    said = "".join(traceback.format_exception_only(error)).removeprefix(f"{type(error).__module__}.")
    return next(iter(said.splitlines()), type(error).__name__)
