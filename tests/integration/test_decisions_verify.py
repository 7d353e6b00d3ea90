"""`decisions verify` over histories that the assigner's handlers made: right ones, and ones that somebody changed."""

from __future__ import annotations

import asyncio

import pytest

from services.cli.decisions.verifying import Verified, verify
from services.cli.failures import CommandError
from shared.db.session import Database
from tests.driving import execute, scalar
from tests.histories import History
from tests.pasts import DAY, PASTS, Past, names


def in_words(verified: Verified) -> list[str]:
    return [f"{each.what}: {each.words}" for each in verified.found]


@pytest.mark.parametrize("make", PASTS, ids=lambda make: make.__name__)
async def test_history_run_again_comes_out_as_it_is_stored(history: History, database: Database, make: Past) -> None:
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
        "counter: leads on 2026-03-02 of agent 0001, all stores are 7; decisions gave 4",
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
