"""The consumer core alone, on a real broker and database."""

from __future__ import annotations

import asyncio
from collections import Counter

import aio_pika
import pytest
from sqlalchemy import text

from shared.db.session import open_database
from shared.messaging import broker
from shared.messaging.processing import Subscription
from shared.messaging.topology import LADDER
from tests.integration.core import SUBSCRIPTION, Insert, drain, effects, lay_out, publish, running
from tests.proxy import open_proxy
from tests.waiting import eventually


@pytest.fixture
async def core(amqp_url: str, database_url: str) -> tuple[str, str]:
    await lay_out(amqp_url, database_url)
    return database_url, amqp_url


async def outbox_rows(database_url: str) -> int:
    async with open_database(database_url) as database, database.reading() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM outbox"))).scalar_one())


async def test_every_event_is_published_exactly_once_without_faults(core: tuple[str, str]) -> None:
    """Publishes ÷ events is 1.000, ten seconds of idling included, and the outbox ends empty."""
    database_url, amqp_url = core
    ids = [f"lead{number}" for number in range(1_000)]
    handler = Insert()

    async with running(database_url, amqp_url, handler):
        await publish(amqp_url, ids)
        await eventually(lambda: _all_saved(database_url, ids), within=20)
        await asyncio.sleep(10)  # the relay at rest is what is tested: it must send nothing again

    assert await outbox_rows(database_url) == 0
    sent = Counter(message.correlation_id for message in await drain(amqp_url, "documents"))
    assert sent == Counter(ids)
    assert max(handler.batches) > 1


async def _all_saved(database_url: str, ids: list[str]) -> bool:
    return await effects(database_url) == set(ids)


async def test_the_same_message_twice_has_one_effect(core: tuple[str, str]) -> None:
    """A key never shares a batch with itself, and its second event changes nothing."""
    database_url, amqp_url = core
    handler = Insert()

    async with running(database_url, amqp_url, handler):
        await publish(amqp_url, ["a", "a", "b", "a"])
        await eventually(lambda: sum(handler.batches) >= 4, within=10)

    assert await effects(database_url) == {"a", "b"}
    assert len(await drain(amqp_url, "documents")) == 2


async def test_one_bad_message_hurts_only_itself(core: tuple[str, str]) -> None:
    """Among 200, a rejected one goes to the dead, an early and a buggy one to the ladder, the rest through."""
    database_url, amqp_url = core
    good = [f"lead{number}" for number in range(200)]
    ids = [*good[:100], "bad1", "bug1", "early1", *good[100:]]

    async with running(database_url, amqp_url, Insert()):
        await publish(amqp_url, ids)
        await eventually(lambda: _all_saved(database_url, good), within=20)

    dead = await drain(amqp_url, "dead")
    assert [message.correlation_id for message in dead] == ["bad1"]
    assert dead[0].headers["x-error-reason"] == "it is bad"
    assert dead[0].headers["x-origin-queue"] == "assigner"
    waiting = await drain(amqp_url, "retry.5s")
    assert {message.correlation_id for message in waiting} == {"bug1", "early1"}
    bug = next(message for message in waiting if message.correlation_id == "bug1")
    assert bug.headers["x-attempts"] == 1
    assert "a bug met bug1" in str(bug.headers["x-error-reason"])
    assert "Traceback" in str(bug.headers["x-error-traceback"])


async def test_a_message_climbs_the_ladder_and_comes_back_to_its_own_queue(core: tuple[str, str]) -> None:
    """What failed once is tried again after five seconds, by its queue alone, and goes through."""
    database_url, amqp_url = core
    failed: list[str] = []

    def fail_once(lead_id: str) -> None:
        if not failed:
            failed.append(lead_id)
            raise ValueError("not today")

    async with running(database_url, amqp_url, Insert(fail_once)):
        await publish(amqp_url, ["a"])
        await eventually(lambda: _all_saved(database_url, ["a"]), within=40)

    assert failed == ["a"]
    assert not await drain(amqp_url, "dead")


async def test_the_breaker_holds_when_all_fail_alike(core: tuple[str, str]) -> None:
    """A bug that meets every message spends no attempt, whatever arrives; once mended, all go through once."""
    database_url, amqp_url = core
    ids = [f"lead{number}" for number in range(300)]
    is_broken = True

    def break_all(lead_id: str) -> None:
        if is_broken:
            raise RuntimeError(f"column missing, says {lead_id}")

    handler = Insert(break_all)
    async with running(database_url, amqp_url, handler):
        await publish(amqp_url, ids[:12])
        await eventually(lambda: handler.batches.count(1) >= 10, within=20)
        await publish(amqp_url, ids[12:])
        tried = len(handler.batches)
        await eventually(lambda: len(handler.batches) >= tried + 2, within=60)
        assert not await drain(amqp_url, "retry.5s")
        is_broken = False
        await eventually(lambda: _all_saved(database_url, ids), within=60)

    assert not await drain(amqp_url, "dead")
    assert not await drain(amqp_url, "retry.5s")
    assert len(await drain(amqp_url, "documents")) == len(ids)


