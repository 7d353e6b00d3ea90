"""With which count who joins a route, or comes back, begins: the database itself sets it with the route's version."""

from __future__ import annotations

import pytest

from services.assigner.consumer import AssignLeads
from shared.db.session import Database
from tests.assignments import AGENTS, add_leads, assert_exact, lay_out
from tests.driving import Driver, execute, rows, scalar


@pytest.fixture
def driver(database: Database) -> Driver:
    return Driver(database, AssignLeads())


async def counts(database: Database) -> dict[int, tuple[int, int]]:
    """By agent: received on the route, and what is added to it where counts decide."""
    found = await rows(database, "SELECT agent_id, assigned_count, start_count FROM member_counters ORDER BY agent_id")
    return {agent_id: (received, start) for agent_id, received, start in found}


async def join(database: Database) -> None:
    """Agent 4 becomes a member."""
    await execute(database, AGENTS.replace("generate_series(1, :agents)", "generate_series(4, :agents)"), agents=4)
    await execute(database, "INSERT INTO route_members (route_id, agent_id) VALUES (1, 4)")


@pytest.mark.parametrize(
    ("params", "start"),
    [
        ("{}", 4),
        ('{"newcomers": "lowest"}', 4),
        ('{"newcomers": "average"}', 5),
        ('{"newcomers": "zero"}', 0),
        ('{"newcomers": "lowest", "count": "agent"}', 4),
    ],
)
async def test_who_joins_begins_beside_the_others(database: Database, driver: Driver, params: str, start: int) -> None:
    """Here the others have received 4, 7 and 4. Kept with the version, for whoever decides again."""
    await lay_out(database, params=params)
    await execute(database, "INSERT INTO business_lines (id, name) VALUES (1, 'a'), (2, 'b')")
    await execute(database, "UPDATE agents SET business_line_id = 1 WHERE id <> 2")
    await driver.run(*await add_leads(database, *[f"A{n}" for n in range(12)]))
    await driver.run(*await add_leads(database, *[f"B{n}" for n in range(3)], business_line_id=2))
    await join(database)

    after = await counts(database)
    assert after[4] == (0, start)
    starts = await scalar(database, "SELECT starts FROM route_versions ORDER BY version DESC LIMIT 1")
    assert starts == {str(agent): count for agent, (_, count) in after.items() if count}
    await driver.run(*await add_leads(database, "C"))
    assert (await counts(database))[4][0] == (start == 0)  # of equals the smaller id is first
    await assert_exact(database)


async def test_who_comes_back_has_missed_nothing_that_must_be_made_up(database: Database, driver: Driver) -> None:
    """Switched off as agent or as member; but who has more than the lowest is not set back."""
    await lay_out(database)
    await driver.run(*await add_leads(database, *[f"A{n}" for n in range(3)]))
    await execute(database, "UPDATE agents SET is_active = false WHERE id = 3")
    await driver.run(*await add_leads(database, *[f"B{n}" for n in range(8)]))
    await execute(database, "UPDATE agents SET is_active = true WHERE id = 3")

    assert await counts(database) == {1: (5, 0), 2: (5, 0), 3: (1, 4)}
    await driver.run(*await add_leads(database, *[f"C{n}" for n in range(3)]))
    assert await counts(database) == {1: (6, 0), 2: (6, 0), 3: (2, 4)}
    await execute(database, "UPDATE route_members SET is_enabled = false WHERE agent_id = 3")
    await execute(database, "UPDATE route_members SET is_enabled = true WHERE agent_id = 3")
    assert await counts(database) == {1: (6, 0), 2: (6, 0), 3: (2, 4)}


async def test_a_weighted_route_begins_anew_with_each_version(database: Database, driver: Driver) -> None:
    """New weights hold from now on: nobody makes up for what was fair under the old ones."""
    await lay_out(database, policy="smooth_weighted")
    await execute(database, "UPDATE route_members SET weight = CASE agent_id WHEN 1 THEN 8 ELSE 1 END")
    await driver.run(*await add_leads(database, *[f"A{n}" for n in range(10)]))
    assert {agent: received for agent, (received, _) in (await counts(database)).items()} == {1: 8, 2: 1, 3: 1}

    await execute(database, "UPDATE route_members SET weight = 1")
    assert await counts(database) == {1: (8, -8), 2: (1, -1), 3: (1, -1)}
    for number in range(4):
        await driver.run(*await add_leads(database, *[f"B{number}-{n}" for n in range(3)]))

    assert {agent: received for agent, (received, _) in (await counts(database)).items()} == {1: 12, 2: 5, 3: 5}
    await assert_exact(database)
