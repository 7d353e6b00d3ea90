"""What the services depend on goes away under load: they wait, in place, and no message pays for it."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.feeding import a_lead, assert_each_exactly_once, everything_is_through, fed
from tests.stack import ALL, MAILBOX, Stack
from tests.waiting import eventually

OUTAGE_S = float(os.environ.get("LEADLINE_E2E_OUTAGE_S", "15"))
OTHERS_S = min(OUTAGE_S, 5)
#: The broker keeps what a queue's leader knew of 3 s ago.
SETTLED_S = 3


@pytest.mark.timeout(300 + OUTAGE_S)
@pytest.mark.parametrize("what", ["postgres", "broker", "mailbox"])
async def test_an_outage_costs_no_attempt(stack: Stack, some: int, what: str) -> None:
    """The same processes go on afterwards; nothing went to the ladder or to the dead, everything is through once."""
    await stack.listen("ladder", ("leads.retry", "#"), ("leads.dead", "#"))
    await stack.start(*ALL)
    await asyncio.sleep(SETTLED_S if what == "broker" else 0)  # younger quorum queues may not survive a kill
    services = [replica for replica in stack.replicas if replica.name != MAILBOX]
    pids = [replica.pid for replica in services]

    outage_s = OUTAGE_S if what == "postgres" else OTHERS_S
    async with fed(stack, a_lead, at_least=some, over_s=outage_s + 3) as published:
        await eventually(lambda: stack.count("documents"), within=60)
        with stack.unattended(stack.one(MAILBOX)):
            await take_away(stack, what)
            await asyncio.sleep(outage_s)  # the outage itself
            await bring_back(stack, what)
    count = len(published)
    await eventually(lambda: everything_is_through(stack, count), within=120 + count / 10)

    assert [replica.pid for replica in services] == pids
    assert all(replica.is_running for replica in services)
    assert await stack.heard("ladder") == []
    assert await stack.count("dead_letters") == 0
    # A server that dies between a mail's final dot and its answer has it, and gets it once more.
    await assert_each_exactly_once(stack, count, killed_notifiers=0 if what == "broker" else 1)


async def take_away(stack: Stack, what: str) -> None:
    match what:
        case "postgres":
            await asyncio.to_thread(stack.nodes.postgres.stop)
        case "broker":
            await asyncio.to_thread(stack.nodes.broker.kill)
        case _:
            await asyncio.to_thread(stack.one(MAILBOX).stop)


async def bring_back(stack: Stack, what: str) -> None:
    match what:
        case "postgres":
            await asyncio.to_thread(stack.nodes.postgres.start)
        case "broker":
            await asyncio.to_thread(stack.nodes.broker.start)
        case _:
            pass  # the supervisor starts it
