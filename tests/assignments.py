"""Agents, routes and leads in a database, and what must be exact about them whatever happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from shared.db.session import Database
from shared.events import AssignmentRequested, LeadAccepted
from tests.driving import Driver, execute, rows

AGENTS = """
    INSERT INTO agents (id, agent_code, agent_name, email)
    SELECT n, lpad(n::text, 4, '0'), 'Agent ' || n, n || '@x.y' FROM generate_series(1, :agents) AS n
"""


async def lay_out(database: Database, *, agents: int = 3, routes: Sequence[str] = ("all",), **route: Any) -> None:
    """Agents 1…n, and routes on which all of them are; `route`: columns of the routes."""
    await execute(database, AGENTS, agents=agents)
    await execute(database, "INSERT INTO sources (id, name) VALUES (101, 'META'), (102, 'Web') ON CONFLICT DO NOTHING")
    for number, name in enumerate(routes, 1):
        columns = {"id": number, "name": name, "policy": "fair", **route}
        if len(routes) > 1:
            columns["source_id"] = 100 + number
        names, values = ", ".join(columns), ", ".join(f":{column}" for column in columns)
        await execute(database, f"INSERT INTO routes ({names}) VALUES ({values})", **columns)
        await execute(
            database, "INSERT INTO route_members (route_id, agent_id) SELECT :id, id FROM agents ORDER BY id", id=number
        )


async def add_leads(database: Database, *names: str, source: int = 101, **columns: Any) -> list[LeadAccepted]:
    """Leads as ingest leaves them, and what it tells of them."""
    columns = {"created_at": datetime.now(UTC)} | columns
    more = "".join(f", {column}" for column in columns)
    given = "".join(f", :{column}" for column in columns)
    await execute(
        database,
        f"""
        WITH new AS (
            INSERT INTO leads (lead_id, source_id{more})
            SELECT name, :source{given} FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS t (name, n)
            ORDER BY n
            RETURNING id
        )
        INSERT INTO assignments (lead_id) SELECT id FROM new ORDER BY id
        """,
        names=list(names),
        source=source,
        **columns,
    )
    return [LeadAccepted(lead_id=name, revision=1) for name in names]


async def assignment(database: Database, lead_id: str) -> Any:
    async with database.begin() as tx:
        found = await tx.execute(
            text("""
                SELECT assignments.*, agents.agent_code FROM assignments JOIN leads ON leads.id = assignments.lead_id
                     LEFT JOIN agents ON agents.id = assignments.agent_id
                WHERE leads.lead_id = :lead_id AND is_current
            """),
            {"lead_id": lead_id},
        )
        return found.one()


async def assert_exact(database: Database) -> None:
    """Every counter equals what can be counted; numbers have no gap; one current assignment a lead; records add up."""
    open_loads = await rows(
        database,
        """
        SELECT agent_id, open_load, auto_assign_count,
               (SELECT count(*) FROM assignments a WHERE a.agent_id = c.agent_id AND is_current
                   AND assignment_status_id IN (2, 3)),
               (SELECT count(*) FROM assignments a WHERE a.agent_id = c.agent_id AND sheet_key IS NOT NULL)
        FROM agent_counters c
        """,
    )
    for agent, load, received, counted_load, counted in open_loads:
        assert (load, received) == (counted_load, counted), f"agent {agent}"
    await assert_received_exactly(database)
    assert (
        await rows(
            database,
            """
            SELECT g.page_group_code FROM page_groups g LEFT JOIN assignments a USING (page_group_code)
            GROUP BY g.page_group_code
            HAVING (count(*), min(a.rowid), max(a.rowid), count(DISTINCT a.rowid))
                   IS DISTINCT FROM (max(last_rowid), 1::bigint, max(last_rowid), max(last_rowid))
            """,
        )
        == []
    )
    assert (
        await rows(
            database, "SELECT lead_assignment_code FROM assignments GROUP BY 1 HAVING count(lead_assignment_code) > 1"
        )
        == []
    )
    assert (
        await rows(database, "SELECT lead_id FROM assignments WHERE is_current GROUP BY 1 HAVING count(*) <> 1") == []
    )
    # The chain of each agent's loads: every record begins where another one ended.
    chain = await rows(
        database,
        """
        SELECT agent_id, open_before, open_after FROM assignment_records
        WHERE open_after IS NOT NULL ORDER BY agent_id, id
        """,
    )
    for agent in {row[0] for row in chain}:
        steps = Counter[int]()
        for _, before, after in (row for row in chain if row[0] == agent):
            assert abs(after - before) == 1
            steps[after] += 1
            steps[before] -= 1
        last = next(load for found, load, *_ in open_loads if found == agent)
        assert {load: n for load, n in steps.items() if n} == ({last: 1, 0: -1} if last else {})


async def assert_received_exactly(database: Database) -> None:
    """What is counted on routes and on days equals what can be counted, ended assignments included."""
    members = await rows(
        database,
        """
        SELECT route_id, agent_id, assigned_count,
               (SELECT count(*) FROM assignments a WHERE a.agent_id = c.agent_id AND a.route_id = c.route_id
                   AND sheet_key IS NOT NULL)
        FROM member_counters c
        """,
    )
    assert [row for row in members if row[2] != row[3]] == []
    days = await rows(
        database,
        """
        SELECT coalesce(kept.route_id, counted.route_id), kept.leads, counted.leads
        FROM (SELECT route_id, day, agent_id, sum(leads) AS leads FROM member_days GROUP BY 1, 2, 3) AS kept
             FULL JOIN (SELECT a.route_id, d.day, a.agent_id, count(*) AS leads
                        FROM assignments a JOIN decisions d ON d.id = a.decision_id GROUP BY 1, 2, 3) AS counted
             USING (route_id, day, agent_id)
        WHERE kept.leads IS DISTINCT FROM counted.leads
        """,
    )
    assert days == []


async def settle(driver: Driver, limit: int = 50) -> None:
    """Run what the assigner told itself, until it has nothing more to say."""
    for _ in range(limit):
        own = driver.take(LeadAccepted, AssignmentRequested)
        if not own:
            return
        unique = {event.key: event for event in own}
        await driver.run(*unique.values())
    raise AssertionError("the assigner never stops talking to itself")
