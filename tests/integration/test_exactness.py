"""Exact under concurrency: replicas, routes that share agents, closes, changes by people, all at once.

LEADLINE_E2E_LEADS says how many leads; without it the test is short.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial

import pytest

from services.assigner.consumer import AssignLeads
from services.cli.config import apply_config
from services.cli.configfile import read
from services.cli.decisions.verifying import verify
from shared.db.session import PLANS_ARE_KEPT, Database, open_database
from shared.events import AssignmentRequested, LeadAccepted, LeadAssigned, LeadClosed
from tests.assignments import add_leads, assert_exact, lay_out
from tests.driving import Driver, execute, of, rows, scalar
from tests.waiting import eventually

REPLICAS = 8
AGENTS = 30
LEADS = int(os.environ.get("LEADLINE_E2E_LEADS", "2000"))
BATCH = 25
WEIGHT = """
routes:
  - name: meta
    source: META
    policy: fair
    members: [{agent: "0008", weight: 2}]
"""


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[list[Driver]]:
    """Each with a pool of its own, as a process has it."""
    async with AsyncExitStack() as stack:
        databases = [
            await stack.enter_async_context(
                open_database(database_url, pool_size=2, server_settings=PLANS_ARE_KEPT)  # as in production
            )
            for _ in range(REPLICAS)
        ]
        yield [Driver(database, AssignLeads()) for database in databases]


@pytest.mark.timeout(1_800)
async def test_eight_replicas_on_two_routes_that_share_agents_are_exact(replicas: Sequence[Driver]) -> None:
    """Counters equal counted rows, no limit is passed at any time, nobody waits while there is a place.

    Leads are closed meanwhile, an agent is switched off and on, people change members, and no deadlock is seen.
    """
    database = replicas[0].database
    await lay_out(database, routes=("meta", "web"), agents=AGENTS)
    await execute(database, "UPDATE agents SET max_load = 1 + id % 3")
    await execute(database, "UPDATE route_members SET max_daily_leads = :cap WHERE agent_id <= 3", cap=LEADS // 60)
    arriving = [
        accepted
        for start in range(0, LEADS, BATCH)
        for accepted in [
            await add_leads(database, *[f"L{n}" for n in range(start, start + BATCH)], source=101 + start // BATCH % 2)
        ]
    ]
    random.Random(1).shuffle(arriving)
    under_way = asyncio.gather(*(_work(replica, arriving) for replica in replicas))
    await _change_things(database, until=under_way)
    await under_way
    await _finish(replicas)

    assert sum(replica.again for replica in replicas) == 0
    assert await _passed_limits(database) == []
    days = await rows(database, "SELECT leads FROM member_days WHERE agent_id <= 3")
    assert all(leads <= LEADS // 60 for (leads,) in days)
    assert await scalar(database, "SELECT count(*) FROM assignments WHERE is_current AND assignment_status_id = 1") == 0
    assert await scalar(database, "SELECT count(*) FROM assignments") == LEADS
    assert await scalar(database, "SELECT count(*) FROM assignment_records WHERE reason = 'agent at capacity'") > 0
    assert await scalar(database, "SELECT sum(assigned_count) FROM member_counters") == LEADS
    sequences = await rows(
        database,
        "SELECT route_id, sequence FROM decisions UNION ALL SELECT route_id, sequence FROM route_versions"
        " WHERE version > 1 ORDER BY 1, 2",
    )
    assert len(set(sequences)) == len(sequences)
    await assert_exact(database)
    verified = await verify(database, None)
    assert (verified.assigned, verified.differences) == (LEADS, 0), verified.found


async def _work(replica: Driver, arriving: list[list[LeadAccepted]]) -> None:
    """Assign what arrives and what wakes; close most of what this replica has assigned."""
    rng = random.Random(id(replica))
    while arriving:
        batch = arriving.pop()
        await replica.run(*batch)
        await _wake(replica)
        mine = [event.lead_id for event in of(replica.take(LeadAssigned), LeadAssigned)]
        await _close(replica, rng.sample(mine, len(mine) * 9 // 10))


async def _wake(replica: Driver) -> None:
    own = {event.key: event for event in replica.take(LeadAccepted, AssignmentRequested)}
    if own:
        await replica.run(*own.values())


async def _close(replica: Driver, lead_ids: Sequence[str]) -> None:
    if lead_ids:
        await replica.run(*(LeadClosed(lead_id=lead_id) for lead_id in lead_ids))


async def _change_things(database: Database, until: asyncio.Future[list[None]]) -> None:
    """What people do meanwhile: an agent goes and comes back, a member's weight changes, a name."""
    for change in (
        partial(execute, database, "UPDATE agents SET is_active = false WHERE id = 7"),
        partial(apply_config, database, read(WEIGHT, file="weight.yaml"), actor="test", file="weight.yaml"),
        partial(execute, database, "UPDATE agents SET is_active = true WHERE id = 7"),
        partial(execute, database, "UPDATE agents SET agent_name = agent_name || '!' WHERE id = 9"),
    ):
        before = await scalar(database, "SELECT max(id) FROM decisions")
        await change()
        await eventually(partial(_is_going_on, database, before, until), within=60)


async def _is_going_on(database: Database, last: int | None, until: asyncio.Future[list[None]]) -> bool:
    """Something was decided since, or there is nothing more to decide."""
    return until.done() or await scalar(database, "SELECT max(id) FROM decisions") not in {last, None}


async def _finish(replicas: Sequence[Driver]) -> None:
    """Close all that is held, and wake who waits, until nothing waits: while places are free nobody may."""
    database = replicas[0].database
    for _ in range(LEADS):
        while any(replica.told for replica in replicas):
            await asyncio.gather(*(_wake(replica) for replica in replicas))
            for replica in replicas:
                replica.take(LeadAssigned)
                replica.told = [e for e in replica.told if isinstance(e, LeadAccepted | AssignmentRequested)]
        await _assert_nobody_waits_beside_a_place(database)
        held = await rows(
            database,
            "SELECT lead_id FROM leads WHERE id IN"
            " (SELECT lead_id FROM assignments WHERE is_current AND assignment_status_id = 2) ORDER BY id",
        )
        if not held:
            return
        parts = [[lead_id for (lead_id,) in held[number::REPLICAS]] for number in range(REPLICAS)]
        await asyncio.gather(*(_close(replica, part) for replica, part in zip(replicas, parts, strict=True)))


async def _assert_nobody_waits_beside_a_place(database: Database) -> None:
    waiting = await scalar(database, "SELECT count(*) FROM assignments WHERE is_current AND assignment_status_id = 1")
    places = await scalar(
        database,
        "SELECT count(*) FROM agents JOIN agent_counters ON agent_id = agents.id"
        " WHERE is_active AND open_load < max_load AND agents.id > 3",
    )
    assert not (waiting and places), f"{waiting} leads wait beside {places} agents with a place"


async def _passed_limits(database: Database) -> list[tuple[object, ...]]:
    """Records of an assignment by which its agent had more than its limit, which never changed."""
    return await rows(
        database,
        "SELECT assignment_records.id, agents.id, open_after, max_load FROM assignment_records"
        " JOIN agents ON agents.id = agent_id WHERE open_after > open_before AND open_after > max_load",
    )
