"""Milliseconds from `lead.created` to `lead.assigned` while leads come at a fixed rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import quantiles

from bench.ground import Ground
from bench.leads import Lead, leads
from bench.queues import watching
from bench.stages import Running, running
from bench.throughput import worked
from bench.ways import Leadline, Setting
from shared.messaging import broker
from shared.messaging.envelope import Delivery, Outgoing

SINK = "bench.sink"
WARM_UP_S = 3.0
LAST_WITHIN_S = 30


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in milliseconds."""

    rate: int
    leads: int
    p50: float
    p95: float
    p99: float
    most: float
    #: Microseconds of processor time a lead, by part.
    worked: Mapping[str, float]


async def measure(ground: Ground, rates: Sequence[int], seconds: float) -> list[Latency]:
    """Send leads at each of these rates, one after the other, through one pair of services."""
    way = Leadline()
    setting = await way.set_up(ground)
    found = []
    stages: list[Running] = []
    with ExitStack() as stack:
        async with watching(setting.amqp_url) as watch:
            for stage in setting.stages:
                stages += stack.enter_context(running(stage, setting.environment, ground.logs))
                await watch.wait_for_consumers(stage.queue, 1)
        for number, rate in enumerate((rates[0], *rates)):  # the first is to warm up
            count = int(rate * (seconds if number else WARM_UP_S))
            sent = leads(count, seed=100 + number)
            before = worked(ground, stages)
            times = await _send(setting, sent, rate)
            if number:
                work = {part: (after - before[part]) * 1e6 / count for part, after in worked(ground, stages).items()}
                found.append(_latency(rate, times, work))
    return found


def _latency(rate: int, times: Sequence[float], work: Mapping[str, float]) -> Latency:
    cuts = quantiles(times, n=100)
    p50, p95, p99, most = (round(ms, 1) for ms in (cuts[49], cuts[94], cuts[98], max(times)))
    return Latency(rate, len(times), p50, p95, p99, most, {part: round(us) for part, us in work.items()})


async def _send(setting: Setting, sent: Sequence[Lead], rate: int) -> list[float]:
    """Give the milliseconds that each lead took, from before it is published to when `lead.assigned` is here."""
    began: dict[str, float] = {}
    took: list[float] = []

    def arrived(delivery: Delivery) -> None:
        if (key := delivery.correlation_id) in began:
            took.append((time.perf_counter() - began[key]) * 1_000)

    async with (
        broker.connect(setting.amqp_url, "bench sink") as sink,
        broker.connect(setting.amqp_url, "bench source") as source,
        broker.open_consumer_channel(sink) as consuming,
    ):
        async with sink.channel() as channel:
            queue = await channel.declare_queue(SINK, auto_delete=True)
            await queue.bind("leads", "lead.assigned")
        await consuming.consume(SINK, prefetch=0, on_delivery=arrived)
        publishing = await broker.open_publishing_channel(source)
        start = time.perf_counter()
        tasks = []
        for number, lead in enumerate(sent):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            began[lead.lead_id] = time.perf_counter()
            message = Outgoing("lead.created", lead.body, lead.lead_id)
            tasks.append(asyncio.create_task(publishing.publish([message], "bench")))
        await asyncio.gather(*tasks)
        async with asyncio.timeout(LAST_WITHIN_S):
            while len(took) < len(sent):  # noqa: ASYNC110  # counted as they come
                await asyncio.sleep(0.02)
    return took
