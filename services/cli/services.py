"""Running services from the command line: one until stopped, or all until there is nothing left to do."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from services.cli.failures import CommandError
from shared.db.session import Database, open_database
from shared.messaging import broker, topology
from shared.messaging.facts import UNOBSERVED
from shared.process import Serve
from shared.settings import Settings

#: The services that consume, in the order of a lead's way, and their queues.
QUEUES = {
    "ingest": ("ingest",),
    "assigner": ("assigner", "assigner.lots"),
    "documents": ("documents",),
    "notifier": ("notifier",),
    "webhooks": ("webhooks",),
    "deadletters": (topology.DEAD_QUEUE,),
}
NAMES = (*QUEUES, "scheduler", "receiver", "api", "simulator")
QUIET_ROUNDS = 2
ROUND_S = 1.0
OUTBOX = text("SELECT count(*) FROM outbox")


@dataclass(frozen=True, slots=True)
class Worked:
    """What is left after all queues were empty: messages that wait on the retry ladder, by rung."""

    waiting_for_retry: Mapping[str, int]


def serve_of(name: str) -> Serve:
    """Give a service's coroutine. CommandError for a name that is none."""
    if name not in NAMES:
        raise CommandError(f"there is no service {name!r}; there are {', '.join(NAMES)}")
    serve: Serve = importlib.import_module(f"services.{name}.__main__").serve
    return serve


async def work_once(settings: Settings, names: Sequence[str]) -> Worked:
    """Run consumers until their queues have been empty twice, a second apart, and the outbox too."""
    for name in names:
        if name not in QUEUES:
            raise CommandError(f"{name!r} consumes no queue; `--once` goes with {', '.join(QUEUES)}")
    async with open_database(settings.database, application_name="leadline worker") as database:
        await _refuse_other_arguments(settings, names)
        waiting = await _on_the_ladder(settings)
        while await _left(settings, database, names):
            await _run_until_quiet(settings, database, names)
            waiting = await _on_the_ladder(settings)  # before the queues: what comes back meanwhile is seen there
    return Worked(waiting)


async def _refuse_other_arguments(settings: Settings, names: Sequence[str]) -> None:
    try:
        async with broker.connect(settings.amqp_url, "leadline worker") as connection:
            for name in names:
                for queue in QUEUES[name]:
                    await topology.refuse_other_arguments(connection, queue)
    except topology.TopologyError as error:
        raise CommandError(str(error)) from error


async def _run_until_quiet(settings: Settings, database: Database, names: Sequence[str]) -> None:
    stop = asyncio.Event()
    serving = [asyncio.ensure_future(serve_of(name)(settings, stop, UNOBSERVED)) for name in names]
    try:
        quiet = 0
        while quiet < QUIET_ROUNDS and not any(task.done() for task in serving):
            done, _ = await asyncio.wait(serving, timeout=ROUND_S)
            quiet = 0 if done or await _left(settings, database, names) else quiet + 1
    finally:
        stop.set()
        await asyncio.gather(*serving)


async def _left(settings: Settings, database: Database, names: Sequence[str]) -> int:
    """Count what is ready in the queues and unsent in the outbox."""
    async with broker.connect(settings.amqp_url, "leadline worker") as connection:
        ready = [await broker.queue_depth(connection, queue) for name in names for queue in QUEUES[name]]
    async with database.reading() as connection:
        unsent = (await connection.execute(OUTBOX)).scalar_one()
    return sum(ready) + int(unsent)


async def _on_the_ladder(settings: Settings) -> dict[str, int]:
    """Count what waits, by rung."""
    async with broker.connect(settings.amqp_url, "leadline worker") as connection:
        queues = [f"retry.{rung}" for rung in topology.LADDER]
        depths = {queue: await broker.queue_depth(connection, queue) for queue in queues}
    return {queue: depth for queue, depth in depths.items() if depth}
