"""Processes killed and stopped while leads flow: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import itertools
import time
from functools import partial

import pytest

from tests.feeding import a_lead, assert_each_exactly_once, everything_is_through, fed
from tests.stack import ALL, CONSUMED, CONSUMERS, Stack
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(600)
#: What each service commits: it is killed just after it has, before it can acknowledge.
EFFECTS = {
    "ingest": "leads",
    "assigner": "assignments WHERE agent_id IS NOT NULL",
    "documents": "documents",
    "notifier": "notification_deliveries",
}


async def test_each_consumer_killed_while_it_holds_messages(stack: Stack, many: int) -> None:
    """kill -9 of all four under a feed: as many assignments, sheets and mails as leads; at most one repeat a kill."""
    await stack.listen("ladder", ("leads.retry", "#"), ("leads.dead", "#"))
    await stack.start(*CONSUMERS)

    async with fed(stack, a_lead, at_least=many, over_s=12, waiting_at_most=200) as published:
        kills = {name: await kill_in_the_act(stack, name) for name in CONSUMERS}
    count = len(published)
    await eventually(lambda: everything_is_through(stack, count), within=120 + count / 10)

    print(f"kills {kills} among {count} leads")
    assert {name: stack.one(name).starts - 1 for name in CONSUMERS} == kills
    assert await stack.heard("ladder") == []
    await assert_each_exactly_once(
        stack, count, killed_documents=kills["documents"], killed_notifiers=kills["notifier"]
    )


async def kill_in_the_act(stack: Stack, name: str) -> int:
    """SIGKILL a consumer that has just committed, until one held messages, which come again; give how many it took."""
    replica, queue = stack.one(name), CONSUMED[name]
    for kills in itertools.count(1):
        with stack.unattended(replica):
            before = await stack.count(EFFECTS[name])
            await eventually(partial(_is_more, stack, EFFECTS[name], before), within=60)
            replica.kill()
            await eventually(lambda: has_no_consumer(stack, queue), within=60)
            if await first_is_redelivered(stack, queue):
                return kills
        await eventually(lambda: replica.is_running, within=30)  # the supervisor must see it dead once
    raise AssertionError


async def _is_more(stack: Stack, what: str, before: int) -> bool:
    return await stack.count(what) > before


async def has_no_consumer(stack: Stack, queue: str) -> bool:
    """Whether the broker has noticed: in one step it takes back what the consumer held."""
    async with stack.channel() as channel:
        return (await channel.declare_queue(queue, passive=True)).declaration_result.consumer_count == 0


async def first_is_redelivered(stack: Stack, queue: str) -> bool:
    """Look at the message that is next, and put it back."""
    async with stack.channel() as channel:
        message = await (await channel.declare_queue(queue, passive=True)).get(fail=False)
        if message is None:
            return False
        await message.nack(requeue=True)
        return bool(message.redelivered)


def a_lead_or_not(number: int) -> object:
    """Every twentieth is not JSON."""
    return b"not JSON %d" % number if number % 20 == 0 else a_lead(number)


async def test_a_stop_is_clean(stack: Stack, some: int) -> None:
    """SIGTERM under load: each service exits 0 in time, and after its return nothing is missing or done twice."""
    await stack.listen("ladder", ("leads.retry", "#"))
    await stack.start(*ALL, "scheduler")

    codes: dict[str, int] = {}
    seconds: dict[str, float] = {}
    async with fed(stack, a_lead_or_not, at_least=some, over_s=8, waiting_at_most=200) as published:
        for name in (*ALL, "scheduler"):
            replica, began = stack.one(name), time.monotonic()
            with stack.unattended(replica):
                codes[name] = await asyncio.to_thread(replica.stop)
            seconds[name] = time.monotonic() - began
    good = sum(isinstance(body, dict) for body in published)
    await eventually(lambda: everything_is_through(stack, good), within=120 + good / 10)
    await eventually(lambda: _dead(stack, len(published) - good), within=60)

    print({name: round(each, 2) for name, each in seconds.items()})
    assert codes == dict.fromkeys((*ALL, "scheduler"), 0)
    assert await stack.heard("ladder") == []
    await assert_each_exactly_once(stack, good)


async def _dead(stack: Stack, count: int) -> bool:
    assert await stack.count("dead_letters") == count
    return True
