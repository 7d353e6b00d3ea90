"""The checks prove themselves: each finds the bug that was planted, and nothing when the same is done without it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import psutil
import pytest

from tests.chaos.checking import Excuses, Expected, Finding, check_all
from tests.chaos.quiet import become_quiet, mails_to_ask_for
from tests.feeding import a_lead
from tests.stack import MAILBOX, Stack
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
ROUTE = """
sources: [META]
agents: [{code: "0001", name: Asha, email: asha@example.com}]
routes: [{name: everyone, members: ["0001"]}]
"""
#: A mail that was void, and whose sheet's lead is its agent's again.
HELD_AGAIN = """
    INSERT INTO assignments (lead_id, agent_id, route_id, assignment_status_id, sheet_key)
        SELECT 1, agents.id, routes.id, 2, 'S1' FROM agents, routes;
    INSERT INTO documents (sheet_key, doc_type, doc_subtype, doc_date, mime_type, storage_backend, status, agent_id,
                           route_id, lead_ids, created_by)
        SELECT 'S1', 'sheet', 'one', current_date, 'application/pdf', 'fs', 'ok', agents.id, routes.id, '{X1}', 'a test'
        FROM agents, routes;
    INSERT INTO notifications (profile_id, mail_key, message_id, status)
        SELECT id, 'sheet:S1', '<1@example.com>', 'void' FROM notification_profiles WHERE scope = 'agent';
    INSERT INTO notification_sheets (profile_id, document_id, notification_id)
        SELECT profile_id, documents.id, notifications.id FROM notifications, documents
"""
#: Whoever stores a lead waits until the test lets go.
HOLD = """
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$;
    CREATE TRIGGER hold BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION hold();
"""
LET_GO = "DROP TRIGGER hold ON leads; DROP FUNCTION hold"
PLANTED = pytest.mark.parametrize("is_planted", [True, False], ids=["planted", "as it is"])


async def configured(stack: Stack) -> None:
    file = stack.folder / "route.yaml"
    file.write_text(ROUTE)
    assert (await stack.run("config", "apply", str(file))).code == 0


async def start(stack: Stack, name: str, bug: str | None, replicas: int = 1) -> None:
    """A service with a bug, or as it is."""
    if bug is None:
        await stack.start(name, replicas=replicas)
    else:
        await stack.start_as(name, ["tests.chaos.planted", bug], replicas=replicas)


async def found_by(stack: Stack, *lead_ids: str) -> list[Finding]:
    """What the checks say once everything is quiet."""
    assert await become_quiet(stack, 120, print) == {}
    return await check_all(stack, Expected(leads=frozenset(lead_ids)), Excuses())


@asynccontextmanager
async def stores_held(stack: Stack) -> AsyncIterator[None]:
    """Nobody stores a lead inside the block."""
    holder = await asyncpg.connect(stack.database_url.replace("+asyncpg", ""))
    try:
        await holder.execute(HOLD)
        await holder.execute("SELECT pg_advisory_lock(77)")
        yield
        await holder.execute("SELECT pg_advisory_unlock(77)")
        await holder.execute(LET_GO)
    finally:
        await holder.close()


async def so_many_wait(stack: Stack, count: int) -> bool:
    return await stack.count("pg_locks WHERE locktype = 'advisory' AND NOT granted") == count


async def test_a_look_at_the_mails_asks_for_none(stack: Stack) -> None:
    """Whoever looks whether the sweep has something to do leaves it to the sweep."""
    await configured(stack)
    admin = await asyncpg.connect(stack.database_url.replace("+asyncpg", ""))
    await admin.execute(HELD_AGAIN)
    await admin.close()
    assert [await mails_to_ask_for(stack) for _ in range(2)] == [1, 1]
    assert await stack.count("notifications WHERE asked_at IS NULL") == 1


@PLANTED
async def test_a_lead_acknowledged_before_its_commit_is_missed(stack: Stack, *, is_planted: bool) -> None:
    """Ingest dies while its transaction waits: the broker has the message still, or nobody has."""
    await configured(stack)
    await start(stack, "ingest", "ack-before-commit" if is_planted else None)
    ingest = stack.one("ingest")
    with stack.unattended(ingest):
        async with stores_held(stack):
            await stack.publish("lead.created", a_lead(1))
            await eventually(lambda: so_many_wait(stack, 1), within=60)
            ingest.kill()
    await stack.start("assigner", "documents", "notifier")

    found = await found_by(stack, "L1")

    lost = Finding("every lead is there", "L1 was confirmed and is not stored")
    assert found == ([lost] if is_planted else [])


@PLANTED
async def test_a_mail_that_two_send_at_once_is_counted(stack: Stack, *, is_planted: bool) -> None:
    """Two notifiers have the same sheet to mail while the mail server stands still."""
    await configured(stack)
    await stack.listen("echo", ("leads", "document.ready"))
    await stack.start("ingest", "assigner", "documents")
    await start(stack, "notifier", "no-claim" if is_planted else None, replicas=2)
    mailbox = stack.one(MAILBOX)
    mailbox.freeze()
    await stack.publish("lead.created", a_lead(1))
    (ready,) = await eventually(lambda: stack.heard("echo"), within=60)
    await eventually(lambda: at_the_mailbox(stack) == 1, within=60)
    await stack.publish("notifier", ready.body, exchange="", type="document.ready")
    await eventually(lambda: is_taken_up(stack), within=60)
    mailbox.thaw()

    found = await found_by(stack, "L1")

    if is_planted:
        ((check, words),) = [(each.check, each.words) for each in found]
        assert check == "mails"
        assert words.startswith("1 mails came once more than they should, 0 may")
    else:
        assert found == []


def at_the_mailbox(stack: Stack) -> int:
    """How many notifiers have connected to the mail server."""
    pids = [replica.pid for replica in stack.of("notifier")]
    connections = [each for pid in pids for each in psutil.Process(pid).net_connections("tcp")]
    return sum(bool(each.raddr) and each.raddr.port == stack.smtp_port for each in connections)


async def is_taken_up(stack: Stack) -> bool:
    """The other notifier is about to send it as well, or has put it off."""
    return at_the_mailbox(stack) == 2 or await stack.ready("retry.5s") == {"retry.5s": 1}


@PLANTED
async def test_a_lead_that_two_store_at_once_is_counted(stack: Stack, *, is_planted: bool) -> None:
    """Two replicas have the same new lead; without the unique index both store it, with an assignment each."""
    await configured(stack)
    if is_planted:
        await stack.rows("ALTER TABLE leads DROP CONSTRAINT uq_leads_lead_id")
    await start(stack, "ingest", "no-unique-index" if is_planted else None, replicas=2)
    async with stores_held(stack):
        await stack.publish("lead.created", a_lead(1), a_lead(1))
        await eventually(lambda: so_many_wait(stack, 2), within=60)
    await stack.start("assigner", "documents", "notifier")

    found = await found_by(stack, "L1")

    doubled = Finding("one current assignment", "L1 has 2 current assignments")
    assert (doubled in found) if is_planted else found == []
