"""The assigner's handler against a real PostgreSQL: one owner a lead, exact counters, no cap passed, none forgotten."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, date, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from services.assigner import assigning
from services.assigner.consumer import AssignLeads
from services.assigner.queries import counters
from services.assigner.queries.assignments import begin_anew
from services.assigner.queries.leads import lock_assignments
from services.assigner.queries.routes import read_members
from shared.db.session import Database
from shared.events import (
    AssignmentRequested,
    Event,
    LeadAccepted,
    LeadAssigned,
    LeadClosed,
    LeadReopened,
    LeadTaken,
    LeadUnassigned,
)
from shared.messaging import envelope
from shared.messaging.envelope import Message
from shared.messaging.processing import Deferred, Rejected
from tests.assignments import AGENTS, add_leads, assert_exact, assignment, lay_out, settle
from tests.driving import Driver, execute, message, of, rows, scalar
from tests.waiting import eventually


@pytest.fixture
def driver(database: Database) -> Driver:
    return Driver(database, AssignLeads())


# One lead.


async def test_a_lead_is_assigned_once_however_often_it_is_delivered(database: Database, driver: Driver) -> None:
    await lay_out(database)
    accepted = await add_leads(database, "A", store_code="S1", customer_name="Ann", mobile_number="+911", address="x")

    first = await driver.run(*accepted)
    again = [*await driver.run(*accepted), *await Driver(database, AssignLeads()).run(*accepted)]

    (told,) = first
    assert isinstance(told, LeadAssigned)
    row = await assignment(database, "A")
    assert (told.agent_code, told.agent_name, told.agent_email) == ("0001", "Agent 1", "1@x.y")
    assert (told.route, told.source, told.store_code, told.rowid) == ("all", "META", "S1", 1)
    assert told.assignment_id == row.id
    assert told.decision_id == row.decision_id
    assert told.sheet_key == told.lead_assignment_code == row.sheet_key == f"{row.page_group_code}-0001"
    assert told.revision == await scalar(database, "SELECT id FROM assignment_records")
    assert (row.cx_name, row.mobile_number, row.address, row.lead_source) == ("Ann", "+911", "x", "META")
    assert again == []
    await assert_exact(database)


async def test_an_unknown_lead_waits_on_the_ladder_and_hurts_no_other(database: Database, driver: Driver) -> None:
    await lay_out(database)
    accepted = await add_leads(database, "A")

    effects = await driver.run(LeadTaken(lead_id="?"), *accepted, LeadAccepted(lead_id="??", revision=1))

    assert [effect.message.key for effect in of(effects, Deferred)] == ["?", "??"]
    assert [event.lead_id for event in of(effects, LeadAssigned)] == ["A"]


async def test_a_batch_is_spread_evenly_in_the_order_of_waiting(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=4)
    accepted = await add_leads(database, *[f"L{n}" for n in range(10)])

    effects = await driver.run(*reversed(accepted))

    assert [event.lead_id for event in of(effects, LeadAssigned)] == [f"L{n}" for n in range(10)]
    assert sorted(Counter(event.agent_code for event in of(effects, LeadAssigned)).values()) == [2, 2, 3, 3]
    records = await rows(
        database,
        "SELECT agent_id, count_before, count_after, open_before, open_after, method FROM assignment_records"
        " ORDER BY id",
    )
    assert records[:5] == [(n, 0, 1, 0, 1, "fair_distribution") for n in (1, 2, 3, 4)] + [
        (1, 1, 2, 1, 2, "fair_distribution")
    ]
    await assert_exact(database)


async def test_a_decision_holds_what_it_takes_to_decide_again(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=4)
    await execute(database, "UPDATE agents SET max_load = 1 WHERE id = 1")
    await driver.run(*await add_leads(database, "A"))

    await driver.run(*await add_leads(database, "B", "C"))

    (decision,) = await rows(
        database,
        "SELECT route_id, route_version, sequence, algorithm, kind, facts, choices FROM decisions ORDER BY id OFFSET 1",
    )
    assert decision[:5] == (1, 3, 5, "fair/1", "accepted")
    facts, choices = decision[5], decision[6]
    b, c = [row[0] for row in await rows(database, "SELECT id FROM leads WHERE lead_id IN ('B', 'C') ORDER BY id")]
    assert facts["answers"] == [
        {"store": None, "leads": [[b, None], [c, None]], "read": {"2": 0, "3": 0}, "boundary": [[None, [0, 4]]]}
    ]
    assert facts["loads"] == {"1": 1}
    assert choices == {str(b): 2, str(c): 3}
    assert await scalar(database, "SELECT sequence FROM routes") == 5


async def test_several_routes_in_one_batch(database: Database, driver: Driver) -> None:
    await lay_out(database, routes=("meta", "web"))
    accepted = await add_leads(database, "A", "B") + await add_leads(database, "C", source=102)

    effects = await driver.run(*accepted)

    assert {event.lead_id: event.route for event in of(effects, LeadAssigned)} == {"A": "meta", "B": "meta", "C": "web"}
    await assert_exact(database)


# Leads that wait.


async def test_no_route_is_told_once_and_ends_when_one_comes(database: Database, driver: Driver) -> None:
    await lay_out(database, routes=())
    accepted = await add_leads(database, "A")
    await execute(database, AGENTS, agents=0)

    first = await driver.run(*accepted)
    second = await driver.run(*accepted)
    await execute(database, "INSERT INTO routes (name, policy) VALUES ('new', 'fair')")
    await execute(database, "INSERT INTO route_members (route_id, agent_id) SELECT routes.id, 1 FROM routes")
    third = await driver.run(AssignmentRequested(requested_by="config"))

    (told,) = first
    assert isinstance(told, LeadUnassigned)
    assert told.reason == "no route matches"
    assert second == []
    assert [type(event) for event in third] == [LeadAssigned]
    assert await scalar(database, "SELECT requested_by FROM assignment_records ORDER BY id DESC LIMIT 1") == "config"


async def test_why_a_lead_waits_is_told_when_it_changes_only(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1)
    await execute(database, "UPDATE route_members SET is_enabled = false")
    accepted = await add_leads(database, "A")

    told = [await driver.run(*accepted), await driver.run(*accepted)]
    await execute(database, "UPDATE route_members SET is_enabled = true, max_daily_leads = 0")
    told += [await driver.run(*accepted), await driver.run(AssignmentRequested(route="all"))]

    assert [[(event.reason, event.retry_at is None) for event in of(events, LeadUnassigned)] for events in told] == [
        [("member disabled", True)],
        [],
        [("daily cap reached", False)],
        [],
    ]
    assert await scalar(
        database,
        "SELECT retry_at = (date_trunc('day', now() AT TIME ZONE 'Asia/Kolkata') + interval '1 day')"
        " AT TIME ZONE 'Asia/Kolkata' FROM assignments",
    )


async def test_only_a_store_that_was_set_to_take_no_part_bars_its_leads(database: Database, driver: Driver) -> None:
    await lay_out(database)
    await execute(
        database,
        "INSERT INTO stores (store_code, assign_leads, is_new)"
        " VALUES ('NEW', false, true), ('NO', false, false), ('YES', true, false)",
    )
    accepted = [
        event for code in ("NEW", "NO", "YES", "GONE") for event in await add_leads(database, code, store_code=code)
    ]

    effects = await driver.run(*accepted)

    assert [event.lead_id for event in of(effects, LeadAssigned)] == ["NEW", "YES", "GONE"]
    assert [(event.lead_id, event.reason) for event in of(effects, LeadUnassigned)] == [("NO", "store takes no part")]


async def test_duplicates_and_placed_orders_are_never_assigned(database: Database, driver: Driver) -> None:
    await lay_out(database)
    accepted = await add_leads(database, "A", duplicate_of=1) + await add_leads(database, "B", is_order_placed=True)

    effects = await driver.run(*accepted, AssignmentRequested(), AssignmentRequested(lead_ids=("A", "B")))

    assert effects == []
    assert (await assignment(database, "A")).assignment_status_id == 1
    row = await assignment(database, "B")
    assert (row.assignment_status_id, row.reason, row.agent_id) == (4, "won", None)


async def test_a_placed_order_wins_whoever_has_the_lead(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1)
    accepted = await add_leads(database, "A")
    await driver.run(*accepted)
    await execute(database, "UPDATE leads SET is_order_placed = true")

    await driver.run(*accepted)
    await driver.run(*accepted)

    row = await assignment(database, "A")
    assert (row.assignment_status_id, row.reason, row.agent_code) == (4, "won", "0001")
    await assert_exact(database)


async def test_an_update_routes_a_pending_lead_anew_and_no_other(database: Database, driver: Driver) -> None:
    await lay_out(database, routes=("meta", "web"), agents=1)
    await execute(database, "UPDATE route_members SET is_enabled = false WHERE route_id = 1")
    waiting = await add_leads(database, "A")
    held = await add_leads(database, "B", source=102)
    await driver.run(*waiting, *held)
    assert (await assignment(database, "A")).route_id == 1

    await execute(database, "UPDATE leads SET source_id = 203 - source_id")
    await execute(database, "UPDATE route_members SET is_enabled = true")
    await driver.run(*waiting, *held)

    assert [(await assignment(database, name)).route_id for name in "AB"] == [2, 2]
    await assert_exact(database)


async def test_a_lead_whose_route_changes_while_the_batch_waits_goes_to_the_right_one(
    database: Database, driver: Driver
) -> None:
    await lay_out(database, routes=("meta", "web"), agents=1)
    accepted = await add_leads(database, "A")
    handler = AssignLeads()
    preparing = handler.prepare(database, [message(event) for event in accepted])
    piece = await anext(preparing)
    await execute(database, "UPDATE leads SET source_id = 102")

    async with database.begin() as tx:
        effects = await handler.save(tx, piece)
    await preparing.aclose()
    driver.told += of(effects, Event)
    assert effects == of(effects, LeadAccepted)
    assert [event.revision for event in of(effects, LeadAccepted)] == [1]
    await settle(driver)

    assert (await assignment(database, "A")).route_id == 2


async def test_a_route_switched_off_meanwhile_leaves_its_leads_to_others(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1)
    accepted = await add_leads(database, "A")
    handler = AssignLeads()
    preparing = handler.prepare(database, [message(event) for event in accepted])
    piece = await anext(preparing)
    await execute(database, "UPDATE routes SET is_enabled = false")

    async with database.begin() as tx:
        effects = await handler.save(tx, piece)
    await preparing.aclose()

    assert [event.reason for event in of(effects, LeadUnassigned)] == ["no route matches"]


async def test_a_wake_goes_through_all_pages(
    database: Database, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assigning, "PAGE", 100)
    await lay_out(database, agents=2)
    await execute(database, "INSERT INTO business_lines (id, name) VALUES (1, 'a'), (2, 'b')")
    await execute(database, "UPDATE agents SET business_line_id = 1, max_load = CASE id WHEN 1 THEN 0 END")
    await execute(database, "UPDATE route_members SET is_enabled = false")
    others = await add_leads(database, *[f"B{n}" for n in range(350)], business_line_id=2)
    mine = await add_leads(database, *[f"A{n}" for n in range(350)], business_line_id=1)
    await driver.run(*others, *mine)
    await execute(database, "UPDATE route_members SET is_enabled = true")

    effects = await driver.run(AssignmentRequested(route="all"))

    assert [event.lead_id for event in of(effects, LeadAssigned)] == [f"A{n}" for n in range(350)]
    assert {event.agent_code for event in of(effects, LeadAssigned)} == {"0002"}
    assert await scalar(database, "SELECT count(*) FROM assignments WHERE reason = 'other business line'") == 350
    await assert_exact(database)


async def test_requests_without_a_route_page_through_all_that_wait(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=2, routes=())
    accepted = await add_leads(database, *[f"L{n}" for n in range(1100)])
    for start in range(0, 1100, 200):
        await driver.run(*accepted[start : start + 200])
    await execute(database, "INSERT INTO routes (id, name, policy) VALUES (1, 'new', 'fair')")
    await execute(database, "INSERT INTO route_members (route_id, agent_id) SELECT 1, id FROM agents")

    effects = await driver.run(AssignmentRequested())

    assert len(of(effects, LeadAssigned)) == 1100
    await assert_exact(database)


async def test_leads_that_wait_for_a_person_wait_for_a_person(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1, retry_pending=False)
    await execute(database, "UPDATE route_members SET is_enabled = false")
    accepted = await add_leads(database, "A", "B", "C")
    await driver.run(*accepted)
    await execute(database, "UPDATE route_members SET is_enabled = true")

    by_machines = [
        *await driver.run(AssignmentRequested(route="all", requested_by="sweep")),
        *await driver.run(AssignmentRequested(requested_by="config")),
        *await driver.run(*accepted),
    ]
    by_people = await driver.run(AssignmentRequested(lead_ids=("B",), requested_by="asha", request_id="r1"))
    by_source = await driver.run(AssignmentRequested(source="meta", requested_by="asha", request_id="r2"))

    assert by_machines == []
    assert [event.lead_id for event in of(by_people, LeadAssigned)] == ["B"]
    assert [event.lead_id for event in of(by_source, LeadAssigned)] == ["A", "C"]
    assert await rows(database, "SELECT request_id, kind FROM decisions ORDER BY id") == [
        ("r1", "requested"),
        ("r1", "answered"),
        ("r2", "requested"),
        ("r2", "answered"),
    ]


@pytest.mark.parametrize(
    "wish",
    [{"source": "Web"}, {"lead_ids": ("gone",)}, {"route": "all", "source": "Web"}, {"lead_ids": ("A",)}],
    ids=["nothing waits", "unknown lead", "nothing on the route", "already assigned"],
)
async def test_a_persons_request_is_always_answered(database: Database, driver: Driver, wish: dict[str, Any]) -> None:
    await lay_out(database)
    await driver.run(*await add_leads(database, "A"))

    effects = await driver.run(AssignmentRequested(**wish, requested_by="asha", request_id="r"))

    assert effects == []
    assert await rows(database, "SELECT choices FROM decisions WHERE request_id = 'r'") == [({},)]


async def test_what_cannot_be_done_is_refused_in_words(database: Database, driver: Driver) -> None:
    await lay_out(database)
    await add_leads(database, "A")

    unknown = await driver.run(AssignmentRequested(lead_ids=("A",), to_agent_code="0099", request_id="r"))
    nowhere = await driver.run(AssignmentRequested(route="nowhere", request_id="r"))
    gone = await driver.run(AssignmentRequested(route="nowhere"))

    assert [each.reason for each in of(unknown, Rejected)] == ["there is no agent with the code '0099'"]
    assert [each.reason for each in of(nowhere, Rejected)] == ["there is no route 'nowhere'"]
    assert gone == []
    assert (await assignment(database, "A")).assignment_status_id == 1
    assert await scalar(database, "SELECT count(*) FROM decisions") == 0


# Taken, closed, reopened.


async def test_a_lead_is_taken_closed_and_reopened(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=2)
    accepted = await add_leads(database, "A")
    await driver.run(*accepted)
    first = await assignment(database, "A")

    await driver.run(LeadTaken(lead_id="A", agent_code="0001"))
    assert (await assignment(database, "A")).assignment_status_id == 3
    await driver.run(LeadClosed(lead_id="A", reason="lost"))
    await driver.run(LeadClosed(lead_id="A", reason="won"))
    closed = await assignment(database, "A")
    assert (closed.assignment_status_id, closed.reason, closed.closed_at is None) == (4, "lost", False)
    effects = await driver.run(LeadReopened(lead_id="A"))

    (told,) = effects
    assert isinstance(told, LeadAssigned)
    assert (told.agent_code, told.sheet_key, told.assignment_id) == ("0001", first.sheet_key, first.id)
    row = await assignment(database, "A")
    assert (row.assignment_status_id, row.reason, row.closed_at) == (2, None, None)
    assert told.revision == await scalar(database, "SELECT max(id) FROM assignment_records")
    assert await driver.run(LeadReopened(lead_id="A")) == []
    await assert_exact(database)


async def test_what_is_refused_is_recorded_and_changes_nothing(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=2)
    accepted = await add_leads(database, "A", "B")
    await driver.run(accepted[0])
    before = await assignment(database, "A")

    await driver.run(LeadTaken(lead_id="A", agent_code="0002"), LeadTaken(lead_id="B"))
    await driver.run(LeadClosed(lead_id="A", agent_code="0002"))

    assert await assignment(database, "A") == before
    assert await rows(database, "SELECT method, reason FROM assignment_records ORDER BY id OFFSET 1") == [
        ("taken refused", "the lead is agent 0001's, not 0002's"),
        ("taken refused", "the lead is pending"),
        ("closed refused", "the lead is agent 0001's, not 0002's"),
    ]


@pytest.mark.parametrize("event_id", [{}, {"event_id": "e1"}], ids=["without an id", "with an id"])
async def test_a_refused_event_delivered_again_is_one_record(
    database: Database, driver: Driver, event_id: dict[str, str]
) -> None:
    """Also at two replicas at once, and after the lead has changed; another event is another record."""
    await lay_out(database, agents=2)
    await driver.run(*await add_leads(database, "A"))
    taken = message(LeadTaken(lead_id="A", agent_code="0002"))
    body = json.dumps({"lead_id": "A", "agent_code": "0002", **event_id}).encode()

    def delivered() -> Message:
        read = envelope.read(replace(taken.delivery, body=body), ["lead.taken"])
        assert isinstance(read, Message)
        return read

    await asyncio.gather(*(Driver(database, AssignLeads()).run(delivered()) for _ in range(3)))
    await driver.run(LeadTaken(lead_id="A", agent_code="0001"))
    await driver.run(delivered())
    refused = "SELECT count(*) FROM assignment_records WHERE method = 'taken refused'"
    assert await scalar(database, refused) == 1

    await driver.run(LeadTaken(lead_id="A", agent_code="0002", event_id="e2"))
    assert await scalar(database, refused) == 2


async def test_a_reopened_lead_without_a_place_goes_to_another_and_keeps_its_story(
    database: Database, driver: Driver
) -> None:
    await lay_out(database, agents=2)
    await execute(database, "UPDATE agents SET max_load = 1 WHERE id = 1")
    await driver.run(*await add_leads(database, "A"))
    await driver.run(LeadClosed(lead_id="A"))
    old = await assignment(database, "A")
    await driver.run(*await add_leads(database, "B"))  # 2 has it
    await execute(database, "UPDATE member_counters SET assigned_count = 5 WHERE agent_id = 2")
    await execute(database, "UPDATE member_counters SET assigned_count = 0 WHERE agent_id = 1")
    await driver.run(*await add_leads(database, "C"))  # 1 has it, and is full
    assert (await assignment(database, "C")).agent_id == 1

    effects = await driver.run(LeadReopened(lead_id="A"))
    (told,) = of(effects, LeadUnassigned)
    assert (told.reason, told.previous_sheet_key) == ("no place with its agent", old.sheet_key)
    await settle(driver)

    row = await assignment(database, "A")
    assert (row.agent_id, row.assignment_status_id) == (2, 2)
    ended = await rows(
        database,
        "SELECT id, agent_id, sheet_key, assignment_status_id, ended_at IS NULL FROM assignments WHERE NOT is_current",
    )
    assert ended == [(old.id, 1, old.sheet_key, 4, False)]


async def test_a_reopened_lead_stays_closed_where_people_assign(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1, retry_pending=False)
    await driver.run(*await add_leads(database, "A"))
    await driver.run(LeadClosed(lead_id="A"))
    await execute(database, "UPDATE agents SET is_active = false")

    assert await driver.run(LeadReopened(lead_id="A")) == []

    assert (await assignment(database, "A")).assignment_status_id == 4
    assert await rows(database, "SELECT method, reason FROM assignment_records ORDER BY id DESC LIMIT 1") == [
        ("reopened refused", "its agent is inactive")
    ]


async def test_of_two_reopened_at_once_one_gets_the_one_place(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1)
    accepted = await add_leads(database, "A", "B")
    await driver.run(*accepted)
    await driver.run(LeadClosed(lead_id="A"), LeadClosed(lead_id="B"))
    await execute(database, "UPDATE agents SET max_load = 1")

    await driver.run(LeadReopened(lead_id="A"), LeadReopened(lead_id="B"))
    await settle(driver)

    assert [(await assignment(database, name)).assignment_status_id for name in "AB"] == [2, 1]
    await assert_exact(database)


async def test_a_close_wakes_every_route_of_an_agent_that_was_full(database: Database, driver: Driver) -> None:
    await lay_out(database, routes=("meta", "web"), agents=1)
    await execute(database, "UPDATE agents SET max_load = 1")
    accepted = [*await add_leads(database, "A"), *await add_leads(database, "B", source=102)]
    await driver.run(*accepted)
    assert (await assignment(database, "B")).reason == "agent at capacity"

    effects = await driver.run(LeadClosed(lead_id="A"))
    assert [event.route for event in of(effects, AssignmentRequested)] == ["meta", "web"]
    await settle(driver)

    assert (await assignment(database, "B")).agent_id == 1
    await execute(database, "UPDATE agents SET max_load = 5")
    assert of(await driver.run(LeadClosed(lead_id="B")), AssignmentRequested) == []


async def test_a_counter_never_goes_below_zero_silently(database: Database, driver: Driver) -> None:
    await lay_out(database, agents=1)
    await driver.run(*await add_leads(database, "A"))
    await execute(database, "UPDATE agent_counters SET open_load = 0")

    with pytest.raises(Exception, match="ck_agent_counters_open_load"):
        await driver.run(LeadClosed(lead_id="A"))


# Several at once.


async def test_replicas_racing_on_one_route_are_exact(database: Database) -> None:
    await lay_out(database, agents=7)
    replicas = [Driver(database, AssignLeads()) for _ in range(3)]
    rng = random.Random(1)
    for round_ in range(8):
        accepted = await add_leads(database, *[f"{round_}-{n}" for n in range(20)])
        batches = [rng.sample(accepted, 15) for _ in replicas]
        await asyncio.gather(
            *(replica.run(*batch) for replica, batch in zip(replicas, batches, strict=True)),
        )
        await replicas[0].run(*accepted)

    assert sum(len(replica.take(LeadAssigned)) for replica in replicas) == 160
    counts = [row[0] for row in await rows(database, "SELECT assigned_count FROM member_counters")]
    assert max(counts) - min(counts) <= 1
    assert sum(replica.again for replica in replicas) == 0
    sequences = [row[0] for row in await rows(database, "SELECT sequence FROM decisions ORDER BY id")]
    last = await scalar(database, "SELECT sequence FROM routes")
    assert sorted(sequences) == list(range(last - len(sequences) + 1, last + 1))
    await assert_exact(database)


async def test_agents_shared_by_routes_with_limits_under_load_and_closes(database: Database) -> None:
    await lay_out(database, routes=("meta", "web"), agents=5)
    await execute(database, "UPDATE agents SET max_load = 1 + id % 3")
    workers = [Driver(database, AssignLeads()) for _ in range(4)]
    over: list[Any] = []

    async def work(worker: Driver, number: int) -> None:
        rng = random.Random(number)
        for round_ in range(12):
            names = [f"{number}-{round_}-{n}" for n in range(rng.randint(1, 3))]
            accepted = await add_leads(database, *names, source=101 + rng.randint(0, 1))
            await worker.run(*accepted)
            held = await rows(
                database,
                "SELECT leads.lead_id FROM assignments JOIN leads ON leads.id = assignments.lead_id"
                " WHERE is_current AND assignment_status_id IN (2, 3) ORDER BY random() LIMIT 3",
            )
            await worker.run(*(LeadClosed(lead_id=lead_id) for (lead_id,) in held))
            own = {event.key: event for event in worker.take(AssignmentRequested)}
            await worker.run(*own.values())
            over.extend(
                await rows(
                    database,
                    "SELECT agents.id, open_load, max_load FROM agents JOIN agent_counters ON agents.id = agent_id"
                    " WHERE open_load > max_load",
                )
            )

    await asyncio.gather(*(work(worker, number) for number, worker in enumerate(workers)))
    for worker in workers:
        await settle(worker)

    assert over == []
    assert sum(worker.again for worker in workers) == 0
    places = await scalar(
        database, "SELECT sum(max_load - open_load) FROM agents JOIN agent_counters ON agents.id = agent_id"
    )
    waiting = await scalar(database, "SELECT count(*) FROM assignments WHERE is_current AND assignment_status_id = 1")
    assert places == 0 or waiting == 0, f"{waiting} leads wait with {places} places free"
    await assert_exact(database)


async def test_agents_count_over_all_routes_stays_even_when_routes_race(database: Database) -> None:
    await lay_out(database, routes=("meta", "web"), agents=6, params='{"count": "agent"}')
    workers = [Driver(database, AssignLeads()) for _ in range(4)]
    for round_ in range(8):
        batches = [
            await add_leads(database, *[f"{round_}-{number}-{n}" for n in range(1 + number)], source=101 + number % 2)
            for number in range(4)
        ]
        await asyncio.gather(*(worker.run(*batch) for worker, batch in zip(workers, batches, strict=True)))

    counts = [row[0] for row in await rows(database, "SELECT auto_assign_count FROM agent_counters")]
    assert sum(counts) == 80
    assert max(counts) - min(counts) <= 1
    await assert_exact(database)


async def somebody_waits(database: Database) -> bool:
    """Whether a transaction waits for a lock of another."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await scalar(database, waiting))


