"""Lots against a real PostgreSQL: the rules of the systems that assign in lots, each lot once, nothing twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.assigner.consumer import AssignLeads
from services.assigner.lots import SUBSCRIPTION, RunLots
from services.assigner.queries import assignments
from services.assigner.queries.lots import BY_HAND
from services.documents.consumer import MakeSheets
from shared.db.session import Database
from shared.events import (
    AssignmentRequested,
    DocumentReady,
    LeadAssigned,
    LeadClosed,
    LeadTaken,
    LeadUnassigned,
    LotCompleted,
    LotRequested,
)
from shared.messaging.envelope import Outgoing
from shared.messaging.loop import consume
from shared.messaging.processing import Rejected
from shared.messaging.publisher import open_publisher
from shared.sheetstore import SheetStore
from tests.assignments import add_leads, assert_exact, assignment, lay_out
from tests.driving import Driver, execute, of, rows, scalar
from tests.integration import core
from tests.waiting import eventually

MORNING = datetime(2026, 3, 5, 4, tzinfo=UTC)  # 09:30 in Kolkata
DAY = timedelta(days=1)


@pytest.fixture
def stream(database: Database) -> Driver:
    return Driver(database, AssignLeads())


@pytest.fixture
def lots(database: Database) -> Driver:
    return Driver(database, RunLots())


def a_lot(key: str = "first", at: datetime = MORNING, **more: Any) -> LotRequested:
    return LotRequested(lot_key=key, occurred_at=at, **({"route": "all"} | more))


async def arrive(stream: Driver, *names: str, **columns: Any) -> None:
    """Leads come in, each newer than the one before, and wait for their lot. E… are of existing customers."""
    for name in names:
        customer = {"customer_type": "Existing" if name.startswith("E") else "New customer"}
        await stream.run(*await add_leads(stream.database, name, **(customer | columns)))


async def owners(database: Database) -> dict[str, str | None]:
    """By lead: its agent's code and, where it has none, why."""
    found = await rows(
        database,
        "SELECT leads.lead_id, coalesce(agents.agent_code, assignments.reason) FROM assignments"
        " JOIN leads ON leads.id = assignments.lead_id LEFT JOIN agents ON agents.id = assignments.agent_id"
        " WHERE is_current ORDER BY leads.id",
    )
    return dict(found)


# One after another up to their caps (leads-assignment).


async def lay_out_stores(database: Database) -> None:
    """Agent 1 at both stores, agent 2 at the first: in each at most 1 existing and 1 new in a lot, 2 a day."""
    await lay_out(database, agents=2, policy="capped_lot", mode="lot")
    await execute(database, "DELETE FROM route_members")
    await execute(
        database,
        """
        INSERT INTO route_members (route_id, agent_id, store_code, max_existing_per_lot, max_new_per_lot,
                                   max_daily_leads)
        VALUES (1, 1, 'S1', 1, 1, 2), (1, 1, 'S2', 1, 1, 2), (1, 2, 'S1', 1, 1, 2)
        """,
    )


async def test_caps_hold_for_each_store_in_each_lot_and_over_the_day(
    database: Database, stream: Driver, lots: Driver
) -> None:
    await lay_out_stores(database)
    await arrive(stream, "E1", "E2", "E3", store_code="S1")
    await arrive(stream, "E4", "N1", store_code="S2")
    assert set((await owners(database)).values()) == {"waits for its lot"}

    await lots.run(a_lot("one"))
    first = await owners(database)
    await arrive(stream, "E5", "N2", "N3", "N4", store_code="S1")
    await arrive(stream, "E6", store_code="S2")
    again = await lots.run(a_lot("one"))
    await lots.run(a_lot("two", MORNING + timedelta(hours=5)))
    second = await owners(database)
    await lots.run(a_lot("three", MORNING + timedelta(hours=6)))
    third = await owners(database)
    await lots.run(a_lot("four", MORNING + DAY))
    fourth = await owners(database)

    existing, daily = "cap on existing leads reached", "daily cap reached"
    assert first == {"E1": existing, "E2": "0002", "E3": "0001", "E4": "0001", "N1": "0001"}
    assert again == []
    # In S1 both have had one today: one more each, the newest. In S2 agent 1 has had its two.
    assert second == first | {"E1": daily, "E5": daily, "N2": daily, "N3": "0002", "N4": "0001", "E6": daily}
    assert third == second
    assert fourth == second | {"E1": "0002", "E5": "0001", "N2": "0001", "E6": "0001"}
    assert await rows(
        database, "SELECT day::text, agent_id, store_code, leads FROM member_days ORDER BY day, agent_id, store_code"
    ) == [
        ("2026-03-05", 1, "S1", 2),
        ("2026-03-05", 1, "S2", 2),
        ("2026-03-05", 2, "S1", 2),
        ("2026-03-06", 1, "S1", 2),
        ("2026-03-06", 1, "S2", 1),
        ("2026-03-06", 2, "S1", 1),
    ]
    await assert_exact(database)


