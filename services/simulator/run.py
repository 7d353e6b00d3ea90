"""Publishing synthetic leads: in cycles, at a rate, or as fast as the broker confirms them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from random import Random
from time import monotonic
from typing import assert_never

import structlog

from services.simulator.leads import Kind, LeadMaker, Sample, Vocabulary
from services.simulator.pacing import CycleSizes, Pacer
from shared.messaging.publisher import Outgoing, PublishError

#: What one publish takes at most: it is confirmed as a whole.
BATCH = 500
_TICK_S = 0.01
_PROGRESS_EVERY_S = 10.0
_RETRY_FIRST_S = 0.25
_RETRY_AT_MOST_S = 2.0

#: Returns when the broker has confirmed all; raises PublishError when it has not.
Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class InCycles:
    """The seed's way: a few leads, a pause, a few more."""

    interval_s: float = 10.0
    leads_min: int = 1
    leads_max: int = 5

    def __post_init__(self) -> None:
        if not 0 <= self.interval_s < inf:
            raise ValueError("the interval is 0 seconds or more")
        CycleSizes(self.leads_min, self.leads_max, Random(0))


@dataclass(frozen=True, slots=True)
class AtRate:
    """So many a second, evenly; what was missed is made up for, up to one second's worth."""

    per_s: float

    def __post_init__(self) -> None:
        if not 0 < self.per_s < inf:
            raise ValueError("a rate is above 0 per second")


@dataclass(frozen=True, slots=True)
class AtOnce:
    """As fast as the broker confirms."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. Without `count` there is no end but the stop.

    Raises:
        ValueError: for what makes no sense, as do the paces.
    """

    seed: int
    pace: InCycles | AtRate | AtOnce = field(default_factory=InCycles)
    run_id: str = ""
    count: int | None = None
    duplicates: float = 0
    malformed: float = 0
    vocabulary: Vocabulary = field(default_factory=Vocabulary)

    def __post_init__(self) -> None:
        self.lead_maker()

    def lead_maker(self) -> LeadMaker:
        return LeadMaker(
            self.seed, self.run_id, duplicates=self.duplicates, malformed=self.malformed, vocabulary=self.vocabulary
        )


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What was sent and confirmed: `sent` is the sum of the next three. `cycles` is 0 where the pace has none."""

    sent: int
    good: int
    duplicates: int
    malformed: int
    cycles: int
    seconds: float


async def simulate(publish: Publish, plan: Plan, stop: asyncio.Event) -> SimulationSummary:
    """Publish what the plan says until it is done or `stop` is set.

    While the broker is away it waits, having said so once. A batch that was not confirmed is published again as a
    whole: the broker may then have some leads twice, while the summary counts them once.
    """
    maker = plan.lead_maker()
    bursts = _bursts(plan, stop)
    started_s = said_s = monotonic()
    sent: Counter[Kind] = Counter()
    cycles = 0
    while plan.count is None or sent.total() < plan.count:
        size = await anext(bursts, None)
        if size is None:
            break
        if plan.count is not None:
            size = min(size, plan.count - sent.total())
        samples = [maker.make(datetime.now(UTC)) for _ in range(size)]
        if not await _publish_until_confirmed(publish, samples, stop):
            break
        sent.update(sample.kind for sample in samples)
        if isinstance(plan.pace, InCycles):
            cycles += 1
            log.info("simulator.cycle", cycle=cycles, leads=size, sent=sent.total())
        elif monotonic() - said_s >= _PROGRESS_EVERY_S:
            said_s = monotonic()
            log.info("simulator.progress", sent=sent.total())
    return SimulationSummary(
        sent=sent.total(),
        good=sent[Kind.GOOD],
        duplicates=sent[Kind.DUPLICATE],
        malformed=sent[Kind.MALFORMED],
        cycles=cycles,
        seconds=round(monotonic() - started_s, 3),
    )


async def _bursts(plan: Plan, stop: asyncio.Event) -> AsyncIterator[int]:
    """Say again and again how many leads are due now, waiting in between, until stopped."""
    match plan.pace:
        case InCycles(interval_s, leads_min, leads_max):
            sizes = CycleSizes(leads_min, leads_max, Random(f"{plan.seed} {plan.run_id} cycles"))
            while not stop.is_set():
                yield sizes.draw()
                await _pause(stop, interval_s)
        case AtRate(per_s):
            pacer = Pacer(per_s, monotonic())
            while not stop.is_set():
                if due := pacer.take(monotonic(), BATCH):
                    yield due
                await _pause(stop, max(pacer.wait_s(), _TICK_S))
        case AtOnce():
            while not stop.is_set():
                yield BATCH
                await _pause(stop, 0)
        case _:
            assert_never(plan.pace)


async def _publish_until_confirmed(publish: Publish, samples: Sequence[Sample], stop: asyncio.Event) -> bool:
    outgoing = [Outgoing(sample.routing_key, sample.body, sample.key) for sample in samples]
    pause_s, is_away = _RETRY_FIRST_S, False
    while True:
        try:
            await publish(outgoing)
        except PublishError as error:
            if not is_away:
                log.warning("simulator.broker_away", error=str(error))
            is_away = True
        else:
            if is_away:
                log.info("simulator.broker_back")
            return True
        if await _pause(stop, pause_s):
            return False
        pause_s = min(2 * pause_s, _RETRY_AT_MOST_S)


async def _pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait, but not past the stop. True if it has come."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
