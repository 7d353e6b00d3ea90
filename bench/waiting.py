"""What each consumer holds in memory while many messages wait in its queue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bench.ground import Ground
from bench.leads import leads
from bench.queues import publish, watching
from bench.stages import Stage, running
from bench.ways import Leadline

WATCHED_S = 20.0
SETTLED_AFTER_S = 5.0
#: Document numbers are random: a few leads may be others' duplicates.
DONE = 0.99


@dataclass(frozen=True, slots=True)
class Held:
    """Megabytes of a consumer: when it had settled, at the end, and at most."""

    service: str
    begin: float
    end: float
    most: float


async def measure(ground: Ground, count: int) -> list[Held]:
    """Ingest, then the assigner with what ingest left, then documents with what that left."""
    way = Leadline()
    setting = await way.set_up(ground)
    for start in range(0, count, 10_000):
        await publish(setting.amqp_url, way.messages(leads(min(10_000, count - start), seed=start)))
    found = []
    async with watching(setting.amqp_url) as watch:
        for name, then in (("ingest", "assigner"), ("assigner", "documents"), ("documents", None)):
            stage = Stage(name, ["-m", f"services.{name}"], name)
            folder = {"LEADLINE_SHEETS_DIR": str(ground.logs / "sheets"), "LEADLINE_SHEET_WORKERS": "1"}
            with running(stage, {**setting.environment, **folder}, ground.logs) as (process,):
                await watch.wait_for_consumers(name, 1)
                began, sizes = time.perf_counter(), []
                while time.perf_counter() - began < WATCHED_S or (
                    then is not None and await watch.depth(then) < DONE * count
                ):
                    await asyncio.sleep(0.5)
                    sizes.append((time.perf_counter() - began, process.resident() / 1e6))
            settled = next(size for at, size in sizes if at >= SETTLED_AFTER_S)
            found.append(Held(name, settled, sizes[-1][1], max(size for _, size in sizes)))
    return found