async def test_a_wake_that_comes_before_the_decision_is_committed_is_not_lost(database: Database) -> None:
    await lay_out(database, agents=1)
    await execute(database, "UPDATE agents SET max_load = 1")
    decider, closer = Driver(database, AssignLeads()), Driver(database, AssignLeads())
    await decider.run(*await add_leads(database, "A"))
    accepted = await add_leads(database, "B")
    handler = AssignLeads()
    preparing = handler.prepare(database, [message(event) for event in accepted])
    piece = await anext(preparing)

    async with database.begin() as tx:
        effects = await handler.save(tx, piece)  # "agent at capacity", not committed yet
        assert [event.reason for event in of(effects, LeadUnassigned)] == ["agent at capacity"]
        await closer.run(LeadClosed(lead_id="A"))
        waking = asyncio.create_task(settle(closer))
        await eventually(lambda: somebody_waits(database))
        assert not waking.done()
    await preparing.aclose()
    await waking

    assert (await assignment(database, "B")).agent_id == 1
    await assert_exact(database)


async def test_a_close_of_a_lead_that_is_being_assigned_waits_and_frees_the_place(database: Database) -> None:
    await lay_out(database, agents=1)
    accepted = await add_leads(database, "A")
    handler = AssignLeads()
    preparing = handler.prepare(database, [message(event) for event in accepted])
    piece = await anext(preparing)

    async with database.begin() as tx:
        await handler.save(tx, piece)
        closing = asyncio.create_task(Driver(database, AssignLeads()).run(LeadClosed(lead_id="A")))
        await eventually(lambda: somebody_waits(database))
    await preparing.aclose()
    await closing

    assert (await assignment(database, "A")).assignment_status_id == 4
    await assert_exact(database)


