"""`./run demo --five`: five systems' ways to distribute leads, side by side on one stack.

What an earlier run has left with agents is closed first, so that places are free; the rest is left as it is.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.cli.config import apply_config
from services.cli.configfile import read
from services.cli.local.demo import LOOK_EVERY_S, PATIENCE_S
from services.cli.local.endpoints import Endpoints
from services.cli.local.failures import LocalError
from services.cli.local.fivesystems import (
    FILE,
    SYSTEMS,
    Counts,
    Outcome,
    count,
    held,
    lot_key,
    lots_run,
    outcomes,
    summaries_left,
)
from services.cli.local.nodes import ROOT, STATE
from services.simulator.run import AtOnce, Plan, simulate
from shared.db.session import Database, open_database
from shared.events import Event, LeadClosed, LotRequested
from shared.messaging.publisher import Outgoing, Publisher, open_publisher

SERVICE = "demo"

#: Told what is being done, in words.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FiveSummary:
    """What a run did. `closed`: leads of earlier runs that agents had held."""

    systems: Sequence[Outcome]
    sent: int
    accepted: int
    assigned: int
    waiting: int
    sheets: int
    mails: int
    store_mails: int
    summaries: int
    closed: int
    seconds: float
    sheets_dir: str
    mail_dir: str


@dataclass(frozen=True, slots=True)
class _Run:
    """What all steps of a run need."""

    database: Database
    publisher: Publisher
    seed: int
    say: Say

    @property
    def lot_key(self) -> str:
        return lot_key(self.seed)

    async def publish(self, events: Sequence[Event]) -> None:
        """Return when the broker has confirmed all."""
        await self.publisher.publish([Outgoing(event.type, event.to_json().encode(), event.key) for event in events])

    async def count(self) -> dict[str, Counts]:
        async with self.database.reading() as connection:
            return await count(connection, self.seed)


async def show_five(endpoints: Endpoints, leads: int, say: Say) -> FiveSummary:
    """Apply the five systems, send each a fifth of `leads`, run the lots, and wait until all has come to its end.

    Raises:
        LocalError: something got stuck; the message says where.
    """
    each = max(1, leads // len(SYSTEMS))
    async with _a_run(endpoints, say) as run:
        say(f"apply {FILE}")
        await _configure(run.database)
        closed = await _close_earlier(run)
        began = time.monotonic()
        await _send(run, each)
        await _until_decided(run, each)
        await _run_lots(run)
        await _until_mailed(run)
        async with run.database.reading() as connection:
            systems = await outcomes(connection, run.seed, each)
    return _summary(systems, closed, round(time.monotonic() - began, 2), endpoints)


@asynccontextmanager
async def _a_run(endpoints: Endpoints, say: Say) -> AsyncIterator[_Run]:
    async with (
        open_database(endpoints.database_url, application_name="leadline demo") as database,
        open_publisher(endpoints.amqp_url, SERVICE) as publisher,
    ):
        yield _Run(database, publisher, secrets.randbits(32), say)


async def _configure(database: Database) -> None:
    content = await asyncio.to_thread((ROOT / FILE).read_text, encoding="utf-8")
    await apply_config(database, read(content, file=FILE), actor=SERVICE, file=FILE)


async def _close_earlier(run: _Run) -> int:
    async with run.database.reading() as connection:
        earlier = await held(connection)
    run.say(f"close {len(earlier):,} leads of earlier runs")
    await run.publish([LeadClosed(lead_id=lead_id, agent_code=code, reason="won") for lead_id, code in earlier])

    async def is_closed() -> tuple[bool, object]:
        async with run.database.reading() as connection:
            left = {lead_id for lead_id, _ in await held(connection)} & {lead_id for lead_id, _ in earlier}
        return not left, len(left)

    await _until(is_closed, "closing leads of earlier runs")
    return len(earlier)


async def _send(run: _Run, each: int) -> None:
    for system in SYSTEMS:
        run.say(f"{system.route}: send {each:,} leads")
        plan = Plan(run.seed, AtOnce(), run_id=system.run_id(), count=each, vocabulary=system.leads)
        await simulate(run.publisher.publish, plan, asyncio.Event())


async def _until_decided(run: _Run, each: int) -> None:
    """Until every lead is assigned, or waits for its lot or for another reason."""
    run.say("assign leads as they come")

    async def is_decided() -> tuple[bool, object]:
        counts = await run.count()
        return all(of.accepted == each and not of.undecided for of in counts.values()), counts

    await _until(is_decided, "assigning")


async def _run_lots(run: _Run) -> None:
    routes = [system.route for system in SYSTEMS if system.has_lots]
    run.say(f"run the lots of {' and '.join(routes)}")
    now = datetime.now(UTC)
    await run.publish(
        [LotRequested(route=route, lot_key=run.lot_key, occurred_at=now, triggered_by=SERVICE) for route in routes]
    )

    async def are_run() -> tuple[bool, object]:
        async with run.database.reading() as connection:
            done = await lots_run(connection, run.lot_key)
        return done == len(routes), done

    await _until(are_run, "running lots")


async def _until_mailed(run: _Run) -> None:
    run.say("print and mail the sheets")

    async def is_mailed() -> tuple[bool, object]:
        counts = await run.count()
        async with run.database.reading() as connection:
            left = await summaries_left(connection, run.seed)
        return all(of.is_done for of in counts.values()) and left <= 0, (counts, left)

    await _until(is_mailed, "printing and mailing")


async def _until(look: Callable[[], Any], what: str) -> None:
    """Look until it is so. LocalError when nothing has moved for a while."""
    last, moved_at = None, time.monotonic()
    while True:
        is_so, seen = await look()
        if is_so:
            return
        if seen != last:
            last, moved_at = seen, time.monotonic()
        if time.monotonic() - moved_at > PATIENCE_S:
            raise LocalError(f"stuck for {PATIENCE_S:.0f} s while {what}, at {seen}; see {STATE / 'log'}")
        await asyncio.sleep(LOOK_EVERY_S)


def _summary(systems: Sequence[Outcome], closed: int, seconds: float, endpoints: Endpoints) -> FiveSummary:
    return FiveSummary(
        systems=systems,
        sent=sum(system.sent for system in systems),
        accepted=sum(system.accepted for system in systems),
        assigned=sum(system.assigned for system in systems),
        waiting=sum(sum(system.waiting.values()) for system in systems),
        sheets=sum(system.sheets for system in systems),
        mails=sum(system.mails for system in systems),
        store_mails=sum(system.store_mails for system in systems),
        summaries=sum(system.summaries for system in systems),
        closed=closed,
        seconds=seconds,
        sheets_dir=endpoints.sheets_dir,
        mail_dir=endpoints.mail_dir,
    )
