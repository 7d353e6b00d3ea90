"""What the services depend on goes away under load: they wait, in place, and no message pays for it."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import pytest

from tests.feeding import a_lead, assert_each_exactly_once, everything_is_through, fed
from tests.replica import Replica
from tests.stack import ALL, MAILBOX, Stack
from tests.waiting import eventually

LONG = bool(os.environ.get("LEADLINE_LONG"))
OUTAGE_S = float(os.environ.get("LEADLINE_E2E_OUTAGE_S", "60" if LONG else "6"))
OTHERS_S = OUTAGE_S if LONG else min(OUTAGE_S, 5)
#: Who cannot work without it, and a word of what it says then.
MISSED = {"postgres": ("ingest", "database"), "broker": ("assigner", "not consuming"), "mailbox": ("notifier", "smtp")}
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
            await eventually(partial(says_why, stack, *MISSED[what]), within=30)
            if what != "postgres":
                await eventually(partial(tells_the_database_why, stack, *MISSED[what]), within=30)
            assert [await stack.probe(each, "healthz") for each in services] == [(200, "alive\n")] * len(services)
            await asyncio.sleep(outage_s)  # the outage itself
            await bring_back(stack, what)
    await eventually(partial(all_are_ready, stack, services), within=60)
    count = len(published)
    await eventually(lambda: everything_is_through(stack, count), within=120 + count / 10)

    assert [replica.pid for replica in services] == pids
    assert all(replica.is_running for replica in services)
    told = {each.name: told_of_outages(stack, each.name) for each in services}
    assert max(told.values()) <= 4, f"a line when it begins, not one a second: {told}"
    assert await stack.heard("ladder") == []
    assert await stack.count("dead_letters") == 0
    # A server that dies between a mail's final dot and its answer has it, and gets it once more.
    await assert_each_exactly_once(stack, count, killed_notifiers=0 if what == "broker" else 1)


async def says_why(stack: Stack, name: str, word: str) -> bool:
    """It is not ready, and says in words what it misses."""
    status, said = await stack.probe(stack.one(name))
    return status == 503 and word in said.lower()


async def tells_the_database_why(stack: Stack, name: str, word: str) -> bool:
    """What it says is where the console shows it, for each of its replicas."""
    found = await stack.rows("SELECT problems FROM replicas WHERE service = $1", name)
    return len(found) == len(stack.of(name)) and all(word in " ".join(row["problems"]).lower() for row in found)


def told_of_outages(stack: Stack, name: str) -> int:
    """How many lines of its log say that something is away; each of its consumers and publishers has its own."""
    return max(len(stack.logged(name, event)) for event in ("outage.begins", "broker.lost", "publishing.fails"))


async def all_are_ready(stack: Stack, services: list[Replica]) -> bool:
    return {await stack.probe(each) for each in services} == {(200, "ready\n")}


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
