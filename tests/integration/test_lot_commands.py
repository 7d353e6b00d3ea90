"""`leadline lot run` and `leadline assign`, and their functions, with a real assigner at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from services.assigner.__main__ import serve
from services.assigner.consumer import AssignLeads
from services.cli.assigning import Answered, Wish, assign
from services.cli.failures import CommandError
from services.cli.lots import LotRun, Status, request_lot, run_lot
from shared.db.session import Database, open_database
from shared.settings import Settings
from tests.assignments import add_leads
from tests.assignments import lay_out as lay_out_routes
from tests.driving import Driver, execute, rows, scalar
from tests.integration.core import lay_out
from tests.waiting import eventually

WITHIN_S = 60
NOBODY = "amqp://guest:guest@127.0.0.1:1/"


async def apart(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Run what has an event loop of its own in a thread."""
    return await asyncio.to_thread(partial(function, *given, **named))


@pytest.fixture
async def database(database_url: str, amqp_url: str) -> AsyncIterator[Database]:
    await lay_out(amqp_url, database_url)
    async with open_database(database_url, pool_size=12) as database:
        yield database


@pytest.fixture
def settings(database_url: str, amqp_url: str) -> Settings:
    return Settings(database_url=database_url, amqp_url=amqp_url)


@pytest.fixture
def run(settings: Settings) -> Callable[..., Any]:
    """`run_lot` as a pipeline calls it: in a thread that has no event loop."""
    return partial(apart, run_lot, timeout_s=WITHIN_S, settings=settings)


@asynccontextmanager
async def assigner(settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def collect(database: Database, *names: str) -> None:
    """Leads that wait for a lot."""
    await Driver(database, AssignLeads()).run(*await add_leads(database, *names))


# Lots.


async def test_a_lot_by_hand(database: Database, settings: Settings, run: Callable[..., Any]) -> None:
    """Every step is told, with its counts; again within the minute is the same lot, unless it is wanted again."""
    await lay_out_routes(database, agents=2, mode="lot", policy="capped_lot", sheets=False)
    await execute(database, "UPDATE route_members SET max_daily_leads = 1 WHERE agent_id = 1")
    await execute(database, "UPDATE route_members SET max_existing_per_lot = 2 WHERE agent_id = 2")
    await collect(database, "A", "B", "C", "D")
    told: list[Status] = []

    async with assigner(settings):
        first: LotRun = await run("all", run_id="R1", triggered_by="pipeline", tell=told.append)
        same: LotRun = await run("all")
        again: LotRun = await run("all", is_again=True)

    assert [(status.phase, status.status) for status in told] == [
        ("requested", "ok"),
        ("assigned", "ok"),
        ("documents", "ok"),
        ("done", "ok"),
    ]
    assert (first.assigned, first.unassigned, first.is_same) == (3, {"daily cap reached": 1}, False)
    assert told[1].facts == {"lot_id": first.lot_id, "is_same": False, "assigned": 3, "unassigned": first.unassigned}
    assert (same.lot_id, same.is_same, same.assigned) == (first.lot_id, True, 3)
    assert (again.lot_id != first.lot_id, again.is_same, again.assigned) == (True, False, 1)
    assert await rows(database, "SELECT run_id, triggered_by FROM lots ORDER BY id") == [
        ("R1", "pipeline"),
        (None, "manual"),
    ]


async def test_nothing_to_assign_ends_quietly(database: Database, settings: Settings, run: Callable[..., Any]) -> None:
    """A lot of nothing is done, without a sheet."""
    await lay_out_routes(database, mode="lot")

    async with assigner(settings):
        lot: LotRun = await run("all")

    assert (lot.assigned, lot.unassigned, lot.sheets_expected, lot.is_same) == (0, {}, 0, False)


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere", "there is no route 'nowhere'"), ("all", "it has no lots"), ("off", "'off' is not in use")],
)
async def test_a_route_without_lots_is_refused(database: Database, settings: Settings, name: str, words: str) -> None:
    """In one line, and nothing is sent."""
    await lay_out_routes(database, routes=("all", "off"))
    await execute(database, "UPDATE routes SET mode = 'lot', is_enabled = false WHERE name = 'off'")

    with pytest.raises(CommandError, match=words):
        await apart(request_lot, name, settings=settings)

    assert await scalar(database, "SELECT count(*) FROM outbox") == 0


