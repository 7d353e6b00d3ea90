"""Processes killed and stopped while leads flow: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import time

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
    """kill -9 of all four under a feed: as many assignments, sheets and mails as leads; at most one repeat."""
    await stack.listen("ladder", ("leads.retry", "#"), ("leads.dead", "#"))
    await stack.start(*CONSUMERS)

    async with fed(stack, a_lead, at_least=many, over_s=12) as published:
        for name in CONSUMERS:
            held = await kill_in_the_act(stack, name)
            print(f"{name} held {held} of {len(published)}")
    count = len(published)
    await eventually(lambda: everything_is_through(stack, count), within=120 + count / 10)

    assert [replica.starts for name in CONSUMERS for replica in stack.of(name)] == [2, 2, 2, 2]
    assert await stack.heard("ladder") == []
    await assert_each_exactly_once(stack, count, killed_documents=1, killed_notifiers=1)


async def kill_in_the_act(stack: Stack, name: str) -> int:
    """SIGKILL a consumer that has just committed and holds unacknowledged messages; say how many. They come again."""
    replica, queue = stack.one(name), CONSUMED[name]
    with stack.unattended(replica):
        held = 0
        while not held:
            replica.thaw()
            before = await stack.count(EFFECTS[name])
            await eventually(lambda before=before: _is_more(stack, EFFECTS[name], before), within=60)
            replica.freeze()
            held = await stack.unacknowledged(queue)
        replica.kill()
        await eventually(lambda: _is_held_by_nobody(stack, queue), within=30)
    return held


async def _is_more(stack: Stack, what: str, before: int) -> bool:
    return await stack.count(what) > before


async def _is_held_by_nobody(stack: Stack, queue: str) -> bool:
    return await stack.unacknowledged(queue) == 0


def a_lead_or_not(number: int) -> object:
    """Every twentieth is not JSON."""
    return b"not JSON %d" % number if number % 20 == 0 else a_lead(number)


async def test_a_stop_is_clean(stack: Stack, some: int) -> None:
    """SIGTERM under load: each service exits 0 in time, and after its return nothing is missing or done twice."""
    await stack.listen("ladder", ("leads.retry", "#"))
    await stack.start(*ALL, "scheduler")

    codes: dict[str, int] = {}
    seconds: dict[str, float] = {}
    async with fed(stack, a_lead_or_not, at_least=some, over_s=8) as published:
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