async def test_routes_that_share_many_agents_never_deadlock(database: Database) -> None:
    """Nor do they when the agents have no counters yet."""
    await lay_out(database, routes=("meta", "web"), agents=40)
    await execute(database, "DELETE FROM agent_counters")
    workers = [Driver(database, AssignLeads()) for _ in range(4)]
    for round_ in range(6):
        batches = [
            await add_leads(database, *[f"{round_}-{number}-{n}" for n in range(30)], source=101 + number % 2)
            for number in range(4)
        ]
        await asyncio.gather(*(worker.run(*batch) for worker, batch in zip(workers, batches, strict=True)))

    assert sum(worker.again for worker in workers) == 0
    await assert_exact(database)


async def test_agents_are_held_in_the_order_of_their_ids(database: Database) -> None:
    """While agent 5 is another's, whoever wants 3, 5 and 7 holds 3 and waits, and 7 is free; then all is added up."""
    await lay_out(database, agents=9)
    await execute(database, "DELETE FROM agent_counters")
    await execute(database, "INSERT INTO agent_counters (agent_id) SELECT id FROM agents ORDER BY id DESC")

    async def move() -> dict[int, Any]:
        async with database.begin() as tx:
            return await counters.move_agents(tx, {7: 1, 3: 1, 5: 1}, {7: 1, 3: 1, 5: 1})

    async def is_free(agent_id: int) -> bool:
        statement = f"SELECT 1 FROM agent_counters WHERE agent_id = {agent_id} FOR NO KEY UPDATE SKIP LOCKED"
        return await scalar(database, statement) is not None

    async with database.begin() as tx:
        await counters.move_agents(tx, {5: 4})
        moving = asyncio.create_task(move())
        await eventually(lambda: somebody_waits(database))
        assert [await is_free(agent_id) for agent_id in (3, 7)] == [False, True]
    after = await moving

    assert {key: (each.open_load, each.received) for key, each in after.items()} == {3: (1, 1), 5: (5, 1), 7: (1, 1)}


