"""Histories for tests that look back: made by the assigner's own handlers against a real database."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from services.assigner.consumer import AssignLeads
from services.assigner.lots import RunLots
from shared.db.session import Database
from shared.events import AssignmentRequested, Event, LeadAccepted, LeadClosed, LotRequested
from tests.assignments import add_leads
from tests.driving import Driver, execute, rows

_keys = itertools.count(1)


@dataclass
class History:
    """One assigner over a database, and what people and the CRM do to it."""

    database: Database
    assigner: Driver = field(init=False)
    lots: Driver = field(init=False)

    def __post_init__(self) -> None:
        self.assigner = Driver(self.database, AssignLeads())
        self.lots = Driver(self.database, RunLots())

    async def add_agents(self, *agents: dict[str, Any]) -> None:
        """Agents 1…n with codes 0001…; each with columns of its own."""
        for number, columns in enumerate(agents, 1):
            await self._insert(
                "agents",
                id=number,
                agent_code=f"{number:04}",
                agent_name=f"Agent {number}",
                email="a@example.com",
                **columns,
            )

    async def add_route(self, name: str, *members: dict[str, Any], source: int = 101, **columns: Any) -> None:
        """A route for a source; `members`: rows with `agent_id` and whatever else, at once."""
        await execute(
            self.database,
            "INSERT INTO sources (id, name) VALUES (:id, :name) ON CONFLICT DO NOTHING",
            id=source,
            name=f"source {source}",
        )
        await self._insert("routes", name=name, source_id=source, **columns)
        for member in members:
            await self.add_member(name, **member)

    async def add_member(self, route: str, **columns: Any) -> None:
        ((route_id,),) = await rows(self.database, "SELECT id FROM routes WHERE name = :name", name=route)
        await self._insert("route_members", route_id=route_id, **columns)

    async def change(self, statement: str, **values: Any) -> None:
        """What people change in the tables."""
        await execute(self.database, statement, **values)

    async def arrive(self, *names: str, source: int = 101, **columns: Any) -> None:
        """Leads come in, in one batch."""
        await self.assigner.run(*await self.add_leads(*names, source=source, **columns))

    async def add_leads(self, *names: str, source: int = 101, **columns: Any) -> Sequence[Event]:
        """Leads as ingest leaves them, and what it tells of them."""
        return await add_leads(self.database, *names, source=source, **columns)

    async def close(self, *names: str) -> None:
        await self.assigner.run(*(LeadClosed(lead_id=name, reason="won") for name in names))
        await self.settle()

    async def wake(self, route: str) -> None:
        await self.assigner.run(AssignmentRequested(route=route, requested_by="a test"))
        await self.settle()

    async def give(self, agent: str, *names: str) -> None:
        """A person gives leads to an agent."""
        request = AssignmentRequested(
            lead_ids=list(names), to_agent_code=agent, requested_by="Pat", request_id=f"r{next(_keys)}"
        )
        await self.assigner.run(request)

    async def run_lot(self, route: str, day: date | None = None) -> None:
        await self.lots.run(
            LotRequested(
                route=route,
                lot_key=f"lot {next(_keys)}",
                triggered_by="a test",
                occurred_at=datetime.now(UTC),
                as_of=day,
            )
        )

    async def settle(self) -> None:
        """Run what the assigner told itself, until it has nothing more to say."""
        while own := self.assigner.take(LeadAccepted, AssignmentRequested):
            await self.assigner.run(*{event.key: event for event in own}.values())

    async def _insert(self, table: str, **columns: Any) -> None:
        names, values = ", ".join(columns), ", ".join(f":{column}" for column in columns)
        await execute(self.database, f"INSERT INTO {table} ({names}) VALUES ({values})", **columns)
