"""Counters of agents, members and page groups: kept, never recounted; agents' are held last, in order of id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.deciding import Assigned
from services.assigner.facts import Member

#: Locks in order of id; the update then sees the rows as they are after the wait, and so does RETURNING.
MOVE_AGENTS = text("""
    WITH locked AS (
        SELECT agent_id FROM agent_counters WHERE agent_id = ANY(CAST(:agent_ids AS bigint[]))
        ORDER BY agent_id FOR NO KEY UPDATE
    )
    UPDATE agent_counters
    SET open_load = agent_counters.open_load + moves.load,
        auto_assign_count = agent_counters.auto_assign_count + moves.count
    FROM locked JOIN unnest(CAST(:agent_ids AS bigint[]), CAST(:loads AS bigint[]), CAST(:counts AS bigint[]))
                     AS moves (agent_id, load, count) USING (agent_id)
    WHERE agent_counters.agent_id = locked.agent_id
    RETURNING agent_counters.agent_id, agent_counters.open_load, agent_counters.auto_assign_count
""")
LOCK_AGENTS = text("""
    SELECT 1 FROM agent_counters WHERE agent_id = ANY(CAST(:agent_ids AS bigint[]))
    ORDER BY agent_id FOR NO KEY UPDATE
""")
PLACES = text("""
    SELECT agents.id, agents.is_active, agents.max_load, agent_counters.open_load
    FROM agents JOIN agent_counters ON agent_counters.agent_id = agents.id
    WHERE agents.id = ANY(CAST(:agent_ids AS bigint[]))
""")
MOVE_MEMBERS = text("""
    WITH new AS (
        SELECT * FROM unnest(CAST(:agent_ids AS bigint[]), CAST(:store_codes AS text[]), CAST(:leads AS bigint[]))
                      AS new (agent_id, store_code, leads)
    ), counted AS (
        INSERT INTO member_counters AS now (route_id, agent_id, assigned_count)
        SELECT :route_id, agent_id, sum(leads) FROM new GROUP BY agent_id ORDER BY agent_id
        ON CONFLICT (route_id, agent_id) DO UPDATE
        SET assigned_count = now.assigned_count + excluded.assigned_count
    )
    INSERT INTO member_days AS now (route_id, day, agent_id, store_code, leads)
    SELECT :route_id, :day, agent_id, store_code, leads FROM new ORDER BY agent_id, store_code
    ON CONFLICT (route_id, day, agent_id, store_code) DO UPDATE SET leads = now.leads + excluded.leads
""")
NUMBER_PAGES = text("""
    INSERT INTO page_groups AS now (page_group_code, agent_id, day, last_rowid)
    SELECT code, agent_id, :day, leads
    FROM unnest(CAST(:codes AS text[]), CAST(:agent_ids AS bigint[]), CAST(:leads AS bigint[]))
         AS new (code, agent_id, leads) ORDER BY code
    ON CONFLICT (page_group_code) DO UPDATE SET last_rowid = now.last_rowid + excluded.last_rowid
    RETURNING page_group_code, last_rowid
""")


@dataclass(frozen=True, slots=True)
class Counters:
    """An agent's over all routes, as they are while we hold them."""

    open_load: int
    received: int


@dataclass(frozen=True, slots=True)
class Agent:
    """Whether an agent may take on more."""

    id: int
    is_active: bool
    max_load: int | None
    open_load: int


@dataclass(frozen=True, slots=True)
class Place:
    """An assignment's place in the day's numbering of its agent (leads-assignment seed §4.1.3)."""

    page_group_code: str
    rowid: int
    lot_sheet: str | None = None

    @property
    def sheet_key(self) -> str:
        """In a lot all of one store and agent are on one sheet; else each has its own."""
        return self.lot_sheet or self.code

    @property
    def code(self) -> str:
        return f"{self.page_group_code}-{self.rowid:04d}"


async def move_agents(
    tx: AsyncConnection, loads: Mapping[int, int], counts: Mapping[int, int] | None = None
) -> dict[int, Counters]:
    """Add to agents' open loads and counts; give both as they are then. Holds these counters, in order of id."""
    if not loads:
        return {}
    agent_ids = sorted(loads)
    values = {
        "agent_ids": agent_ids,
        "loads": [loads[agent_id] for agent_id in agent_ids],
        "counts": [(counts or {}).get(agent_id, 0) for agent_id in agent_ids],
    }
    after = {key: Counters(load, received) for key, load, received in await tx.execute(MOVE_AGENTS, values)}
    assert len(after) == len(agent_ids), f"of agents {agent_ids} only {sorted(after)} have counters"
    return after


async def hold_agents(tx: AsyncConnection, agent_ids: Sequence[int]) -> dict[int, Agent]:
    """Hold agents' counters, in order of id, then read whether they may take on more."""
    if not agent_ids:
        return {}
    await tx.execute(LOCK_AGENTS, {"agent_ids": list(agent_ids)})
    return {row.id: Agent(*row) for row in await tx.execute(PLACES, {"agent_ids": list(agent_ids)})}


async def number_pages(
    tx: AsyncConnection, assigned: Sequence[Assigned], day: date, lot_id: int | None = None
) -> list[Place]:
    """Give each assignment its place in its agent's numbering of that day, and its sheet."""
    prefix = f"L{day:%y%m%d}"
    codes = [f"{prefix}{each.member.agent_code}" for each in assigned]
    wanted = Counter(codes)
    agents = dict(zip(codes, (each.member.agent_id for each in assigned), strict=True))
    values = {
        "day": day,
        "codes": list(wanted),
        "agent_ids": [agents[code] for code in wanted],
        "leads": list(wanted.values()),
    }
    last = {row.page_group_code: row.last_rowid for row in await tx.execute(NUMBER_PAGES, values)}
    next_rowid = {code: last[code] - leads for code, leads in wanted.items()}
    places = []
    for code, each in zip(codes, assigned, strict=True):
        next_rowid[code] += 1
        lot_sheet = f"lot-{lot_id}-{each.lead.store_code or ''}-{each.member.agent_code}" if lot_id else None
        places.append(Place(code, next_rowid[code], lot_sheet))
    return places


async def move_members(tx: AsyncConnection, route_id: int, received: Sequence[Member], day: date) -> None:
    """Count leads on their route and day, each for the member's row that it was given by. The route is locked."""
    rows = Counter((member.agent_id, member.store_code or "") for member in received)
    values = {
        "route_id": route_id,
        "day": day,
        "agent_ids": [agent_id for agent_id, _ in rows],
        "store_codes": [store_code for _, store_code in rows],
        "leads": list(rows.values()),
    }
    await tx.execute(MOVE_MEMBERS, values)
