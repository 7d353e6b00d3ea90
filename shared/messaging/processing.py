"""One batch from arrival to settlement: prepare, save piece by piece, and what to do when that fails.

`failures.step` decides; this module only carries out.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.session import Database
from shared.events import Event
from shared.messaging import failures, outbox
from shared.messaging.deliveries import Arrival
from shared.messaging.envelope import Delivery, Failure, Invalid, Message
from shared.messaging.publisher import Dispatch
from shared.messaging.settling import Settlement

log = structlog.get_logger(__name__)

Piece = TypeVar("Piece")
Probe = Callable[[], Awaitable[None]]

AGAIN_PAUSE_S = 0.05
NO_ERROR = Exception("none")
PAUSE_LIMIT_S = 15.0


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
    ) -> None:
        self._service = service
        self._database = database
        self._handler = handler
        self._subscription = subscription
        self._dispatch = dispatch
        self._probes = {"database": database.probe, "network": database.probe, **probes}
        self._state = failures.State()
        self._broken_since = 0.0
        self._broken_pause = 0.0
        self._settlement: Settlement
        #: Culprits, not yet sent to the ladder: if all that follow fail alike, they are none.
        self._held: list[tuple[Arrival, BaseException]] = []
        #: What is being waited for, in words; None when all is well.
        self.waits_for: str | None = None

    def begin(self, settlement: Settlement) -> None:
        """Settle on a new channel from now on. What was held came on the old one, and comes again."""
        self._settlement = settlement
        self._held = []
        self._state = replace(self._state, again=0, outages=0)

    @property
    def holds_culprits(self) -> bool:
        return bool(self._held)

    async def process(self, batch: Sequence[Arrival]) -> None:
        """Bring every arrival to its end, or hold it; unsettled stays what a lost channel or a stop interrupts."""
        parts = _parts(batch)
        while parts and not self._settlement.is_lost:
            part = parts.pop()
            action, refused, error = await self._attempt(part)
            if isinstance(action, failures.Settle):
                await self._through(part, refused)
            elif not await self._troubled(action, part, parts, error):
                return await self._leave(parts)
        return None

    async def _through(self, part: Sequence[Arrival], refused: Sequence[Apart]) -> None:
        self.waits_for = None
        await self._settle(part, refused)
        if not self._state.culprits:
            await self.give_up()

    async def _troubled(
        self, action: failures.Action, part: Sequence[Arrival], parts: list[Sequence[Arrival]], error: BaseException
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
            case failures.AwaitDependency(dependency):
                parts.append(part)
                return await self._outage(dependency, error)
            case failures.Break(fingerprint):
                parts[:0] = [part, *([arrival] for arrival, _ in self._held)]  # run after all the others
                self._held = []
                return await self._broken(fingerprint, error)
        return True

    async def give_up(self) -> None:
        """Spend an attempt of each culprit held: something else went through since, or nothing came for a while."""
        held, self._held = self._held, []
        for arrival, error in held:
            story = "".join(traceback.format_exception(error))
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
            log.error("message.failed", queue=self._subscription.queue, reason=reason, exc_info=error)
            await self._settlement.retry(arrival.delivery, Failure(reason, failures.fingerprint_of(error), story))

    async def _attempt(self, part: Sequence[Arrival]) -> tuple[failures.Action, Sequence[Apart], BaseException]:
        try:
            refused = await self._run(part)
        except Exception as error:  # classified here; what it leads to is the action
            failed = failures.Failed(failures.classify(error), tuple(arrival.key for arrival in part))
            self._state, action = failures.step(self._state, failed)
            return action, (), error
        tells = any(isinstance(arrival, Message) for arrival in part)
        self._state, action = failures.step(self._state, failures.Through(tells))
        return action, refused, NO_ERROR

    async def _run(self, part: Sequence[Arrival]) -> list[Apart]:
        """Save a part piece by piece; give what of it was refused."""
        messages = [arrival for arrival in part if isinstance(arrival, Message)]
        refused = await self._refuse([arrival for arrival in part if isinstance(arrival, Invalid)])
        if messages:
            traces = {m.key: str(m.delivery.headers.get(outbox.TRACEPARENT, "")) for m in messages}
            async with aclosing(self._handler.prepare(self._database, messages)) as pieces:
                async for piece in pieces:
                    refused += await self._save(piece, traces)
        return refused

    async def _save(self, piece: object, traces: Mapping[str, str]) -> list[Apart]:
        confirmed = self._dispatch.confirmed
        async with self._database.begin() as tx:
            effects = await self._handler.save(tx, piece)
            events = [effect for effect in effects if isinstance(effect, Event)]
            row = await outbox.add(tx, self._service, events, confirmed, traces)
        self._dispatch.forget(confirmed)
        await self._dispatch.send(row)
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
                row = await outbox.add(tx, self._service, events)
            await self._dispatch.send(row)
        return refused

    async def _settle(self, part: Sequence[Arrival], refused: Sequence[Apart]) -> None:
        """Acknowledge what went through; bury, defer or put off the others, once each, the copy confirmed first."""
        apart = {effect.message.delivery.tag: effect for effect in refused}
        await self._settlement.settle(arrival.delivery for arrival in part if arrival.delivery.tag not in apart)
        for effect in apart.values():
            match effect:
                case Rejected(message, reason, error_type):
                    await self._settlement.bury(message.delivery, Failure(reason, error_type))
                case Deferred(message, reason, error_type):
                    await self._settlement.retry(message.delivery, Failure(reason, error_type))
                case Busy(message):
                    await self._settlement.put_off(message.delivery)

    async def _outage(self, dependency: str, error: BaseException) -> bool:
        """Wait in place until a dependency answers again; False if the wait was given up."""
        probe = self._probes.get(dependency, _no_probe)
        self.waits_for = f"{dependency} to answer"
        log.warning("outage.begins", waits_for=dependency, error=str(error))
        async for _ in _pauses(self._settlement, self._subscription.hold_s):
            try:
                await probe()
            except Exception as still:  # whatever it is, the dependency is not back
                log.debug("outage.lasts", waits_for=dependency, error=str(still))
            else:
                self.waits_for = None
                log.info("outage.over", waited_for=dependency)
                return True
        return False

    async def _broken(self, fingerprint: str, error: BaseException) -> bool:
        """Pause before the next try; False if the time to hold is over."""
        if self.waits_for is None:
            log.error("breaker.open", queue=self._subscription.queue, error_type=fingerprint, exc_info=error)
            self._broken_since = asyncio.get_running_loop().time()
            self._broken_pause = 0.5
        self.waits_for = f"the cause of {fingerprint} to be mended"
        self._broken_pause = min(self._broken_pause * 2, PAUSE_LIMIT_S)
        is_in_time = asyncio.get_running_loop().time() - self._broken_since < self._subscription.hold_s
        return await self._settlement.pause(self._broken_pause) and is_in_time

    async def _leave(self, parts: Sequence[Sequence[Arrival]]) -> None:
        """The wait was too long: put all that is left at the queue's end, no attempt spent."""
        if self._settlement.is_stopping or self._settlement.is_lost:
            return
        left = [arrival for part in parts for arrival in part] + [arrival for arrival, _ in self._held]
        self._held = []
        log.warning("batch.put_back", queue=self._subscription.queue, messages=len(left), waits_for=self.waits_for)
        await self._settlement.give_back(arrival.delivery for arrival in left)
        self.waits_for = None


def _parts(batch: Sequence[Arrival]) -> list[Sequence[Arrival]]:
    """What holds no event apart from the rest; the last part runs first."""
    invalid = [arrival for arrival in batch if isinstance(arrival, Invalid)]
    valid = [arrival for arrival in batch if isinstance(arrival, Message)]
    return [part for part in (invalid, valid) if part]


async def _no_probe() -> None:
    """Nothing to ask: the work itself shows whether it is back."""


async def _pauses(settlement: Settlement, limit_s: float) -> AsyncIterator[None]:
    """Yield after growing pauses, until the limit, the end of the channel or the stop of the process."""
    pause, passed = 0.2, 0.0
    while passed < limit_s:
        wait = pause * random.uniform(0.7, 1.3)
        if not await settlement.pause(wait):
            return
        yield
        passed += wait
        pause = min(pause * 2, PAUSE_LIMIT_S / 3)