# The book in memory.


class LostError(Exception):
    """What happens to a save."""


async def meet(handler: AssignLeads, database: Database, accepted: Sequence[Event], fate: str) -> None:
    """One batch whose save is committed, rolled back, or committed without anybody knowing."""
    preparing = handler.prepare(database, [message(event) for event in accepted])
    with suppress(LostError):
        async with aclosing(preparing):
            async for piece in preparing:
                async with database.begin() as tx:
                    await handler.save(tx, piece)
                    await fail_if(fate == "rollback")
                await fail_if(fate == "answer lost")


async def fail_if(is_so: bool) -> None:
    if is_so:
        raise LostError


async def test_who_waits_for_an_assignment_that_is_replaced_holds_the_new_one(database: Database) -> None:
    """What was waited for is not current any more: the wait alone has locked nothing."""
    await lay_out(database)
    await add_leads(database, "A")
    (lead_id,) = [row[0] for row in await rows(database, "SELECT id FROM leads")]

    async def hold() -> list[Any]:
        async with database.begin() as tx:
            await lock_assignments(tx, [lead_id])
            return await rows(database, "SELECT id FROM assignments WHERE is_current FOR NO KEY UPDATE SKIP LOCKED")

    async with database.begin() as tx:
        await lock_assignments(tx, [lead_id])
        holding = asyncio.create_task(hold())
        await eventually(lambda: somebody_waits(database))
        ((assignment_id,),) = await rows(database, "SELECT id FROM assignments")
        await begin_anew(tx, {lead_id: (assignment_id, None)}, datetime.now(UTC))

    assert await holding == []


