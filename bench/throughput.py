"""Leads a second from `lead.created` to `lead.assigned`: each way in turn, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from bench.ground import Ground
from bench.leads import Lead
from bench.queues import Sample, Watch, publish, watching
from bench.stages import Running, running
from bench.ways import Setting, Way

STANDS_STILL_S = 30
#: What comes before is not looked at: the stages open their connections, prepare their statements.
WARM_UP = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one way."""

    leads: int
    seconds: float
    rate: float
    #: Microseconds of processor time a lead, by part: each stage, Erlang, PostgreSQL.
    worked: Mapping[str, float]
    #: Megabytes that each stage held at the end.
    resident: Mapping[str, float]


async def measure(ground: Ground, way: Way, leads: Sequence[Lead], *, within_s: float = STANDS_STILL_S) -> Run:
    """Fill the first queue, start the stages, the last one first, and watch the last queue until all have come."""
    setting = await way.set_up(ground)
    await publish(setting.amqp_url, way.messages(leads))
    return await drain(ground, setting, len(leads), within_s=within_s)


async def drain(ground: Ground, setting: Setting, count: int, *, within_s: float = STANDS_STILL_S) -> Run:
    """Start the stages of a setting whose first queue is filled, and see it through."""
    with ExitStack() as stack:
        async with watching(setting.amqp_url) as watch:
            stages = await _start(stack, ground, setting, watch)
            first = await watch.fill(setting.last_queue, 1, within_s=within_s)
            work_before = worked(ground, stages)  # by now all have started, which is no part of the work either
            samples = first + await watch.fill(setting.last_queue, count, within_s=within_s)
            work_after = worked(ground, stages)
            resident = {each.stage.name: each.resident() / 1e6 for each in stages}
    # Few leads may all have come by the first look: nothing is left to measure the work of.
    since = count - first[-1].messages
    each_lead = {part: (work_after[part] - work_before[part]) * 1e6 / since if since else 0.0 for part in work_after}
    return Run(count, samples[-1].at_s - samples[0].at_s, rate(samples), each_lead, resident)


async def _start(stack: ExitStack, ground: Ground, setting: Setting, watch: Watch) -> list[Running]:
    """Start the last stage first, and the one before when it consumes: all work then falls into what is measured."""
    found: list[Running] = []
    for stage in setting.stages:
        found += stack.enter_context(running(stage, setting.environment, ground.logs))
        if stage is not setting.stages[-1]:
            await watch.wait_for_consumers(stage.queue, stage.replicas)
            await asyncio.sleep(0.5)  # what it does once it is connected is no part of the work
    return found


def worked(ground: Ground, stages: Iterable[Running]) -> dict[str, float]:
    """Give seconds of processor time so far by part: each stage, Erlang, PostgreSQL."""
    work: dict[str, float] = dict(ground.worked())
    for each in stages:
        work[each.stage.name] = work.get(each.stage.name, 0) + each.worked()
    return work


def rate(samples: Sequence[Sample]) -> float:
    """Messages a second, from the first of these samples past the warm-up to the last."""
    last = samples[-1]
    first = next(sample for sample in samples if sample.messages >= WARM_UP * last.messages)
    if first is last:  # so few that they came between two looks
        first = samples[0]
    return (last.messages - first.messages) / (last.at_s - first.at_s)


async def in_turn(
    ground: Ground, ways: Sequence[Way], leads: Sequence[Lead], shares: Mapping[str, float], rounds: int
) -> dict[str, list[Run]]:
    """Measure A B C D, A B C D, …: what else the machine does hits all alike."""
    found: dict[str, list[Run]] = {way.name: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            part = leads[: int(len(leads) * shares.get(way.name, 1))]
            run = await measure(ground, way, part)
            found[way.name].append(run)
            print(f"  round {number + 1}: {way.label:26} {run.rate:8,.0f} leads/s  {parts(run)}", flush=True)
    return found


def parts(run: Run) -> str:
    """Where the processor's time went, in words."""
    return in_words(run.worked)


def in_words(worked: Mapping[str, float]) -> str:
    """Microseconds of processor time a lead, in all and by part."""
    shares = " ".join(f"{name} {us:.0f}" for name, us in worked.items())
    return f"{sum(worked.values()):6.0f} µs of processor a lead ({shares})"


def work(runs: Sequence[Run]) -> dict[str, int]:
    """Microseconds of processor time a lead by part: the medians of these runs."""
    return {part: round(median(run.worked[part] for run in runs)) for part in runs[0].worked}


def medians(found: Mapping[str, Sequence[Run]]) -> dict[str, float]:
    return {name: median(run.rate for run in runs) for name, runs in found.items()}


def ratios(found: Mapping[str, Sequence[Run]], base: str = "leadline") -> dict[str, float]:
    """How many times faster ours was than each other: the median over the rounds, each within itself."""
    return {
        name: median(ours.rate / other.rate for ours, other in zip(found[base], runs, strict=True))
        for name, runs in found.items()
        if name != base
    }
