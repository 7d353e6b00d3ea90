"""What went wrong for many is mended, and all of it goes through, once.

`LEADLINE_DEAD_LETTERS` (240) says how many dead letters there are, `LEADLINE_WAITING_LEADS` (2000) how many leads wait
while the tables are not as the code expects.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import HeadersType

from shared.messaging.topology import queue_arguments
from tests.e2e.test_dead_letters import assert_through_once, groups, mend, replay, replaying
from tests.feeding import a_lead
from tests.stack import Stack
from tests.waiting import eventually

DEAD_LETTERS = int(os.environ.get("LEADLINE_DEAD_LETTERS", "240"))
WAITING = int(os.environ.get("LEADLINE_WAITING_LEADS", "2000"))
BROKEN_S = 8.0
#: More than the canary takes before the rate counts.
RATE = 200 if DEAD_LETTERS > 1_000 else 40
#: Nobody runs their services here.
UNATTENDED = frozenset({"documents", "webhooks"})


async def with_three_groups(stack: Stack, each: int) -> dict[str, str]:
    """A line that nobody has configured, a malformed date, a bug in a handler; the names of the groups by these words.

    What meets the bug has been up the ladder: it is dead when it fails once more.
    """
    await stack.start_as("ingest", ["tests.chaos.planted", "trips-over-gifts"])
    await stack.start("assigner", "deadletters")
    await publish_in_turn(stack, each)
    await eventually(lambda: are_dead(stack, 3 * each), within=120 + each / 5)
    found = (await groups(stack))["groups"]
    assert [group["messages"] for group in found] == [each] * 3
    words = {"line": "business line", "date": "created_at", "bug": "KeyError"}
    return {name: next(g["group"] for g in found if said in json.dumps(g)) for name, said in words.items()}


async def publish_in_turn(stack: Stack, each: int) -> None:
    """One of each kind after the other: ten that fail alike in a row would open the breaker."""
    async with stack.channel() as channel:
        exchange = await channel.get_exchange("leads", ensure=False)
        for number in range(each):
            bodies = (
                a_lead(f"line{number}", business_line="Loans"),
                a_lead(f"date{number}", created_at="31st of May"),
                a_lead(f"bug{number}", message="a gift"),
            )
            for body, attempts in zip(bodies, (0, 0, 5), strict=True):
                headers: HeadersType = {"x-attempts": attempts} if attempts else {}
                await exchange.publish(
                    aio_pika.Message(json.dumps(body).encode(), headers=headers, delivery_mode=2), "lead.created"
                )


async def are_dead(stack: Stack, count: int) -> bool:
    return await stack.count("dead_letters WHERE status = 'new'") == count


async def previewed(stack: Stack, group: str) -> tuple[int, int]:
    """How many would go through, and how many would fail again."""
    ran = await stack.run("deadletters", "preview", "--group", group, "--json", within=300)
    (found,) = ran.json["groups"]
    return found["would_go_through"], found["would_fail_again"]


@pytest.mark.timeout(300 + DEAD_LETTERS)
async def test_three_groups_are_mended_replayed_interrupted_and_resumed(stack: Stack) -> None:
    """A line is configured, a date is edited in all, a bug is gone with the next version: each is through once."""
    each = DEAD_LETTERS // 3
    began = time.monotonic()
    group = await with_three_groups(stack, each)
    said: dict[str, Any] = {"dead after": round(time.monotonic() - began, 1)}

    assert await previewed(stack, group["line"]) == (0, each)
    assert await previewed(stack, group["date"]) == (0, each)
    not_yet = await replay(stack, "--group", group["bug"])
    assert (not_yet.code, json.loads(not_yet.output)["failed_again"]) == (1, 1)  # in seconds, not up the ladder

    await mend(stack)
    edited = await stack.run(
        *("deadletters", "edit", "--group", group["date"], "--set", "created_at=2026-05-31", "--yes", "--json"),
        within=300,
    )
    assert edited.json == {"changed": each, "unchanged": 0, "refused": 0, "reasons": []}
    ingest = stack.one("ingest")
    with stack.unattended(ingest):
        await asyncio.to_thread(ingest.stop)
        await stack.start_anew(ingest, ["services.ingest"])
    began = time.monotonic()
    assert [await previewed(stack, name) for name in group.values()] == [(each, 0)] * 3
    said["previewed in"] = round(time.monotonic() - began, 1)

    began = time.monotonic()
    async with replaying(stack, "--all", "--rate", str(RATE)) as process:
        await eventually(lambda: so_many_are_through(stack, DEAD_LETTERS // 2), within=120)
        process.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(process.communicate(), 60)
    report = json.loads(output)
    assert (process.returncode, report["ended"]) == (130, "interrupted"), errors.decode()
    assert 0 < report["waiting"] < 3 * each

    resumed = (await replay(stack, "--resume", str(report["replay"]), "--rate", str(RATE), within=300)).json
    assert (resumed["ended"], resumed["through"], resumed["failed_again"]) == ("done", 3 * each, 0)
    said["replayed in"] = round(time.monotonic() - began, 1)
    print(said, report)
    await assert_through_once(stack, 3 * each)
    assert await stack.count("leads WHERE created_at::date = '2026-05-30'") == each  # midnight in Kolkata
    assert await stack.count("dead_letter_actions WHERE action = 'edit'") == each


async def so_many_are_through(stack: Stack, count: int) -> bool:
    return await stack.count("dead_letters WHERE status = 'resolved'") >= count


@pytest.mark.timeout(300 + WAITING / 50)
async def test_a_broken_migration_holds_everything_and_kills_nothing(stack: Stack) -> None:
    """A column is missing: the breaker holds, nothing climbs the ladder, all goes through once it is back."""
    await stack.listen("ladder", ("leads.retry", "#"), ("leads.dead", "#"))
    await stack.publish("lead.created", *(a_lead(number) for number in range(WAITING)))
    await stack.rows("ALTER TABLE leads RENAME COLUMN final_source TO last_source")
    await stack.start("ingest", "assigner", "deadletters")
    await eventually(lambda: stack.logged("ingest", "breaker.open"), within=60)
    await asyncio.sleep(BROKEN_S)  # the time until somebody mends it: some tries fail meanwhile
    assert await stack.count("leads") == 0
    assert await stack.heard("ladder") == []

    began = time.monotonic()
    await stack.rows("ALTER TABLE leads RENAME COLUMN last_source TO final_source")
    await eventually(lambda: all_are_assigned(stack), within=120 + WAITING / 100)

    print(f"{WAITING} leads went through {time.monotonic() - began:.1f} s after it was mended")
    assert stack.logged("ingest", "breaker.closed")
    assert await stack.heard("ladder") == []
    assert await stack.count("dead_letters") == 0
    assert await stack.count("leads") == await stack.count("assignments") == WAITING
    assert await stack.value("SELECT sum(repeats) FROM leads") == 0
    await eventually(lambda: is_empty(stack), within=60)


async def all_are_assigned(stack: Stack) -> bool:
    return await stack.count("assignments WHERE is_current AND assignment_status_id = 2") == WAITING


async def is_empty(stack: Stack) -> bool:
    waiting = {
        queue: count for queue, count in (await stack.ready(*queue_arguments())).items() if queue not in UNATTENDED
    }
    assert waiting == {}
    return True
