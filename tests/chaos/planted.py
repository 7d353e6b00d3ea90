"""A service with a bug in it: `python -m tests.chaos.planted BUG`. Nothing of the product knows of this.

Each bug is one that somebody could make in good faith; tests show that the checks find it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ingest import intake
from services.ingest import queries as leads
from services.notifier import consumer as notifier
from shared.db.session import Database
from shared.db.statement import Statement
from shared.events import LeadCreated
from shared.messaging.deliveries import Arrival
from shared.messaging.processing import Processor
from shared.process import run_service


def ack_before_commit() -> None:
    """Messages are acknowledged as they are taken, so that the broker is rid of them sooner."""
    process: Any = Processor.process

    async def acknowledged_first(self: Processor, batch: Sequence[Arrival], *, in_place: bool = False) -> None:
        self._settlement.settle(arrival.delivery for arrival in batch)
        await process(self, batch, in_place=in_place)

    Processor.process = acknowledged_first  # type: ignore[method-assign]  # that is the planting


def no_claim() -> None:
    """Whether a mail was sent is looked up before it is sent; nothing keeps two from looking at once."""

    @asynccontextmanager
    async def unclaimed(database: Database, identity: str, *, idle_s: float) -> AsyncIterator[AsyncConnection]:
        async with database.reading(deadline_s=idle_s) as connection:
            yield connection

    notifier.claimed = unclaimed  # type: ignore[attr-defined]  # where the handler looks for it


def no_unique_index() -> None:
    """Whether a lead is known is looked up in the statement that stores it; no index keeps it one."""
    guard = "ON CONFLICT (lead_id) DO NOTHING"
    look = "WHERE NOT EXISTS (SELECT 1 FROM leads AS known WHERE known.lead_id = new.lead_id)"
    statement = leads.INSERT_LEADS.text
    assert guard in statement
    leads.INSERT_LEADS = Statement(statement.replace(guard, "").replace("ORDER BY new.lead_id", f"{look} ORDER BY 1"))


def trips_over_gifts() -> None:
    """Leads whose message says that they are a gift raise KeyError."""
    read_created = intake.read_created

    def read(event: LeadCreated, *others: Any) -> Any:
        if event.message == "a gift":
            return {"lead": event}["gift"]
        return read_created(event, *others)

    intake.read_created = read  # type: ignore[assignment]  # it takes whatever the other takes


#: The bug by its name, and the service that has it.
BUGS: dict[str, tuple[Callable[[], None], str]] = {
    "ack-before-commit": (ack_before_commit, "ingest"),
    "no-claim": (no_claim, "notifier"),
    "no-unique-index": (no_unique_index, "ingest"),
    "trips-over-gifts": (trips_over_gifts, "ingest"),
}

if __name__ == "__main__":
    plant, service = BUGS[sys.argv[1]]
    plant()
    run_service(service, import_module(f"services.{service}.__main__").serve)