async def test_who_waits_in_vain_is_told_what_is_not_running(database: Database, settings: Settings) -> None:
    """The assigner, or the broker; the request stands and is run by the next assigner."""
    await lay_out_routes(database, mode="lot")
    nobody = settings.model_copy(update={"amqp_url": NOBODY})
    vain = partial(apart, run_lot, "all", timeout_s=0)

    with pytest.raises(CommandError, match=r"no assigner is running: nobody consumes the queue 'assigner\.lots'"):
        await vain(settings=settings)
    with pytest.raises(CommandError, match="the broker does not answer, see LEADLINE_AMQP_URL"):
        await vain(settings=nobody)

    async with assigner(settings):
        await eventually(lambda: rows(database, "SELECT 1 FROM lots"), within=WITHIN_S)


# Assignments.


async def test_a_person_has_waiting_leads_assigned(database: Database, settings: Settings) -> None:
    """By source, by route, or one by one; those that nothing else takes too. Told: how many, to whom, and why not."""
    await lay_out_routes(database, agents=2, retry_pending=False)
    await execute(database, "UPDATE agents SET is_active = false")
    await collect(database, "A", "B", "C", "D", "E")
    await execute(database, "UPDATE agents SET is_active = true, max_load = 1")
    wish = partial(apart, assign, timeout_s=WITHIN_S, settings=settings)

    async with assigner(settings):
        one: Answered = await wish(Wish(lead_ids=("C",)))
        by_source: Answered = await wish(Wish(source="meta"))
        await execute(database, "UPDATE agents SET max_load = 2")
        by_route: Answered = await wish(Wish(route="all"))
        named_again: Answered = await wish(Wish(lead_ids=("A", "C")))

    assert (one.assigned, dict(one.agents), dict(one.unassigned)) == (1, {"0001": 1}, {})
    assert (by_source.assigned, dict(by_source.agents)) == (1, {"0002": 1})
    assert by_source.unassigned == {"agent at capacity": 3}
    assert (by_route.assigned, by_route.unassigned) == (2, {"agent at capacity": 1})
    assert (named_again.assigned, named_again.unassigned) == (0, {"is assigned": 2})
    kinds = await rows(database, "SELECT kind FROM decisions WHERE request_id = :id ORDER BY id", id=one.request_id)
    assert kinds == [("requested",), ("answered",)]


async def test_a_person_names_the_agent(database: Database, settings: Settings) -> None:
    """A lead goes to that agent, also one that another has."""
    await lay_out_routes(database, agents=3)
    await collect(database, "A")
    wish = partial(apart, assign, timeout_s=WITHIN_S, settings=settings)

    async with assigner(settings):
        moved: Answered = await wish(Wish(lead_ids=("A",), to_agent_code="0003"))

    assert (moved.assigned, dict(moved.agents), dict(moved.unassigned)) == (1, {"0003": 1}, {})


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(), "which leads"),
        (Wish(source="META", lead_ids=("A",)), "does not go with"),
        (Wish(source="Radio"), "there is no source 'Radio'"),
        (Wish(route="nowhere"), "there is no route 'nowhere'"),
        (Wish(lead_ids=("A", "B", "C")), "there is no lead 'B'"),
        (Wish(lead_ids=("A",), to_agent_code="9999"), "there is no agent with the code '9999'"),
        (Wish(lead_ids=("",)), "lead_ids"),
    ],
)
async def test_a_wish_that_cannot_be(database: Database, settings: Settings, wish: Wish, words: str) -> None:
    """Is refused in one line before anything is sent."""
    await lay_out_routes(database)
    await collect(database, "A")

    with pytest.raises(CommandError, match=words):
        await apart(assign, wish, settings=settings)

    assert await scalar(database, "SELECT count(*) FROM outbox") == 0


async def test_nobody_answers(database: Database, settings: Settings) -> None:
    """Who waits in vain for an assigner, or for the broker, is told which."""
    await lay_out_routes(database)
    nobody = settings.model_copy(update={"amqp_url": NOBODY})
    vain = partial(apart, assign, Wish(route="all"), timeout_s=0)

    with pytest.raises(CommandError, match="no assigner is running: nobody consumes the queue 'assigner'"):
        await vain(settings=settings)
    with pytest.raises(CommandError, match="the broker does not answer"):
        await vain(settings=nobody)
