"""Processes killed and stopped while leads flow: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.feeding import assert_each_exactly_once, everything_is_through, fed, leads
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

    async with fed(stack, leads(many), over_s=12):
        for name in CONSUMERS:
            held = await kill_in_the_act(stack, name)
            print(f"{name} held {held} of {many}")
    await eventually(lambda: everything_is_through(stack, many), within=60 + many / 10)

    assert [replica.starts for name in CONSUMERS for replica in stack.of(name)] == [2, 2, 2, 2]
    assert await stack.heard("ladder") == []
    await assert_each_exactly_once(stack, many, killed_documents=1, killed_notifiers=1)


async def kill_in_the_act(stack: Stack, name: str) -> int:
    """SIGKILL a consumer that has just committed and holds unacknowledged messages; say how many. They come again."""
    replica, queue = stack.one(name), CONSUMED[name]
    with stack.unattended(replica):
        held = 0
        while not held:
            replica.thaw()
            before = await stack.count(EFFECTS[name])
            await eventually(lambda before=before: _is_more(stack, EFFECTS[name], before), within=20)
            replica.freeze()
            held = await stack.unacknowledged(queue)
        replica.kill()
        await eventually(lambda: first_is_redelivered(stack, queue), within=10)
    return held


async def _is_more(stack: Stack, what: str, before: int) -> bool:
    return await stack.count(what) > before


async def first_is_redelivered(stack: Stack, queue: str) -> bool:
    """Look at the message that is next, and put it back."""
    async with stack.channel() as channel:
        message = await (await channel.declare_queue(queue, passive=True)).get(fail=False)
        if message is None:
            return False
        await message.nack(requeue=True)
        return bool(message.redelivered)


async def test_a_stop_is_clean(stack: Stack, some: int) -> None:
    """SIGTERM under load: each service exits 0 within 15 s, and after its return nothing is missing or done twice."""
    await stack.listen("ladder", ("leads.retry", "#"))
    await stack.start(*ALL, "scheduler")
    feed: list[object] = list(leads(some))
    for position in range(0, len(feed), 20):
        feed.insert(position, b"not JSON %d" % position)

    codes: dict[str, int] = {}
    seconds: dict[str, float] = {}
    async with fed(stack, feed, over_s=8):
        for name in (*ALL, "scheduler"):
            replica, began = stack.one(name), time.monotonic()
            with stack.unattended(replica):
                codes[name] = await asyncio.to_thread(replica.stop)
            seconds[name] = time.monotonic() - began
    await eventually(lambda: everything_is_through(stack, some), within=60 + some / 10)
    await eventually(lambda: _dead(stack, len(feed) - some), within=20)

    print({name: round(each, 2) for name, each in seconds.items()})
    assert codes == dict.fromkeys((*ALL, "scheduler"), 0)
    assert max(seconds.values()) < 15
    assert await stack.heard("ladder") == []
    await assert_each_exactly_once(stack, some)


async def _dead(stack: Stack, count: int) -> bool:
    assert await stack.count("dead_letters") == count
    return True
