"""`decisions verify` over histories that the assigner's handlers made: right ones, and ones that somebody changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime

import pytest

from services.cli.decisions.verifying import Verified, verify
from services.cli.failures import CommandError
from shared.db.session import Database, open_database
from tests.driving import execute, scalar
from tests.histories import History

DAY = date(2026, 3, 2)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, pool_size=12) as database:
        yield database


@pytest.fixture
def history(database: Database) -> History:
    return History(database)


def names(first: int, last: int) -> list[str]:
    return [f"L{number}" for number in range(first, last + 1)]


async def fair_with_everything(history: History) -> None:
    """Stores, daily caps, loads, closes, wakes, a newcomer, an agent switched off, leads given by hand."""
    await history.add_agents({"max_load": 3}, {}, {}, {"is_active": False})
    await history.add_route(
        "all",
        {"agent_id": 1},
        {"agent_id": 2, "max_daily_leads": 4},
        {"agent_id": 2, "store_code": "S", "max_daily_leads": 2},
        {"agent_id": 3, "store_code": "S"},
        policy="fair",
    )
    await history.arrive(*names(1, 9))
    await history.arrive(*names(10, 15), store_code="S")
    await history.close("L1", "L3")
    await history.change("UPDATE agents SET max_load = 5 WHERE id = 1")
    await history.wake("all")
    await history.add_member("all", agent_id=4)
    await history.change("UPDATE agents SET is_active = true WHERE id = 4")
    await history.wake("all")
    await history.arrive(*names(17, 24))
    await history.change("UPDATE agents SET is_active = false WHERE id = 2")
    await history.give("0003", "L2")
    await history.give("0001", "L10", "L11")
    await history.arrive(*names(25, 29))


async def fair_over_all_routes(history: History) -> None:
    await history.add_agents({}, {"max_load": 6}, {}, {})
    everybody = [{"agent_id": number} for number in (1, 2, 3)]
    await history.add_route("one", *everybody, policy="fair", params='{"count": "agent"}')
    await history.add_route("two", *everybody[:2], source=102, policy="fair", params='{"count": "agent"}')
    await history.arrive(*names(1, 4))
    await history.arrive(*names(5, 9), source=102)
    await history.arrive(*names(10, 12))
    await history.add_member("one", agent_id=4)
    await history.arrive(*names(13, 16))


async def weighted(history: History, policy: str) -> None:
    await history.add_agents({}, {"max_load": 4}, {}, {})
    await history.add_route(
        "all",
        {"agent_id": 1, "weight": 1},
        {"agent_id": 2, "weight": 3},
        {"agent_id": 3, "weight": 6, "max_daily_leads": 12},
        {"agent_id": 4, "weight": 0},
        policy=policy,
    )
    await history.arrive(*names(1, 10))
    await history.close("L1", "L2", "L3")
    await history.change("UPDATE route_members SET weight = 4 WHERE agent_id = 1")
    await history.arrive(*names(11, 22))
    await history.give("0004", "L20", "L1")


async def smooth_weighted(history: History) -> None:
    await weighted(history, "smooth_weighted")


async def weighted_random(history: History) -> None:
    await weighted(history, "weighted_random")


async def first_fit(history: History) -> None:
    await history.add_agents({"max_load": 2}, {"max_load": 3}, {"max_load": 1})
    members = [{"agent_id": number, "priority": 10 - number} for number in (1, 2, 3)]
    await history.add_route("all", *members, policy="first_fit")
    await history.arrive(*names(1, 4))
    await history.close("L1", "L4")
    await history.arrive(*names(5, 9))
    await history.wake("all")


async def capped_lots(history: History) -> None:
    """Two stores that share an agent, caps on existing and new leads, two lots on a day."""
    await history.add_agents({}, {}, {"max_load": 3})
    capped = {"max_existing_per_lot": 1, "max_new_per_lot": 1, "max_daily_leads": 3}
    await history.add_route(
        "all",
        {"agent_id": 1, "store_code": "S", **capped},
        {"agent_id": 1, "store_code": "T", **capped, "priority": 200},
        {"agent_id": 2, "store_code": "T", **capped},
        {"agent_id": 3},
        policy="capped_lot",
        mode="lot",
    )
    for first, store, kind in ((1, "S", "New"), (5, "S", "Old"), (9, "T", "New"), (13, "T", "Old")):
        await history.arrive(*names(first, first + 3), store_code=store, customer_type=kind)
    await history.run_lot("all", DAY)
    await history.run_lot("all", DAY)
    await history.give("0002", "L16")
    await history.close(*names(1, 16))
    await history.arrive(*names(17, 20), store_code="T", customer_type="New")
    await history.run_lot("all", date(2026, 3, 3))


async def even_lots(history: History) -> None:
    """Room that differs, a ceiling, left-overs, lots that end what nobody has begun, stages that rise."""
    await history.add_agents({}, {"max_load": 1}, {"max_load": 5}, {})
    members = [{"agent_id": number} for number in (1, 2, 3)]
    await history.add_route(
        "all", *members, policy="even_split", mode="lot", params='{"ceiling": 4, "max_age_days": 45}'
    )
    await history.arrive(*names(1, 12))
    await history.arrive("old", created_at=datetime(2025, 1, 1, tzinfo=UTC))
    await history.arrive("far", stage=4)
    await history.run_lot("all")
    await history.change("UPDATE agents SET max_load = 2 WHERE id = 3")
    await history.run_lot("all")
    await history.add_member("all", agent_id=4)
    await history.run_lot("all")


HISTORIES: list[Callable[[History], Awaitable[None]]] = [
    fair_with_everything,
    fair_over_all_routes,
    smooth_weighted,
    weighted_random,
    first_fit,
    capped_lots,
    even_lots,
]


def in_words(verified: Verified) -> list[str]:
    return [f"{each.what}: {each.words}" for each in verified.found]


@pytest.mark.parametrize("make", HISTORIES, ids=lambda make: make.__name__)
async def test_history_run_again_comes_out_as_it_is_stored(
    history: History, database: Database, make: Callable[[History], Awaitable[None]]
) -> None:
    await make(history)

    verified = await verify(database, None)

    assert in_words(verified) == []
    assert verified.differences == 0
    assert verified.decisions == await scalar(database, "SELECT count(*) FROM decisions WHERE route_id IS NOT NULL") > 1
    assert verified.assigned == await scalar(database, "SELECT count(*) FROM assignments WHERE decision_id IS NOT NULL")
    assert verified.leads >= verified.assigned > 5


CHANGED = [
    (
        "UPDATE member_counters SET assigned_count = assigned_count + 1 WHERE agent_id = 2",
        "counter: assigned_count of agent 0002 is 4; its decisions gave 3",
    ),
    (
        "UPDATE member_counters SET start_count = 2 WHERE agent_id = 2",
        "counter: start_count of agent 0002 is 2; its version says 0",
    ),
    (
        "UPDATE member_days SET leads = 7 WHERE agent_id = 1",
        f"counter: leads on {date(2026, 3, 2)} of agent 0001, all stores are 7; decisions gave 4",
    ),
    (
        "UPDATE agent_counters SET open_load = open_load + 1 WHERE agent_id = 1",
        "counter: open_load of agent 0001 is 5; counted 4",
    ),
    (
        "UPDATE agent_counters SET auto_assign_count = 0 WHERE agent_id = 1",
        "counter: auto_assign_count of agent 0001 is 0; counted 4",
    ),
    (
        "UPDATE page_groups SET last_rowid = 9 WHERE page_group_code = 'L2603020001'",
        "counter: last_rowid of L2603020001 is 9; counted 4",
    ),
    (
        """UPDATE decisions SET choices = jsonb_set(choices, '{1}', '3') WHERE choices ? '1'""",
        "choice: is stored as agent 0003; taken again it comes out as agent 0001, as its assignment has it",
    ),
    (
        """UPDATE decisions SET choices = jsonb_set(choices, '{1}', '"inactive"') WHERE choices ? '1'""",
        "choice: is stored as nobody (inactive); taken again it comes out as agent 0001, as its assignment has it",
    ),
    (
        "UPDATE decisions SET choices = choices - '1' WHERE choices ? '1'",
        "choice: is stored as nobody; taken again it comes out as agent 0001, as its assignment has it",
    ),
    (
        "UPDATE decisions SET facts = jsonb_set(facts, '{answers,0,read,1}', '5') WHERE choices ? '1'",
        "read: read 5 for agent 0001; taken again it is 0",
    ),
    (
        "UPDATE decisions SET facts = jsonb_set(facts, '{answers,0,boundary,0,1}', '[0, 2]') WHERE choices ? '1'",
        "boundary: names agent 0002 with 0 as the best who got nothing; taken again it is nobody",
    ),
    (
        "UPDATE decisions SET route_version = 7 WHERE choices ? '1'",
        "version: is stored under version 7; in force was 4",
    ),
    (
        "UPDATE decisions SET algorithm = 'first_fit/1' WHERE choices ? '1'",
        "rule: it was taken by first_fit/1, but the route's policy was 'fair'",
    ),
    (
        "UPDATE decisions SET algorithm = 'fair/0' WHERE choices ? '1'",
        "rule: its algorithm 'fair/0' is not known here",
    ),
    (
        "UPDATE routes SET sequence = sequence + 2",
        "gap: nothing is stored under 7 to 8 of the route's sequence",
    ),
    (
        "UPDATE assignments SET decision_id = 4711 WHERE lead_id = 10",
        "assignment: its assignment is for nobody; the decision is stored, and comes out again, as agent 0001",
    ),
]


@pytest.mark.parametrize(("statement", "expected"), CHANGED)
async def test_what_somebody_changed_is_that_one_difference(
    history: History, database: Database, statement: str, expected: str
) -> None:
    await even_on_a_day(history)
    assert in_words(await verify(database, "all")) == []

    await execute(database, statement)

    verified = await verify(database, "all")
    assert in_words(verified) == [expected]
    assert verified.differences == 1


async def even_on_a_day(history: History) -> None:
    """Ten leads on three agents, in two decisions of a day that is long past."""
    await history.add_agents({}, {}, {})
    await history.add_route("all", *({"agent_id": number} for number in (1, 2, 3)), policy="fair", mode="lot")
    for first, last in ((1, 6), (7, 10)):
        await history.arrive(*names(first, last))
        await history.run_lot("all", DAY)


async def test_an_assignment_of_another_agent_is_told_with_its_lead(history: History, database: Database) -> None:
    await even_on_a_day(history)
    await execute(database, "UPDATE assignments SET agent_id = 3 WHERE lead_id = 1")

    verified = await verify(database, None)

    first, *counters = verified.found
    assert (first.what, first.route, first.lead_id) == ("assignment", "all", "L1")
    assert {each.what for each in counters} == {"counter"}


async def test_a_decision_that_was_deleted_is_missed(history: History, database: Database) -> None:
    await even_on_a_day(history)
    await execute(database, "DELETE FROM decisions WHERE sequence = 5")

    found = in_words(await verify(database, None))

    assert found[0] == "gap: nothing is stored under 5 of the route's sequence"
    assert sum(words.startswith("assignment: is for agent") for words in found) == 6


async def test_verify_is_right_while_leads_are_assigned_and_closed(history: History, database: Database) -> None:
    await history.add_agents({"max_load": 30}, {}, {"max_load": 30})
    await history.add_route("all", *({"agent_id": number} for number in (1, 2, 3)), policy="fair")
    await history.arrive(*names(1, 20))
    working = asyncio.create_task(_work(history))
    looks = 0

    while not working.done():
        assert in_words(await verify(database, None)) == []
        looks += 1
    await working

    assert looks > 1
    assert (await verify(database, None)).assigned == await scalar(
        database, "SELECT count(*) FROM assignments WHERE decision_id IS NOT NULL"
    )


async def _work(history: History) -> None:
    for number in range(2, 12):
        await history.arrive(*names(number * 10 + 1, number * 10 + 10))
        await history.close(*names(number * 10 - 15, number * 10 - 11))
        await history.change("UPDATE route_members SET weight = weight + 1 WHERE agent_id = 1")


async def test_a_route_that_is_none_is_refused_in_words(database: Database) -> None:
    with pytest.raises(CommandError, match="there is no route 'nowhere'"):
        await verify(database, "nowhere")
