"""The simulator's pace, its counts, and what it does while the broker is away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from math import inf, nan
from random import Random
from time import monotonic

import pytest
from structlog.testing import capture_logs

from services.simulator.leads import LeadMaker
from services.simulator.pacing import CYCLE_WEIGHTS, CycleSizes, Pacer
from services.simulator.run import BATCH, AtOnce, AtRate, InCycles, Plan, simulate
from shared.messaging.publisher import Outgoing, PublishError


class Broker:
    """Takes what is published; away for its first `failures` calls, sets `stop` after `stop_after` messages."""

    def __init__(self, *, failures: int = 0, stop_after: float = inf) -> None:
        self.batches: list[list[Outgoing]] = []
        self.times: list[float] = []
        self.stop = asyncio.Event()
        self._failures = failures
        self._stop_after = stop_after

    @property
    def messages(self) -> list[Outgoing]:
        return [message for batch in self.batches for message in batch]

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        if self._failures:
            self._failures -= 1
            raise PublishError("nobody there")
        self.times.append(monotonic())
        self.batches.append(list(messages))
        if len(self.messages) >= self._stop_after:
            self.stop.set()


@pytest.mark.parametrize(("at_least", "at_most"), [(1, 5), (2, 4), (1, 1), (3, 3), (2, 9), (1, 2)])
def test_cycles_have_the_seeds_weights(at_least: int, at_most: int) -> None:
    """Chi-square over 20,000 cycles against 25/20/10/20/25 %, cut to the limits and renormalised."""
    sizes = CycleSizes(at_least, at_most, Random("chi-square"))
    cycles = 20_000
    seen = dict.fromkeys(range(1, 10), 0)
    for _ in range(cycles):
        seen[sizes.draw()] += 1
    allowed = {size: weight for size, weight in CYCLE_WEIGHTS.items() if at_least <= size <= at_most}
    assert {size for size, count in seen.items() if count} == set(allowed)
    expected = {size: cycles * weight / sum(allowed.values()) for size, weight in allowed.items()}
    chi_square = sum((seen[size] - expected[size]) ** 2 / expected[size] for size in allowed)
    assert chi_square < 18.47, "p = 0.001 at four degrees of freedom, and stricter than that below"


def test_the_weights_are_the_seeds() -> None:
    assert dict(CYCLE_WEIGHTS) == {1: 25, 2: 20, 3: 10, 4: 20, 5: 25}


def test_a_pacer_keeps_its_rate() -> None:
    """Asked at uneven times it gives the rate all the same, the first at once."""
    rng, pacer, now, given = Random(1), Pacer(100, 0.0), 0.0, 0
    while now < 60:
        given += pacer.take(now, 1_000)
        assert abs(given - (1 + now * 100)) <= 1
        now += rng.random() * 0.1


def test_a_pacer_catches_up_at_most_one_second() -> None:
    pacer = Pacer(100, 0.0)
    assert pacer.take(0.0, 1_000) == 1
    assert pacer.take(0.5, 1_000) == 50
    assert pacer.take(60.0, 1_000) == 100
    assert pacer.take(60.0, 1_000) == 0
    assert pacer.wait_s() == pytest.approx(0.01)


def test_a_pacer_gives_no_more_than_asked_and_keeps_the_rest() -> None:
    pacer = Pacer(100, 0.0)
    assert [pacer.take(1.0, 30) for _ in range(5)] == [30, 30, 30, 10, 0]


def test_a_slow_pacer_gives_one_at_a_time() -> None:
    pacer = Pacer(0.5, 0.0)
    assert [pacer.take(now, 10) for now in (0.0, 1.0, 2.0, 3.0, 4.0, 100.0)] == [1, 0, 1, 0, 1, 1]


async def test_a_count_is_kept_exactly() -> None:
    """As fast as can be, in batches; what was sent is what the same seed makes."""
    broker = Broker()
    plan = Plan(seed=4, pace=AtOnce(), count=1_234, duplicates=10, malformed=5)
    summary = await simulate(broker.publish, plan, broker.stop)
    assert (summary.sent, summary.good + summary.duplicates + summary.malformed) == (1_234, 1_234)
    assert summary.duplicates == pytest.approx(123, abs=1)
    assert summary.malformed == pytest.approx(62, abs=1)
    assert summary.cycles == 0
    assert [len(batch) for batch in broker.batches] == [BATCH, BATCH, 234]
    assert len({message.key for message in broker.messages} - {None}) > 1_000
    assert {message.exchange for message in broker.messages} == {"leads"}


async def test_cycles_go_on_until_stopped() -> None:
    broker = Broker(stop_after=50)
    summary = await simulate(broker.publish, Plan(seed=4, pace=InCycles(0, 2, 4)), broker.stop)
    assert summary.cycles == len(broker.batches)
    assert {len(batch) for batch in broker.batches} == {2, 3, 4}
    assert 50 <= summary.sent == len(broker.messages) < 54


async def test_between_cycles_there_is_the_interval() -> None:
    broker = Broker(stop_after=4)
    await simulate(broker.publish, Plan(seed=4, pace=InCycles(0.05, 1, 1)), broker.stop)
    assert all(after - before >= 0.045 for before, after in pairwise(broker.times))


async def test_a_stop_ends_the_interval() -> None:
    """A long pause does not delay the stop."""
    broker = Broker()
    asyncio.get_running_loop().call_later(0.05, broker.stop.set)
    summary = await asyncio.wait_for(simulate(broker.publish, Plan(seed=4, pace=InCycles(600)), broker.stop), 5)
    assert summary.cycles == 1


async def test_a_rate_is_kept() -> None:
    broker = Broker()
    summary = await simulate(broker.publish, Plan(seed=4, pace=AtRate(400), count=200), broker.stop)
    assert summary.sent == 200
    assert 0.45 <= summary.seconds < 2


async def test_a_broker_that_is_away_is_said_once_and_waited_for() -> None:
    """Nothing is lost, nothing is counted twice, and the leads are those of the seed."""
    broker = Broker(failures=2)
    with capture_logs() as logs:
        summary = await simulate(broker.publish, Plan(seed=4, pace=AtOnce(), count=10), broker.stop)
    assert summary.sent == 10
    assert [entry["event"] for entry in logs] == ["simulator.broker_away", "simulator.broker_back"]
    assert logs[0]["error"] == "nobody there"
    ids = [message.key for message in broker.messages]
    assert ids == [f"SIM-4-{n:07d}" for n in range(1, 11)]


async def test_a_stop_while_the_broker_is_away_ends_it() -> None:
    broker = Broker(failures=10_000)
    asyncio.get_running_loop().call_later(0.05, broker.stop.set)
    summary = await asyncio.wait_for(simulate(broker.publish, Plan(seed=4, pace=AtOnce(), count=10), broker.stop), 5)
    assert summary.sent == 0


@pytest.mark.parametrize("per_s", [0, -1, nan, inf])
def test_a_rate_that_is_none_is_refused(per_s: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        AtRate(per_s)


@pytest.mark.parametrize("cycles", [(10, 6, 9), (10, 4, 2), (-1, 1, 5), (nan, 1, 5)])
def test_cycles_that_are_none_are_refused(cycles: tuple[float, int, int]) -> None:
    with pytest.raises(ValueError, match=r"LEADS_MIN|interval"):
        InCycles(*cycles)


def test_a_plan_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="per cent"):
        Plan(seed=1, duplicates=101)
    assert isinstance(Plan(seed=1).lead_maker(), LeadMaker)
