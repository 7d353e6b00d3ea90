"""Agents' counters over all routes: kept, never recounted; held last of all rows, in order of id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.statement import Statement

#: Locks in order of id; the update then sees the rows as they are after the wait, and so does RETURNING.
MOVED = """
    locked AS (
        SELECT agent_id FROM agent_counters WHERE agent_id = ANY(CAST(:moved_ids AS bigint[]))
        ORDER BY agent_id FOR NO KEY UPDATE
    ), moved AS (
        UPDATE agent_counters
        SET open_load = agent_counters.open_load + moves.load,
            auto_assign_count = agent_counters.auto_assign_count + moves.count
        FROM locked JOIN unnest(CAST(:moved_ids AS bigint[]), CAST(:loads AS bigint[]), CAST(:counts AS bigint[]))
                         AS moves (agent_id, load, count) USING (agent_id)
        WHERE agent_counters.agent_id = locked.agent_id
        RETURNING agent_counters.agent_id, agent_counters.open_load, agent_counters.auto_assign_count AS received
    )
"""
MOVE_AGENTS = Statement(f"WITH {MOVED} SELECT agent_id, open_load, received FROM moved")  # noqa: S608  # from above
LOCK_AGENTS = Statement("""
    SELECT 1 FROM agent_counters WHERE agent_id = ANY(CAST(:agent_ids AS bigint[]))
    ORDER BY agent_id FOR NO KEY UPDATE
""")
PLACES = Statement("""
    SELECT agents.id, agents.is_active, agents.max_load, agent_counters.open_load
    FROM agents JOIN agent_counters ON agent_counters.agent_id = agents.id
    WHERE agents.id = ANY(CAST(:agent_ids AS bigint[]))
""")


class Counters(Struct, frozen=True):
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


async def move_agents(
    tx: AsyncConnection, loads: Mapping[int, int], counts: Mapping[int, int] | None = None
) -> dict[int, Counters]:
    """Add to agents' open loads and counts; give both as they are then. Holds these counters, in order of id."""
    if not loads:
        return {}
    rows = await MOVE_AGENTS.run(tx, moves(loads, counts or {}))
    after = {agent_id: Counters(load, received) for agent_id, load, received in rows}
    assert_all(loads, after)
    return after


def moves(loads: Mapping[int, int], counts: Mapping[int, int]) -> dict[str, list[int]]:
    """Give what `MOVED` takes."""
    agent_ids = sorted(loads)
    return {
        "moved_ids": agent_ids,
        "loads": [loads[agent_id] for agent_id in agent_ids],
        "counts": [counts.get(agent_id, 0) for agent_id in agent_ids],
    }


def assert_all(loads: Mapping[int, int], after: Mapping[int, Counters]) -> None:
    """Who decides on an agent has made a row of counters for it."""
    assert len(after) == len(loads), f"of agents {sorted(loads)} only {sorted(after)} have counters"


async def hold_agents(tx: AsyncConnection, agent_ids: Sequence[int]) -> dict[int, Agent]:
    """Hold agents' counters, in order of id, then read whether they may take on more."""
    if not agent_ids:
        return {}
    await LOCK_AGENTS.run(tx, {"agent_ids": list(agent_ids)})
    return {row["id"]: Agent(*row) for row in await PLACES.run(tx, {"agent_ids": list(agent_ids)})}
