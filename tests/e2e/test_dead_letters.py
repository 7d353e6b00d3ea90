"""Operators work dead letters: real services, real commands, a replay that is interrupted, killed, and run twice."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.messaging import topology
from tests.feeding import a_lead
from tests.replica import Replica
from tests.stack import Ran, Stack
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
LOANS = "business_lines: [Loans]\n"
#: Holds up whoever marks a letter as sent, until the test lets go.
HOLD_MARKS = """
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$;
    CREATE TRIGGER hold BEFORE UPDATE ON dead_letter_replay_rows
    FOR EACH ROW WHEN (NEW.state = 'sent') EXECUTE FUNCTION hold();
"""


async def with_dead_letters(stack: Stack, count: int) -> str:
    """So many leads of a line that nobody has configured; the name of their group."""
    await stack.start("ingest", "assigner", "deadletters")
    await stack.publish("lead.created", *(a_lead(n, business_line="Loans") for n in range(count)))
    await eventually(lambda: are_dead(stack, count), within=60)
    ((group, messages),) = [(g["group"], g["messages"]) for g in (await groups(stack))["groups"]]
    assert messages == count
    return str(group)


async def are_dead(stack: Stack, count: int) -> bool:
    return await stack.count("dead_letters WHERE status = 'new'") == count


async def groups(stack: Stack) -> Any:
    return (await stack.run("deadletters", "groups", "--json")).json


async def mend(stack: Stack) -> None:
    file = stack.folder / "loans.yaml"
    file.write_text(LOANS)
    assert (await stack.run("config", "apply", str(file))).code == 0


async def replay(stack: Stack, *arguments: str, within: float = 120) -> Ran:
    return await stack.run("deadletters", "replay", *arguments, "--yes", "--json", within=within)


async def assert_through_once(stack: Stack, count: int, *, repeats: int = 0) -> None:
    """One lead, one assignment and one resolved row each; `repeats`: messages that were sent a second time."""
    await eventually(lambda: are_assigned(stack, count), within=60)
    assert await stack.count("leads") == await stack.count("assignments") == count
    assert await stack.value("SELECT coalesce(sum(repeats), 0) FROM leads") == repeats
    assert await stack.count("dead_letters WHERE status = 'resolved'") == await stack.count("dead_letters") == count
    assert await stack.value("SELECT sum(assigned_count) FROM member_counters") == count


async def are_assigned(stack: Stack, count: int) -> bool:
    return await stack.count("assignments WHERE is_current AND assignment_status_id = 2") == count


@asynccontextmanager
async def replaying(stack: Stack, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A replay as a process, to be interrupted; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("leadline")), "deadletters", "replay", *arguments, "--yes", "--json"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=stack.environment,
        cwd=stack.folder,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_missing_business_line_is_added_previewed_and_replayed(stack: Stack) -> None:
    """The preview says first why all would fail, then that all would go through; each is assigned once."""
    group = await with_dead_letters(stack, 30)

    async def previewed() -> Any:
        (found,) = (await stack.run("deadletters", "preview", "--group", group, "--json")).json["groups"]
        return found

    before = await previewed()
    assert (before["would_fail_again"], before["would_go_through"]) == (30, 0)
    assert "there is no business line 'Loans'" in before["reasons"][0]["reason"]
    await mend(stack)
    after = await previewed()
    assert (after["would_fail_again"], after["would_go_through"]) == (0, 30)
    assert await stack.count("leads") == 0

    report = (await replay(stack, "--group", group, "--rate", "200")).json
    assert (report["ended"], report["through"], report["failed_again"]) == ("done", 30, 0)
    await assert_through_once(stack, 30)
    actions = await stack.rows("SELECT action, actor, count(*) FROM dead_letter_actions GROUP BY 1, 2")
    assert [(action, count) for action, _, count in actions] == [("replay", 30)]
    assert all(actor.startswith("cli") for _, actor, _ in actions)
    again = await replay(stack, "--group", group)
    assert (again.code, again.errors) == (1, "leadline: none of these is to be replayed: 30 resolved\n")
    assert (await groups(stack))["groups"] == []


async def test_a_replay_interrupted_after_the_canary_goes_on_where_it_was(stack: Stack) -> None:
    """Ctrl-C, then --resume: every letter is sent once."""
    await with_dead_letters(stack, 80)
    await mend(stack)
    # Two of the canary's steps, then so few a second that it is still running when it is interrupted.
    async with replaying(stack, "--all", "--rate", "0.5") as process:
        await eventually(lambda: stack.count("dead_letters WHERE status = 'resolved'"), within=60)
        process.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(process.communicate(), 60)
    report = json.loads(output)
    assert (process.returncode, report["ended"]) == (130, "interrupted"), errors.decode()
    assert report["waiting"] > 0
    assert report["under_way"] + report["through"] + report["waiting"] == 80

    resumed = (await replay(stack, "--resume", str(report["replay"]), "--rate", "100")).json
    assert (resumed["ended"], resumed["through"], resumed["passed_over"]) == ("done", 80, 0)
    await assert_through_once(stack, 80)


async def test_a_replay_that_fails_again_stops_by_itself_and_opens_its_row_again(stack: Stack) -> None:
    """After the first of forty; the same row is open again, and all go through once the cause is mended."""
    group = await with_dead_letters(stack, 40)
    stopped = await replay(stack, "--group", group)
    report = json.loads(stopped.output)
    assert (stopped.code, report["ended"], report["sent"], report["failed_again"]) == (1, "stopped", 1, 1)
    assert await are_dead(stack, 40)
    assert await stack.rows("SELECT attempts, replays FROM dead_letters WHERE replays > 0") == [(2, 1)]

    await mend(stack)
    resumed = (await replay(stack, "--resume", str(report["replay"]))).json
    assert (resumed["ended"], resumed["through"], resumed["failed_again"]) == ("done", 39, 1)
    assert (await replay(stack, "--all")).json["through"] == 1
    await assert_through_once(stack, 40)


async def test_a_replay_killed_between_publish_and_mark_has_no_effect_twice(stack: Stack) -> None:
    """The letter is in the queue and not marked as sent; the next run publishes it again, and its lead is one."""
    await with_dead_letters(stack, 10)
    await mend(stack)
    ingest = stack.one("ingest")
    with stack.unattended(ingest):
        ingest.stop()
        holder = await asyncpg.connect(stack.database_url.replace("+asyncpg", ""))
        await holder.execute(HOLD_MARKS)
        await holder.execute("SELECT pg_advisory_lock(77)")
        async with replaying(stack, "--all") as process:
            await eventually(lambda: stack.count("pg_locks WHERE locktype = 'advisory' AND NOT granted"), within=60)
            process.kill()
        await holder.execute("SELECT pg_advisory_unlock(77)")
        await holder.execute("DROP TRIGGER hold ON dead_letter_replay_rows")
        await holder.close()
        assert await stack.ready("ingest") == {"ingest": 1}
        assert await stack.rows("SELECT state FROM dead_letter_replay_rows WHERE state <> 'waiting'") == [("claimed",)]
        row_id = str(await stack.value("SELECT id FROM dead_letters WHERE status = 'replaying'"))
        assert "under way already" in (await replay(stack, row_id)).errors
        replay_id = await stack.value("SELECT min(id) FROM dead_letter_replays")
        resuming = asyncio.create_task(replay(stack, "--resume", str(replay_id)))
        await eventually(lambda: has_twice(stack), within=60)
    resumed = (await resuming).json
    assert (resumed["ended"], resumed["through"]) == ("done", 10)
    await assert_through_once(stack, 10, repeats=1)


async def has_twice(stack: Stack) -> bool:
    return await stack.ready("ingest") == {"ingest": 2}


async def test_two_operators_at_once_send_each_letter_once(stack: Stack) -> None:
    await with_dead_letters(stack, 60)
    await mend(stack)
    ran = await asyncio.gather(*(replay(stack, "--all", "--rate", "500") for _ in range(2)))
    reports = [json.loads(each.output) for each in ran]
    assert sum(report["through"] for report in reports) == 60
    assert [report["failed_again"] for report in reports] == [0, 0]
    await assert_through_once(stack, 60)


async def test_what_is_discarded_is_never_replayed_and_can_be_brought_back(stack: Stack) -> None:
    """With a reason; `undo` brings it back, and it goes through."""
    group = await with_dead_letters(stack, 3)
    await mend(stack)
    without = await stack.run("deadletters", "discard", "--group", group, "--yes")
    assert without.code == 2
    discarded = await stack.run("deadletters", "discard", "--group", group, "--reason", "a test", "--yes", "--json")
    assert discarded.json["changed"] == 3
    refused = await replay(stack, "--group", group)
    assert (refused.code, refused.errors) == (1, "leadline: none of these is to be replayed: 3 discarded\n")
    assert (await stack.run("deadletters", "undo", "--group", group, "--json")).json["changed"] == 3
    assert (await replay(stack, "--group", group)).json["through"] == 3
    await assert_through_once(stack, 3)
    told = await stack.rows("SELECT action, reason, after ->> 'status' FROM dead_letter_actions ORDER BY id")
    assert [tuple(row) for row in told[:4:3]] == [("discard", "a test", "discarded"), ("undo", None, "new")]


async def test_a_malformed_date_is_edited_and_replayed(stack: Stack) -> None:
    """What would be refused again is not saved; the original stays; the lead is stored as edited."""
    await stack.start("ingest", "assigner", "deadletters")
    await stack.publish("lead.created", a_lead(1, created_at="31st of May"))
    await eventually(lambda: are_dead(stack, 1), within=60)
    row_id = str(await stack.value("SELECT id FROM dead_letters"))

    async def edit(*pairs: str) -> Ran:
        return await stack.run("deadletters", "edit", row_id, *(f"--set={pair}" for pair in pairs), "--json")

    for pair, said in (
        ("created_at=1st of June", "created_at: must be a date"),
        ("business_line=Boats", "there is no business line"),
    ):
        refused = await edit("created_at=2026-05-31", pair)
        assert refused.code == 1
        assert said in refused.errors
    assert await stack.count("dead_letter_actions") == 0
    assert (await edit("created_at=2026-05-31T10:00:00+05:30", "stage=2", "attributes.utm=x")).json["is_changed"]
    assert (await replay(stack, row_id)).json["through"] == 1
    await assert_through_once(stack, 1)
    shown = (await stack.run("deadletters", "show", row_id, "--json")).json
    assert "31st of May" in shown["original_body"]
    assert [action["action"] for action in shown["actions"]] == ["edit", "replay"]
    assert await stack.value("SELECT stage FROM leads") == 2


async def test_a_replay_whose_service_is_down_gives_up_waiting_and_goes_on_later(stack: Stack) -> None:
    await with_dead_letters(stack, 8)
    await mend(stack)
    ingest = stack.one("ingest")
    with stack.unattended(ingest):
        ingest.stop()
        waiting = await replay(stack, "--all", "--patience", "1")
        report = json.loads(waiting.output)
        assert (waiting.code, report["ended"], report["under_way"], report["waiting"]) == (1, "waiting", 1, 7)
    resumed = (await replay(stack, "--resume", str(report["replay"]))).json
    assert (resumed["ended"], resumed["through"]) == ("done", 8)
    await assert_through_once(stack, 8)


async def test_caps_count_as_of_the_day_that_a_letter_first_failed(stack: Stack) -> None:
    """With --as-of original; without it, today's."""
    await with_dead_letters(stack, 2)
    await mend(stack)
    await stack.rows("UPDATE dead_letters SET first_failed_at = '2026-01-02T20:00:00Z'")
    old, new = [str(row["id"]) for row in await stack.rows("SELECT id FROM dead_letters ORDER BY id")]
    assert (await replay(stack, old, "--as-of", "original")).json["through"] == 1
    assert (await replay(stack, new)).json["through"] == 1
    await assert_through_once(stack, 2)
    days = await stack.rows("SELECT day::text FROM member_days ORDER BY day")
    assert days[0]["day"] == "2026-01-03"  # in Kolkata
    assert days[1]["day"] > "2026-01-03"