async def test_the_book_is_never_used_after_anything_else_happened(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random saves, rollbacks, lost commits and other writers: each decision is about the members as they are."""
    await lay_out(database, agents=4)
    handler, other = AssignLeads(), Driver(database, AssignLeads())
    rng = random.Random(7)
    used = Counter[bool]()
    genuine = assigning._book

    async def checked(tx: Any, piece: Any, route: Any, moment: Any) -> Any:
        book = await genuine(tx, piece, route, moment)
        used[book is piece.book] += 1
        fresh = await read_members(tx, route.id, book.day)
        seen = [(m.agent_id, m.assigned_count, m.day_count, m.is_active) for m in book.members]
        assert seen == [(m.agent_id, m.assigned_count, m.day_count, m.is_active) for m in fresh]
        return book

    monkeypatch.setattr(assigning, "_book", checked)
    between: dict[str, Callable[[Any], Awaitable[object]]] = {
        "other": lambda name: other.run(*name),
        "decision": lambda _: other.run(AssignmentRequested(source="Web", route="all", request_id="r")),
        "config": lambda _: execute(
            database, f"UPDATE agents SET is_active = NOT is_active WHERE id = {rng.randint(1, 3)}"
        ),
    }
    for round_ in range(60):
        accepted = await add_leads(database, *[f"{round_}-{n}" for n in range(rng.randint(1, 3))])
        fate = rng.choice(["commit", "commit", "commit", "rollback", "answer lost", *between])
        if fate in between:
            await between[fate](await add_leads(database, f"o{round_}"))
        await meet(handler, database, accepted, fate)
        if rng.random() < 0.5:
            await meet(handler, database, accepted, "commit")

    assert min(used[True], used[False]) > 10, used
    await assert_exact(database)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE agents SET is_active = false WHERE id = 2",
        "UPDATE route_members SET is_enabled = false WHERE agent_id = 2",
        "DELETE FROM route_members WHERE agent_id = 2",
    ],
)
async def test_what_people_change_by_hand_counts_with_the_next_lead(
    database: Database, driver: Driver, change: str
) -> None:
    """It makes a version of the route, which also the book in memory is read anew for."""
    await lay_out(database, agents=2)
    await driver.run(*await add_leads(database, "A"))
    version = await scalar(database, "SELECT version FROM routes")
    await execute(database, change)

    await driver.run(*await add_leads(database, "B"))

    assert (await assignment(database, "B")).agent_id == 1
    assert await scalar(database, "SELECT route_version FROM decisions ORDER BY id DESC LIMIT 1") == version + 1
    assert await scalar(database, "SELECT max(version) FROM route_versions") == version + 1


async def test_a_replayed_lead_counts_as_of_the_day_that_it_names(database: Database, driver: Driver) -> None:
    """With one lead a day each: today's cap is reached, that day's is not, and each day counts its own."""
    await lay_out(database, agents=1)
    await execute(database, "UPDATE route_members SET max_daily_leads = 1")
    today, other, late = await add_leads(database, "today", "other", "late")
    day = date(2026, 1, 1)
    told = await driver.run(today, other.model_copy(update={"as_of": day}))
    assert {event.lead_id for event in of(told, LeadAssigned)} == {"today", "other"}
    assert {event.page_group_code for event in of(told, LeadAssigned)} >= {"L2601010001"}
    (waits,) = of(await driver.run(late.model_copy(update={"as_of": day})), LeadUnassigned)
    assert waits.reason == "daily cap reached"
    counted = await rows(database, "SELECT day, leads FROM member_days ORDER BY day")
    assert [leads for _, leads in counted] == [1, 1]
    assert counted[0][0] == day
