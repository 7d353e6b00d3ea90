"""Leads that a person gives to an agent by name: within its limits, in its history, and exact."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from services.assigner.consumer import ANSWERED, AssignLeads
from services.assigner.pieces import RouteBatch
from services.documents.consumer import MakeSheets
from shared.db.session import Database
from shared.events import AssignmentRequested, LeadAccepted, LeadAssigned, LeadClosed, LeadTaken, LeadUnassigned
from shared.messaging.processing import Rejected
from shared.sheetstore import SheetStore
from tests.assignments import add_leads, assert_exact, assignment, lay_out, settle
from tests.driving import Driver, execute, message, of, rows, scalar


@pytest.fixture
def driver(database: Database) -> Driver:
    return Driver(database, AssignLeads())


def give(agent: str, *lead_ids: str, request_id: str = "r", **wish: Any) -> AssignmentRequested:
    return AssignmentRequested(
        lead_ids=lead_ids, to_agent_code=agent, requested_by="asha", request_id=request_id, **wish
    )


async def choices(database: Database, request_id: str = "r") -> dict[str, Any]:
    """What was decided on a request, by lead."""
    names = dict(await rows(database, "SELECT id::text, lead_id FROM leads"))
    found = await rows(database, "SELECT choices FROM decisions WHERE request_id = :key ORDER BY id", key=request_id)
    assert found[-1] == ({},), "the last decision of a request ends its answer"
    return {names[key]: choice for (part,) in found for key, choice in part.items()}


async def test_waiting_leads_go_to_whom_a_person_names(database: Database, driver: Driver) -> None:
    """Also on a route whose leads wait for a person, and to one who is no member there."""
    await lay_out(database, agents=1, retry_pending=False)
    await execute(database, "UPDATE route_members SET is_enabled = false")
    await execute(
        database, "INSERT INTO agents (id, agent_code, agent_name) VALUES (9, '0009', 'A stranger to the route')"
    )
    await driver.run(*await add_leads(database, "A", "B"))

    effects = await driver.run(give("0009", "A", "B"))

    assert [(event.lead_id, event.agent_code) for event in of(effects, LeadAssigned)] == [("A", "0009"), ("B", "0009")]
    assert await choices(database) == {"A": 9, "B": 9}
    assert await rows(
        database,
        "SELECT method, count_before, count_after, open_before, open_after, requested_by FROM assignment_records"
        " WHERE agent_id = 9 ORDER BY id",
    ) == [("manual", 0, 1, 0, 1, "asha"), ("manual", 1, 2, 1, 2, "asha")]
    assert await rows(database, "SELECT algorithm, kind FROM decisions ORDER BY id DESC OFFSET 1 LIMIT 1") == [
        ("manual/1", "by hand")
    ]
    await assert_exact(database)


async def test_another_agents_lead_moves_with_its_load_and_its_story(
    database: Database, driver: Driver, tmp_path: Path
) -> None:
    """The old assignment ends and keeps all it had, its sheet is superseded; begun or not."""
    await lay_out(database, agents=2)
    documents = Driver(database, MakeSheets(SheetStore(tmp_path)))
    first = of(await driver.run(*await add_leads(database, "A")), LeadAssigned)
    await documents.run(*first)
    await driver.run(LeadTaken(lead_id="A"))
    old = await assignment(database, "A")

    second = of(await driver.run(give("0002", "A")), LeadAssigned)
    await documents.run(*second)

    assert [(e.agent_code, e.previous_agent_code, e.previous_sheet_key) for e in second] == [
        ("0002", "0001", old.sheet_key)
    ]
    assert (await assignment(database, "A")).agent_id == 2
    assert await rows(
        database,
        "SELECT id, agent_id, sheet_key, lead_assignment_code, assignment_status_id, ended_at IS NOT NULL"
        " FROM assignments WHERE NOT is_current",
    ) == [(old.id, 1, old.sheet_key, old.lead_assignment_code, 3, True)]
    assert await rows(database, "SELECT agent_id, open_load FROM agent_counters ORDER BY 1") == [(1, 0), (2, 1)]
    assert await rows(
        database, "SELECT agent_id, method, open_before, open_after FROM assignment_records ORDER BY id OFFSET 2"
    ) == [(1, "given to another by a person", 1, 0), (2, "manual", 0, 1)]
    assert await rows(database, "SELECT status FROM documents ORDER BY id") == [("superseded",), ("ok",)]
    await assert_exact(database)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("UPDATE agents SET max_load = 2 WHERE id = 2", "agent at capacity"),
        ("UPDATE route_members SET max_daily_leads = 2 WHERE agent_id = 2", "daily cap reached"),
    ],
)
async def test_what_the_agent_may_not_get_stays_as_it_is(
    database: Database, driver: Driver, limit: str, reason: str
) -> None:
    """Nothing is taken from another for it; the lead that waits goes on waiting for the reason it had."""
    await lay_out(database, agents=2)
    await execute(database, limit)
    await execute(database, "UPDATE route_members SET is_enabled = agent_id = 1")
    await driver.run(*await add_leads(database, "A", "B"))
    await execute(database, "UPDATE route_members SET is_enabled = agent_id = 2")
    await driver.run(*await add_leads(database, "C"))
    await execute(database, "UPDATE route_members SET is_enabled = false")
    await driver.run(*await add_leads(database, "D"))
    await execute(database, "UPDATE route_members SET is_enabled = true")

    effects = await driver.run(give("0002", "A", "B", "C", "D"))

    # D waits, and waiting leads come first; C is the agent's already.
    assert [event.lead_id for event in of(effects, LeadAssigned)] == ["D"]
    assert of(effects, LeadUnassigned) == []
    assert await choices(database) == {"A": reason, "B": reason, "D": 2}
    assert [(await assignment(database, name)).agent_id for name in "ABCD"] == [1, 1, 2, 2]
    assert await scalar(database, "SELECT count(*) FROM assignments WHERE NOT is_current") == 0
    await assert_exact(database)


async def test_nobody_can_give_what_nobody_may_have(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1)
    await execute(database, "INSERT INTO stores (store_code, assign_leads) VALUES ('NO', false)")
    await add_leads(database, "S", store_code="NO")
    await add_leads(database, "P", is_order_placed=True)
    await add_leads(database, "D", duplicate_of=1)
    await driver.run(LeadAccepted(lead_id="S", revision=1))

    effects = await driver.run(give("0001", "S", "P", "D"))

    assert of(effects, LeadAssigned) == []
    assert await choices(database) == {"S": "store takes no part"}


async def test_an_agent_whom_nobody_knows_is_refused(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1)
    await driver.run(*await add_leads(database, "A"))

    effects = await driver.run(give("0042", "A"))

    assert [each.reason for each in of(effects, Rejected)] == ["there is no agent with the code '0042'"]
    assert (await assignment(database, "A")).agent_id == 1
    assert await scalar(database, "SELECT count(*) FROM decisions WHERE request_id IS NOT NULL") == 0


async def test_the_same_request_twice_gives_once(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=2)
    await driver.run(*await add_leads(database, "A", "B"))

    for _ in range(2):
        await driver.run(give("0002", "A", "B"))

    assert await rows(database, "SELECT agent_id, open_load FROM agent_counters ORDER BY 1") == [(1, 0), (2, 2)]
    assert await scalar(database, "SELECT count(*) FROM assignments") == 3
    await assert_exact(database)


async def test_two_who_give_a_lead_to_each_other_come_to_an_end(database: Database, driver: Driver) -> None:
    """Each looks at it once, though it has a new assignment whenever the other has given it away."""
    await lay_out(database, agents=2)
    await driver.run(*await add_leads(database, "A", "B"))
    handler = AssignLeads()

    async with aclosing(handler.prepare(database, [message(give("0002", "A", "B", request_id="one"))])) as pieces:
        async with database.begin() as tx:
            await handler.save(tx, await anext(pieces))
        await driver.run(give("0001", "A", "B", request_id="other"))
        left = [piece async for piece in pieces]

    assert [isinstance(piece, RouteBatch) and piece.kind for piece in left] == [ANSWERED]
    assert [(await assignment(database, name)).agent_id for name in "AB"] == [1, 1]
    assert await choices(database, "other") == {"A": 1, "B": 1}
    await assert_exact(database)


async def test_people_at_once_and_a_stream_never_pass_a_limit(database: Database) -> None:
    """Two give each other's leads away over two routes, while others arrive and are closed."""
    await lay_out(database, routes=("meta", "web"), agents=4)
    await execute(database, "UPDATE agents SET max_load = 4")
    workers = [Driver(database, AssignLeads()) for _ in range(3)]

    async def work(worker: Driver, number: int) -> None:
        for turn in range(8):
            names = [f"{number}-{turn}-{n}" for n in range(3)]
            await worker.run(*await add_leads(database, *names, source=101 + number % 2))
            held = [
                name
                for (name,) in await rows(
                    database,
                    "SELECT leads.lead_id FROM assignments JOIN leads ON leads.id = assignments.lead_id"
                    " WHERE is_current AND assignment_status_id < 4 ORDER BY random() LIMIT 6",
                )
            ]
            await worker.run(give(f"000{1 + (number + turn) % 4}", *held[:4], request_id=f"{number}-{turn}"))
            await worker.run(*(LeadClosed(lead_id=name) for name in held[4:]))

    await asyncio.gather(*(work(worker, number) for number, worker in enumerate(workers)))
    for worker in workers:
        await settle(worker)

    assert sum(worker.again for worker in workers) == 0
    assert await scalar(database, "SELECT max(open_after) FROM assignment_records") <= 4
    await assert_exact(database)