async def test_codes_run_through_all_stores_and_lots_of_a_day_and_sheets_do_not(
    database: Database, stream: Driver, lots: Driver
) -> None:
    await lay_out_stores(database)
    await arrive(stream, "E1", "N1", store_code="S1")
    await arrive(stream, "E2", store_code="S2")
    one = await lots.run(a_lot("one"))
    await arrive(stream, "N2", store_code="S2")
    two = await lots.run(a_lot("two"))

    told = of([*one, *two], LeadAssigned)
    assert {event.agent_code for event in told} == {"0001"}
    assert [event.lead_assignment_code for event in told] == [f"L2603050001-000{n}" for n in (1, 2, 3, 4)]
    lot_ids = [completed.lot_id for completed in of([*one, *two], LotCompleted)]
    assert Counter(event.sheet_key for event in told) == {
        f"lot-{lot_ids[0]}-S1-0001": 2,
        f"lot-{lot_ids[0]}-S2-0001": 1,
        f"lot-{lot_ids[1]}-S2-0001": 1,
    }
    kept = await rows(database, "SELECT lot_key, day::text, assigned, unassigned, sheets FROM lots ORDER BY id")
    assert [row[:4] for row in kept] == [("one", "2026-03-05", 3, {}), ("two", "2026-03-05", 1, {})]
    assert [sorted(row[4]) for row in kept] == [
        [f"lot-{lot_ids[0]}-S1-0001", f"lot-{lot_ids[0]}-S2-0001"],
        [f"lot-{lot_ids[1]}-S2-0001"],
    ]
    assert await rows(
        database, "SELECT lead_type, count(*) FROM assignments GROUP BY lead_type ORDER BY lead_type"
    ) == [("E", 2), ("N", 2)]


# Equal shares up to a ceiling (agent-funnel).


async def add_many(database: Database, count: int) -> None:
    """Leads that wait on route 1 for its lot, the oldest first."""
    await execute(
        database,
        """
        WITH new AS (
            INSERT INTO leads (lead_id, source_id, created_at)
            SELECT 'L' || n, 101, now() - (:count - n) * interval '1 second' FROM generate_series(1, :count) AS n
            ORDER BY n RETURNING id
        )
        INSERT INTO assignments (lead_id, route_id, reason) SELECT id, 1, 'waits for its lot' FROM new ORDER BY id
        """,
        count=count,
    )


