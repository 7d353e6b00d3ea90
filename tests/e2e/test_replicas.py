"""Two replicas of each consumer, and every message more than once: effects once."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.feeding import assert_each_exactly_once, everything_is_through, leads
from tests.stack import CONSUMERS, Stack
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
QUEUE = {"lead.accepted": "assigner", "lead.assigned": "documents", "document.ready": "notifier"}


async def test_two_replicas_and_duplicates_from_both_ends(stack: Stack, some: int) -> None:
    """Each lead published by two clients at once, each event of ours put into its queue again by hand."""
    await stack.listen("echo", *(("leads", event_type) for event_type in QUEUE))
    await stack.listen("ladder", ("leads.retry", "#"), ("leads.dead", "#"))
    await stack.start(*CONSUMERS, replicas=2)

    is_over = asyncio.Event()
    echoing = asyncio.create_task(echo(stack, is_over))
    twice = leads(some)
    await asyncio.gather(stack.publish("lead.created", *twice), stack.publish("lead.created", *reversed(twice)))
    await eventually(lambda: everything_is_through(stack, some), within=120 + some / 10)
    is_over.set()
    echoed = await echoing
    await eventually(lambda: everything_is_through(stack, some), within=120)

    assert echoed >= 3 * some
    await eventually(lambda: _all_came_twice(stack, some), within=60)  # the last batch may still be at work
    assert await stack.heard("ladder") == []
    await assert_each_exactly_once(stack, some)
    shares = await stack.rows("SELECT assigned_count FROM member_counters")
    assert max(row[0] for row in shares) - min(row[0] for row in shares) <= 1


async def _all_came_twice(stack: Stack, count: int) -> bool:
    return await stack.count("leads WHERE repeats = 1") == count


async def echo(stack: Stack, is_over: asyncio.Event) -> int:
    """Put what an outsider hears of our events into the queue of the service that takes them; give how many."""
    echoed = 0
    while True:
        is_last = is_over.is_set()
        for message in await stack.heard("echo"):
            event_type = message.routing_key or ""
            body = json.loads(message.body)
            await stack.publish(QUEUE[event_type], body, exchange="", type=event_type)
            echoed += 1
        if is_last:
            return echoed
        await asyncio.sleep(0)