# The recipes of mini-crm's document.


@pytest.mark.parametrize(("retry_pending", "expected"), [(False, [4, 2, 1, 2]), (True, [4, 2, 2, 1])])
async def test_of_two_places_the_third_waits_until_one_closes(
    database: Database, driver: Driver, retry_pending: bool, expected: list[int]
) -> None:
    """The fourth has it then, and the third waits for a person; where leads are tried again, the third has it."""
    await lay_out(database, agents=1, policy="weighted_random", retry_pending=retry_pending)
    await execute(database, "UPDATE agents SET max_load = 2")
    await driver.run(*await add_leads(database, "A", "B", "C"))
    assert (await assignment(database, "C")).reason == "agent at capacity"

    await driver.run(LeadClosed(lead_id="A"))
    await settle(driver)
    await driver.run(*await add_leads(database, "D"))
    await settle(driver)

    assert [(await assignment(database, name)).assignment_status_id for name in "ABCD"] == expected
    await assert_exact(database)


async def test_weights_share_ten_thousand_leads_and_none_is_none(database: Database, driver: Driver) -> None:
    """10, 30 and 60 of a hundred within three standard deviations, and 0 gets nothing."""
    await lay_out(database, agents=4, policy="weighted_random")
    await execute(database, "UPDATE route_members SET weight = (ARRAY[10, 30, 60, 0])[agent_id]")
    for start in range(0, 10_000, 1_000):
        await driver.run(*await add_leads(database, *[f"R{start + n}" for n in range(1_000)]))

    received = dict(await rows(database, "SELECT agent_id, assigned_count FROM member_counters"))
    assert sum(received.values()) == 10_000
    assert received[4] == 0
    for agent_id, chance in ((1, 0.1), (2, 0.3), (3, 0.6)):
        deviation = (10_000 * chance * (1 - chance)) ** 0.5
        assert abs(received[agent_id] - 10_000 * chance) <= 3 * deviation
    await assert_exact(database)