async def test_ten_agents_get_450_each_and_what_is_left_over_comes_first_the_next_day(
    database: Database, lots: Driver
) -> None:
    await lay_out(database, agents=10, policy="even_split", mode="lot")
    await add_many(database, 5_100)
    now = await scalar(database, "SELECT now()")

    today = await lots.run(a_lot("today", now))
    over = [event.lead_id for event in of(today, LeadUnassigned)]
    assert len(over) == 600
    assert {event.reason for event in of(today, LeadUnassigned)} == {"over the lot's ceiling"}
    assert Counter(event.agent_code for event in of(today, LeadAssigned)) == {f"{n:04}": 450 for n in range(1, 11)}
    assert [(c.assigned, c.unassigned) for c in of(today, LotCompleted)] == [(4_500, {"over the lot's ceiling": 600})]
    assert await rows(database, "SELECT count(*), max(rowid) FROM assignments WHERE agent_id = 3") == [(450, 450)]
    # A wake between the lots changes nothing: the next one must know them again.
    stream = Driver(database, AssignLeads())
    assert await stream.run(AssignmentRequested(route="all"), AssignmentRequested(requested_by="config")) == []

    begun = await begin(database, stream)
    tomorrow = await lots.run(a_lot("tomorrow", now + DAY))

    assigned = {event.lead_id: event for event in of(tomorrow, LeadAssigned)}
    assert assigned.keys() >= set(over)
    assert not assigned.keys() & begun
    assert {assigned[lead_id].agent_code for lead_id in over} == {"0001", "0002"}
    assert all(assigned[lead_id].previous_agent_code is None for lead_id in over)
    taken_back = [event for lead_id, event in assigned.items() if lead_id not in over]
    assert all(event.previous_agent_code and event.previous_sheet_key for event in taken_back)
    assert len(assigned) == 4_500
    assert await rows(
        database, "SELECT assignment_status_id, count(*) FROM assignments WHERE NOT is_current GROUP BY 1"
    ) == [(2, 4_480)]
    await assert_exact(database)


async def begin(database: Database, stream: Driver) -> set[str]:
    """Some agents begin, and one of them ends, the work on twenty leads."""
    begun = {
        lead_id
        for (lead_id,) in await rows(
            database, "SELECT lead_id FROM leads WHERE id IN (SELECT lead_id FROM assignments WHERE rowid IN (1, 450))"
        )
    }
    assert len(begun) == 20
    await stream.run(*(LeadTaken(lead_id=lead_id) for lead_id in begun))
    await stream.run(LeadClosed(lead_id=min(begun)))
    return begun


async def test_stages_rise_with_each_assignment_until_the_lead_is_past_the_route(
    database: Database, stream: Driver, lots: Driver
) -> None:
    await lay_out(database, agents=1, policy="even_split", mode="lot")
    await arrive(stream, "N1", stage=2)
    await arrive(stream, "N2", run_date=MORNING.date() - 46 * DAY)
    stages = []
    for number in range(3):
        effects = await lots.run(a_lot(str(number), MORNING + number * DAY))
        stages.append(await scalar(database, "SELECT stage FROM leads WHERE lead_id = 'N1'"))

    assert stages == [3, 4, 4]
    last = await assignment(database, "N1")
    assert (last.assignment_status_id, last.reason) == (1, "its stage is past this route's")
    (told,) = of(effects, LeadUnassigned)
    assert (told.lead_id, told.reason) == ("N1", "its stage is past this route's")
    assert told.previous_sheet_key == f"lot-{of(effects, LotCompleted)[0].lot_id - 1}--0001"
    assert (await assignment(database, "N2")).reason == "too old for this route"
    await assert_exact(database)


async def test_sheets_of_what_is_taken_back_are_superseded(
    database: Database, stream: Driver, lots: Driver, tmp_path: Path
) -> None:
    """A sheet on which somebody has begun stays; every first word of a sheet finds all its leads."""
    await lay_out(database, agents=3, policy="even_split", mode="lot")
    await arrive(stream, *(f"N{number}" for number in range(6)))
    documents = Driver(database, MakeSheets(SheetStore(tmp_path)))
    first = of(await lots.run(a_lot("one")), LeadAssigned)
    made = of(await documents.run(first[0], first[2], first[4]), DocumentReady)
    await stream.run(LeadTaken(lead_id=first[0].lead_id))

    second = of(await lots.run(a_lot("two", MORNING + DAY)), LeadAssigned)
    await documents.run(*second)

    assert {event.sheet_key: len(event.lead_ids) for event in made} == dict.fromkeys(
        [first[0].sheet_key, first[2].sheet_key, first[4].sheet_key], 2
    )
    statuses = dict(await rows(database, "SELECT sheet_key, status FROM documents"))
    assert {key: statuses[key] for key in (first[0].sheet_key, first[2].sheet_key, first[4].sheet_key)} == {
        first[0].sheet_key: "ok",
        first[2].sheet_key: "superseded",
        first[4].sheet_key: "superseded",
    }
    assert {statuses[event.sheet_key] for event in second} == {"ok"}


# Each lot once.


