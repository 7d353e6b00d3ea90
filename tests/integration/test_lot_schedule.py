"""Lots by schedule, on a real broker and database: one a slot, whoever ticks and however often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.assigner import lots
from services.assigner.consumer import AssignLeads
from services.assigner.lots import RunLots
from services.scheduler.__main__ import serve
from services.scheduler.lots import LotTicker
from shared.db.session import Database, open_database
from shared.events import LotRequested
from shared.messaging import broker
from shared.messaging.publisher import open_publisher
from shared.settings import Settings
from tests.assignments import add_leads
from tests.assignments import lay_out as lay_out_routes
from tests.driving import Driver, execute, rows, scalar
from tests.integration.core import consuming, drain, lay_out
from tests.waiting import eventually

QUEUE = "assigner.lots"
ZONE = ZoneInfo("Asia/Kolkata")
OLD = "UPDATE routes SET created_at = now() - interval '10 days'"


@pytest.fixture
async def database(database_url: str, amqp_url: str) -> AsyncIterator[Database]:
    await lay_out(amqp_url, database_url)
    async with open_database(database_url, pool_size=12) as database:
        yield database


async def slot_ago(database: Database, ago: timedelta) -> str:
    """The time of day that was so long ago, as a schedule has it: to the minute."""
    now = await scalar(database, "SELECT clock_timestamp()")
    return f"{(now - ago).astimezone(ZONE):%H:%M}"


async def lot_route(database: Database, *schedule: str, **route: Any) -> None:
    """A route that was made long ago."""
    await lay_out_routes(database, mode="lot", schedule=list(schedule), **route)
    await execute(database, OLD)


@asynccontextmanager
async def scheduler(settings: Settings) -> AsyncIterator[None]:
    """The scheduler service, in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def tick(database: Database, amqp_url: str) -> None:
    """One tick of a scheduler that has just been started."""
    async with open_publisher(amqp_url, "test") as publisher:
        await LotTicker(database, publisher).tick()


async def asked(amqp_url: str) -> list[LotRequested]:
    """The requests in the queue."""
    return [LotRequested.model_validate_json(message.body) for message in await drain(amqp_url, QUEUE)]


async def depth(amqp_url: str) -> int:
    async with broker.connect(amqp_url, "looking") as connection:
        return await broker.queue_depth(connection, QUEUE)


async def test_two_schedulers_make_one_lot(database: Database, database_url: str, amqp_url: str) -> None:
    """A slot that is due has its lot, once: under its local date and time, of its own day."""
    entry = await slot_ago(database, timedelta(minutes=10))
    await lot_route(database, entry)
    await Driver(database, AssignLeads()).run(*await add_leads(database, "A", "B", "C"))
    settings = Settings(database_url=database_url, amqp_url=amqp_url)

    async with scheduler(settings), scheduler(settings):
        await eventually(lambda: has_depth(amqp_url, 2), within=30)
        async with consuming(database, amqp_url, RunLots(), lots.SUBSCRIPTION):
            await eventually(lambda: has_depth(amqp_url, 0), within=30)
            await eventually(lambda: rows(database, "SELECT 1 FROM lots"), within=30)

    ((key, triggered_by, assigned, is_its_day),) = await rows(
        database,
        "SELECT lot_key, triggered_by, assigned, day = (requested_at AT TIME ZONE 'Asia/Kolkata')::date FROM lots",
    )
    assert (key.split()[1], triggered_by, assigned, is_its_day) == (entry, "schedule", 3, True)
    assert await scalar(database, "SELECT count(*) FROM assignments WHERE lot_id IS NOT NULL") == 3

    await tick(database, amqp_url)
    assert await asked(amqp_url) == []


async def has_depth(amqp_url: str, count: int) -> bool:
    return await depth(amqp_url) == count


async def test_what_was_asked_for_is_not_asked_for_again(database: Database, amqp_url: str) -> None:
    """While the assigner is away, a replica leaves one request in the queue, and the next slot's when it comes."""
    await lot_route(database, await slot_ago(database, timedelta(minutes=10)))

    async with open_publisher(amqp_url, "test") as publisher:
        ticker = LotTicker(database, publisher)
        for _ in range(5):
            await ticker.tick()
        await execute(
            database, "UPDATE routes SET schedule = :later", later=[await slot_ago(database, timedelta(minutes=5))]
        )
        await ticker.tick()

    requests = await asked(amqp_url)
    assert len(requests) == len({request.lot_key for request in requests}) == 2


@pytest.mark.parametrize(("minutes", "count"), [(355, 1), (365, 0)])
async def test_a_missed_slot_is_caught_up_for_six_hours(
    database: Database, amqp_url: str, minutes: int, count: int
) -> None:
    """An older one is not."""
    entry = await slot_ago(database, timedelta(minutes=minutes))
    await lot_route(database, entry)

    await tick(database, amqp_url)

    requests = await asked(amqp_url)
    assert [request.lot_key.split()[1] for request in requests] == [entry] * count
    assert [f"{request.occurred_at.astimezone(ZONE):%H:%M}" for request in requests] == [entry] * count


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE routes SET created_at = now()", id="made after the slot"),
        pytest.param("UPDATE routes SET is_enabled = false", id="not in use"),
        pytest.param("UPDATE routes SET mode = 'stream'", id="no lots"),
        pytest.param("UPDATE routes SET schedule = NULL", id="no schedule"),
        pytest.param("UPDATE routes SET schedule = '{}'", id="an empty schedule"),
    ],
)
async def test_a_route_that_has_no_slot_due(database: Database, amqp_url: str, statement: str) -> None:
    """Nothing is asked for."""
    await lot_route(database, await slot_ago(database, timedelta(minutes=10)))
    await execute(database, statement)

    await tick(database, amqp_url)

    assert await asked(amqp_url) == []


@pytest.mark.parametrize("wrong", ["schedule = '{whenever}'", "zone = 'Asia/Nowhere'"])
async def test_a_schedule_that_cannot_be_read_hurts_only_its_route(
    database: Database, amqp_url: str, wrong: str
) -> None:
    """The other routes have their lots."""
    await lot_route(database, await slot_ago(database, timedelta(minutes=10)), routes=("wrong", "right"))
    await execute(database, f"UPDATE routes SET {wrong} WHERE name = 'wrong'")

    await tick(database, amqp_url)

    assert [request.route for request in await asked(amqp_url)] == ["right"]