async def test_good_messages_behind_a_run_of_bad_ones_get_through(core: tuple[str, str]) -> None:
    """They close the breaker; the bad ones then spend an attempt each, and are dead if it was their last."""
    database_url, amqp_url = core
    bad, good = [f"bug{number}" for number in range(12)], [f"lead{number}" for number in range(20)]
    handler = Insert()
    await watch_the_ladder(amqp_url)
    async with running(database_url, amqp_url, handler):
        await publish(amqp_url, bad[:6])
        await publish(amqp_url, bad[6:], attempts=len(LADDER))
        await eventually(lambda: handler.batches.count(1) >= 10, within=20)
        assert not await drain(amqp_url, "dead")
        await publish(amqp_url, good)
        await eventually(lambda: _all_saved(database_url, good), within=30)
        await eventually(lambda: has(amqp_url, "dead", 6), within=30)
        first = {(key, 1) for key in bad[:6]}
        seen: set[tuple[str, int]] = set()
        await eventually(lambda: on_the_ladder(amqp_url, seen, first), within=30)

    assert keys(await drain(amqp_url, "dead")) == set(bad[6:])
    assert {key for key, _ in seen} == set(bad[:6])


async def test_good_messages_that_came_back_get_through_behind_bad_ones(core: tuple[str, str]) -> None:
    """After a crash too, when they come one at a time: a bad one makes room at the queue's end, no attempt spent."""
    database_url, amqp_url = core
    bad, good = [f"bug{number}" for number in range(12)], [f"lead{number}" for number in range(20)]
    handler = Insert()
    await watch_the_ladder(amqp_url)
    async with open_proxy(amqp_url) as proxy, running(database_url, proxy.url, handler):
        await publish(amqp_url, bad)
        await eventually(lambda: handler.batches.count(1) >= 10, within=20)
        proxy.refuse()
        proxy.reset()
        await eventually(lambda: has(amqp_url, "assigner", len(bad)), within=20)
        await publish(amqp_url, good)
        await bring_back(amqp_url, len(bad) + len(good))
        await proxy.accept()
        await eventually(lambda: _all_saved(database_url, good), within=60)
        seen: set[tuple[str, int]] = set()
        await eventually(lambda: on_the_ladder(amqp_url, seen, {(key, 1) for key in bad}), within=60)

    assert not await drain(amqp_url, "dead")


async def watch_the_ladder(amqp_url: str) -> None:
    """Keep a copy of all that goes to the ladder: nothing stays on its lowest rung for long."""
    async with broker.connect(amqp_url, "watching") as connection, connection.channel() as channel:
        await (await channel.declare_queue("watch", durable=True)).bind("leads.retry", "#")


async def on_the_ladder(amqp_url: str, seen: set[tuple[str, int]], wanted: set[tuple[str, int]]) -> bool:
    """Add whose copies came to the ladder, and with how many attempts spent, to what was seen; all that is wanted?"""
    for copy in await drain(amqp_url, "watch"):
        seen.add((str(copy.correlation_id), int(str(copy.headers["x-attempts"]))))
    return wanted <= seen


async def bring_back(amqp_url: str, count: int) -> None:
    """Take messages and die with them: the broker delivers them again."""
    connection = await aio_pika.connect(amqp_url)
    channel = await connection.channel()
    queue = await channel.declare_queue("assigner", passive=True)
    taken = [await queue.get() for _ in range(count)]
    assert len(taken) == count
    await connection.close()


def keys(messages: list[aio_pika.abc.AbstractIncomingMessage]) -> set[str | None]:
    return {message.correlation_id for message in messages}


async def has(amqp_url: str, queue: str, count: int) -> bool:
    async with broker.connect(amqp_url, "looking") as connection:
        return await broker.queue_depth(connection, queue) == count


async def test_a_hold_that_lasts_too_long_puts_the_batch_back(core: tuple[str, str]) -> None:
    """The queue gets its messages back as they were, with no attempt and no delivery count spent."""
    database_url, amqp_url = core
    is_broken = True

    def break_all(lead_id: str) -> None:
        if is_broken:
            raise RuntimeError("broken")

    subscription = Subscription("assigner", SUBSCRIPTION.events, hold_s=2)
    ids = [f"lead{number}" for number in range(20)]
    async with running(database_url, amqp_url, Insert(break_all), subscription):
        await publish(amqp_url, ids)
        await asyncio.sleep(6)  # several rounds of holding and putting back
        is_broken = False
        await eventually(lambda: _all_saved(database_url, ids), within=60)

    assert not await drain(amqp_url, "dead")
    assert not await drain(amqp_url, "retry.5s")


async def test_stop_is_clean(core: tuple[str, str]) -> None:
    """What was not begun goes back to the queue; nothing is lost, nothing is done twice."""
    database_url, amqp_url = core
    ids = [f"lead{number}" for number in range(2_000)]
    await publish(amqp_url, ids)
    handler = Insert()
    async with running(database_url, amqp_url, handler):
        await eventually(lambda: sum(handler.batches) > 200, within=10)

    async with running(database_url, amqp_url, handler):
        await eventually(lambda: _all_saved(database_url, ids), within=20)

    assert len(await drain(amqp_url, "documents")) == len(ids)
    assert await outbox_rows(database_url) == 0