async def test_a_lot_asked_for_by_two_replicas_at_once_is_one(database: Database, stream: Driver) -> None:
    await lay_out(database, agents=2, policy="even_split", mode="lot")
    await arrive(stream, "N1", "N2", "N3")

    replicas = [Driver(database, RunLots()) for _ in range(4)]
    effects = await asyncio.gather(*(replica.run(a_lot()) for replica in replicas))

    assert sorted(len(each) for each in effects) == [0, 0, 0, 4]
    assert await scalar(database, "SELECT count(*) FROM lots") == 1
    assert await scalar(database, "SELECT count(*) FROM assignments") == 3
    await assert_exact(database)


async def test_by_hand_within_a_minute_is_one_lot_unless_the_key_says_otherwise(
    database: Database, stream: Driver, lots: Driver
) -> None:
    await lay_out(database, agents=2, policy="capped_lot", mode="lot")
    asked = [
        a_lot(f"{BY_HAND}1", MORNING),
        a_lot(f"{BY_HAND}2", MORNING + timedelta(seconds=50)),
        a_lot(f"{BY_HAND}3", MORNING - timedelta(seconds=50)),
        a_lot("again 4", MORNING + timedelta(seconds=51)),
        a_lot(f"{BY_HAND}5", MORNING + timedelta(seconds=70)),
    ]
    for request in asked:
        await lots.run(request)

    assert [key for (key,) in await rows(database, "SELECT lot_key FROM lots ORDER BY id")] == [
        f"{BY_HAND}1",
        "again 4",
        f"{BY_HAND}5",
    ]


class LostError(Exception):
    """What happens to a save."""


