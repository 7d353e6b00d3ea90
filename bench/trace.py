"""One lead at a time from `lead.created` to `lead.assigned`: when each step of its way is done.

Both services run in this process, with marks where they deliver, speak to the database, and publish.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest.mock import patch

from asyncpg import Record
from asyncpg.transaction import Transaction
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.ground import Ground
from bench.leads import Lead, leads
from bench.queues import watching
from bench.ways import Leadline
from services.assigner.__main__ import serve as serve_assigner
from services.assigner.queries import assignments, counters, decisions, routes
from services.assigner.queries import leads as assigner_leads
from services.ingest import queries as ingest
from services.ingest.__main__ import serve as serve_ingest
from shared.db.statement import Statement
from shared.messaging import broker, outbox
from shared.messaging.broker import PublishingChannel
from shared.messaging.envelope import Delivery, Outgoing
from shared.messaging.settling import Settlement
from shared.settings import Settings

SINK = "bench.trace"
WARM_UP = 20
WITHIN_S = 30
ARRIVED = "lead.assigned is here"
_MODULES = (ingest, assigner_leads, routes, counters, decisions, assignments, outbox)
_NAMES = {
    id(value): f"{module.__name__.split('.')[1]} {name}"
    for module in _MODULES
    for name, value in vars(module).items()
    if isinstance(value, Statement)
}


class Marks:
    """Milliseconds since a lead was sent, by what was done."""

    def __init__(self) -> None:
        self._began = 0.0
        self._seen: dict[str, int] = {}
        self.found: dict[str, list[float]] = defaultdict(list)

    def begin(self) -> None:
        self._began = time.perf_counter()
        self._seen = defaultdict(int)

    def mark(self, what: str) -> None:
        """The same thing done again is told apart by its number."""
        self._seen[what] += 1
        name = what if self._seen[what] == 1 else f"{what} ({self._seen[what]})"
        self.found[name].append((time.perf_counter() - self._began) * 1_000)


async def measure(ground: Ground, count: int) -> dict[str, float]:
    """Give the median of the milliseconds since the publish, by step, in order; what few leads do is left out."""
    setting = await Leadline().set_up(ground)
    settings = Settings(
        database_url=setting.environment["LEADLINE_DATABASE_URL"], amqp_url=setting.environment["LEADLINE_AMQP_URL"]
    )
    marks, stop = Marks(), asyncio.Event()
    with _marked(marks):
        async with asyncio.TaskGroup() as services:
            services.create_task(serve_assigner(settings, stop))
            services.create_task(serve_ingest(settings, stop))
            async with watching(setting.amqp_url) as watch:
                for queue in ("ingest", "assigner"):
                    await watch.wait_for_consumers(queue, 1)
            await _send_one_by_one(setting.amqp_url, leads(WARM_UP + count), marks)
            stop.set()
    usual = {step: times for step, times in marks.found.items() if len(times) > count / 2}
    return dict(sorted(((step, median(times)) for step, times in usual.items()), key=lambda each: each[1]))


async def _send_one_by_one(amqp_url: str, sent: Sequence[Lead], marks: Marks) -> None:
    arrived = asyncio.Event()

    def receive(_: Delivery) -> None:
        marks.mark(ARRIVED)
        arrived.set()

    async with (
        broker.connect(amqp_url, "bench sink") as sink,
        broker.connect(amqp_url, "bench source") as source,
        broker.open_consumer_channel(sink) as consuming,
    ):
        async with sink.channel() as channel:
            queue = await channel.declare_queue(SINK, auto_delete=True)
            await queue.bind("leads", "lead.assigned")
        await consuming.consume(SINK, prefetch=0, on_delivery=receive)
        publishing = await broker.open_publishing_channel(source)
        for number, lead in enumerate(sent):
            if number == WARM_UP:
                marks.found.clear()
            arrived.clear()
            marks.begin()
            await publishing.publish([Outgoing("lead.created", lead.body, lead.lead_id)], "bench")
            async with asyncio.timeout(WITHIN_S):
                await arrived.wait()
            await asyncio.sleep(0.02)  # acknowledged, and all at rest


@contextmanager
def _marked(marks: Marks) -> Iterator[None]:
    """Have the services mark what they do, as soon as it is done."""
    run, publish, delivered = Statement.run, PublishingChannel.publish, Settlement.delivered
    begin, commit = Transaction.start, Transaction.commit

    @functools.wraps(run)
    async def executed(self: Statement, connection: AsyncConnection, *values: Any) -> list[Record]:
        rows = await run(self, connection, *values)
        marks.mark(_NAMES.get(id(self), "another statement"))
        return rows

    async def published(self: PublishingChannel, messages: Sequence[Outgoing], app_id: str) -> Any:
        marks.mark(f"{app_id} publishes")
        result = await publish(self, messages, app_id)
        marks.mark(f"{app_id} has the confirm")
        return result

    def received(self: Settlement, delivery: Delivery) -> None:
        delivered(self, delivery)
        marks.mark(f"{self._queue} has the delivery")

    async def begun(self: Transaction) -> None:
        await begin(self)
        marks.mark("BEGIN")

    async def committed(self: Transaction) -> None:
        await commit(self)
        marks.mark("COMMIT")

    changes: Sequence[tuple[type, str, Callable[..., Any]]] = (
        (Statement, "run", executed),
        (PublishingChannel, "publish", published),
        (Settlement, "delivered", received),
        (Transaction, "start", begun),
        (Transaction, "commit", committed),
    )
    patches = [patch.object(owner, name, change) for owner, name, change in changes]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()