async def test_what_the_broker_buries_waits_there_for_the_database(stack: Stack) -> None:
    """A message that came back too often is dead for the broker; it is one dead letter, whoever dies before that."""
    await stack.start("deadletters")
    await stack.publish("lead.created", a_lead(1))
    ledger = stack.one("deadletters")
    await asyncio.to_thread(stack.nodes.postgres.stop)
    try:
        await come_back_too_often(stack, "ingest")
        await eventually(lambda: waits_for_the_database(stack, ledger), within=30)
        killed = ledger.pid
        ledger.kill()
        await eventually(lambda: ledger.is_running and ledger.pid != killed, within=30)
    finally:
        await asyncio.to_thread(stack.nodes.postgres.start)
    await eventually(lambda: are_dead(stack, 1), within=60)

    ((group, kind),) = await stack.rows("SELECT group_key, error_type FROM dead_letters")
    assert kind == "delivery_limit"
    assert (
        group
        == "ingest · lead.created · it came back too often: each time its consumer died with it, or lost its connection"
    )
    await eventually(lambda: nothing_is_left(stack, "dead", "ingest"), within=30)


async def come_back_too_often(stack: Stack, queue: str) -> None:
    """Hand the only message of a queue back until the broker buries it."""
    async with stack.channel() as channel:
        declared = await channel.declare_queue(queue, passive=True)
        for _ in range(topology.WORK_DELIVERY_LIMIT + 1):
            message = await eventually(lambda: declared.get(fail=False), within=10)
            await message.reject(requeue=True)


async def waits_for_the_database(stack: Stack, ledger: Replica) -> bool:
    status, said = await stack.probe(ledger)
    return status == 503 and "database" in said


async def nothing_is_left(stack: Stack, *queues: str) -> bool:
    return await stack.ready(*queues) == {}