async def test_a_lot_rolled_back_at_midnight_keeps_its_day(
    database: Database, stream: Driver, lots: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of the first try, and the second counts for the day of the request."""
    await lay_out(database, agents=1, policy="capped_lot", mode="lot")
    await execute(database, "UPDATE route_members SET max_daily_leads = 2")
    await arrive(stream, "N1", "N2", "N3")
    before_midnight = datetime(2026, 3, 5, 18, 29, 30, tzinfo=UTC)
    genuine = assignments.assign

    async def lost(*arguments: Any, **more: Any) -> Any:
        await genuine(*arguments, **more)
        raise LostError

    monkeypatch.setattr("services.assigner.giving.assign", lost)
    with pytest.raises(LostError):
        await lots.run(a_lot("late", before_midnight))
    monkeypatch.undo()
    assert await scalar(database, "SELECT count(*) FROM lots") == 0
    await lots.run(a_lot("early", before_midnight + timedelta(minutes=1)))
    await arrive(stream, "N4")
    effects = await lots.run(a_lot("late", before_midnight))

    assert [event.page_group_code for event in of(effects, LeadAssigned)] == ["L2603050001"] * 2
    assert await rows(database, "SELECT lot_key, day::text, assigned FROM lots ORDER BY id") == [
        ("early", "2026-03-06", 2),
        ("late", "2026-03-05", 2),
    ]
    await assert_exact(database)


async def test_a_lot_with_nothing_to_assign_is_quiet(database: Database, lots: Driver) -> None:
    await lay_out(database, agents=1, policy="even_split", mode="lot")

    effects = await lots.run(a_lot())

    assert [(type(event), event.assigned, event.unassigned) for event in of(effects, LotCompleted)] == [
        (LotCompleted, 0, {})
    ]
    assert len(effects) == 1
    assert await rows(database, "SELECT assigned, sheets FROM lots") == [(0, [])]


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        ("nowhere", "there is no route 'nowhere' in use"),
        ("all", "the route 'all' assigns leads as they come: it has no lots"),
    ],
)
async def test_a_lot_that_cannot_be_is_refused_in_words(
    database: Database, lots: Driver, route: str, reason: str
) -> None:
    await lay_out(database)

    effects = await lots.run(a_lot(route=route))

    assert [each.reason for each in of(effects, Rejected)] == [reason]
    assert await scalar(database, "SELECT count(*) FROM lots") == 0


async def test_leads_that_another_route_matches_by_now_leave_the_lot(
    database: Database, stream: Driver, lots: Driver
) -> None:
    await lay_out(database, agents=1, policy="even_split", mode="lot")
    await arrive(stream, "N1", "N2")
    await execute(database, "INSERT INTO routes (id, name, policy, source_id) VALUES (2, 'web', 'fair', 102)")
    await execute(database, "INSERT INTO route_members (route_id, agent_id) VALUES (2, 1)")
    await execute(database, "UPDATE leads SET source_id = 102 WHERE lead_id = 'N2'")

    effects = await lots.run(a_lot())
    await stream.run(*[event for event in effects if event.type == "lead.accepted"])  # type: ignore[union-attr, arg-type]

    assert [(await assignment(database, name)).route_id for name in ("N1", "N2")] == [1, 2]
    await assert_exact(database)


async def test_a_lot_and_a_stream_that_share_agents_keep_their_loads(database: Database, stream: Driver) -> None:
    """Both at once, closes besides: no load is passed, no deadlock, and counters are exact."""
    await lay_out(database, routes=("meta", "web"), agents=6)
    await execute(database, "UPDATE routes SET mode = 'lot', policy = 'even_split' WHERE id = 1")
    await execute(database, "UPDATE agents SET max_load = 12")
    workers = [Driver(database, AssignLeads()) for _ in range(2)]
    runner = Driver(database, RunLots())

    async def give(worker: Driver, number: int) -> None:
        for turn in range(8):
            await worker.run(*await add_leads(database, *[f"{number}-{turn}-{n}" for n in range(6)], source=102))
            held = await rows(
                database,
                "SELECT leads.lead_id FROM assignments JOIN leads ON leads.id = assignments.lead_id"
                " WHERE is_current AND assignment_status_id IN (2, 3) ORDER BY random() LIMIT 5",
            )
            await worker.run(*(LeadClosed(lead_id=lead_id) for (lead_id,) in held))

    async def run_lots() -> None:
        for turn in range(6):
            await stream.run(*await add_leads(database, *[f"lot-{turn}-{n}" for n in range(15)], source=101))
            await runner.run(a_lot(str(turn), MORNING + turn * DAY, route="meta"))

    await asyncio.gather(run_lots(), *(give(worker, number) for number, worker in enumerate(workers)))

    assert sum(each.again for each in (*workers, runner, stream)) == 0
    assert await scalar(database, "SELECT max(open_after) FROM assignment_records") <= 12
    await assert_exact(database)


# Over the broker.


async def test_a_lot_of_thousands_is_told_in_rows_and_one_that_cannot_be_is_dead_with_words(
    database: Database, database_url: str, amqp_url: str
) -> None:
    """Each lead is told once, and nothing is left in the outbox."""
    await core.lay_out(amqp_url, database_url)
    await lay_out(database, agents=5, policy="even_split", mode="lot", params='{"ceiling": 500}')
    await add_many(database, 2_600)
    requests = [a_lot(route="nowhere"), a_lot(at=await scalar(database, "SELECT now()"))]
    bodies = [Outgoing(request.type, request.to_json().encode(), request.key) for request in requests]
    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish(bodies)

    async with consuming(database, amqp_url):
        await eventually(lambda: is_told(database), within=30)

    told = Counter(message.type for message in await core.drain(amqp_url, "documents"))
    assert told == {"lead.assigned": 2_500, "lead.unassigned": 100}
    (dead,) = await core.drain(amqp_url, "dead")
    assert "there is no route 'nowhere' in use" in str(dead.headers)


@asynccontextmanager
async def consuming(database: Database, amqp_url: str) -> AsyncIterator[None]:
    """The lots' consumer, as the service runs it."""
    stop = asyncio.Event()
    task = asyncio.create_task(
        consume(
            service="assigner",
            amqp_url=amqp_url,
            database=database,
            subscription=SUBSCRIPTION,
            handler=RunLots(),
            stop=stop,
        )
    )
    try:
        yield
    finally:
        stop.set()
        await task


async def is_told(database: Database) -> bool:
    """Every row of the outbox was confirmed, and is gone."""
    return await scalar(database, "SELECT count(*) FROM lots") == 1 and not await scalar(
        database, "SELECT count(*) FROM outbox"
    )
