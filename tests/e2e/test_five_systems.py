"""`./run demo --five` on real services: five ways to distribute leads, each held to its own rule."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.local import __main__ as run
from services.cli.local import stack as local_stack
from services.cli.local.endpoints import Endpoints
from tests.stack import CONSUMERS, Stack

pytestmark = pytest.mark.timeout(300)
EACH = 40


async def demo(stack: Stack, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What `./run demo --five` prints when the stack that is up is this one."""
    endpoints = Endpoints(
        amqp_url=stack.amqp_url,
        database_url=stack.database_url,
        api_url=None,
        api_key=None,
        smtp_host="127.0.0.1",
        smtp_port=stack.smtp_port,
        mail_dir=str(stack.mail),
        drop_dir=str(stack.folder / "drop"),
        sheets_dir=str(stack.sheets),
    )
    monkeypatch.setattr(local_stack, "up", lambda: endpoints)
    command = ["demo", "--five", "--leads", str(5 * EACH), *arguments]
    result = await asyncio.to_thread(CliRunner().invoke, run.app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def received(system: dict[str, Any], by: str = "agent") -> dict[str, int]:
    counts: dict[str, int] = {}
    for share in system["agents"]:
        counts[share[by]] = counts.get(share[by], 0) + share["assigned"]
    return counts


async def test_each_of_the_five_keeps_its_rule(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every lead is assigned or waits for a reason; sheets are on disk, mails in the mailbox, as the summary says."""
    await stack.start(*CONSUMERS)

    summary = json.loads(await demo(stack, monkeypatch, "--json"))

    systems = {system["system"]: system for system in summary["systems"]}
    for system in systems.values():
        assert system["sent"] == system["accepted"] == EACH
        assert system["assigned"] + sum(system["waiting"].values()) == EACH
        assert system["assigned"] == sum(received(system).values())
    assert summary["assigned"] == await stack.count("assignments WHERE agent_id IS NOT NULL")
    assert summary["sheets"] == len(stack.sheet_files()) == await stack.count("documents")
    assert summary["mails"] == summary["sheets"]
    assert summary["mails"] + summary["store_mails"] + summary["summaries"] == len(stack.mails())
    mailed = [(mail["To"].addresses[0].addr_spec, len(list(mail.iter_attachments()))) for mail in stack.mails()]
    assert systems["auto-assign"]["sheets"] == EACH
    assert systems["mini-crm"]["sheets"] == systems["lead-assignment"]["sheets"] == 0

    assert set(received(systems["auto-assign"]).values()) == {EACH // 4}
    pickups = systems["leads-assignment"]
    assert set(pickups["waiting"]) <= {
        "store takes no part",
        "cap on existing leads reached",
        "cap on new leads reached",
        "daily cap reached",
    }
    assert pickups["waiting"]["store takes no part"] > 0
    assert all(share["store"] for share in pickups["agents"])
    assert pickups["sheets"] == sum(share["assigned"] > 0 for share in pickups["agents"])
    by_store = {f"{name}@example.com" for name in ("lake-road", "park-circus", "salt-lake")}
    to_stores = [(to, sheets) for to, sheets in mailed if to in by_store]
    assert len(to_stores) == len({to for to, _ in to_stores}) == pickups["store_mails"] > 0
    assert sum(sheets for _, sheets in to_stores) == pickups["sheets"]
    assert [sheets for to, sheets in mailed if to == "office@example.com"] == [0, 0]
    assert (pickups["summaries"], systems["agent-funnel"]["summaries"]) == (1, 1)
    assert await misplaced(stack) == 0
    for share in systems["lead-assignment"]["agents"]:
        assert share["assigned"] <= share["max_load"]
    parts = received(systems["agent-funnel"]).values()
    assert max(parts) - min(parts) <= 3
    assert set(systems["agent-funnel"]["waiting"]) <= {"its stage is past this route's"}
    assert received(systems["mini-crm"])["5003"] > received(systems["mini-crm"])["5001"]


async def misplaced(stack: Stack) -> int:
    """Sellers' leads of another business line, and leads of a store at an agent who is no member for it."""
    lines = await stack.count(
        "assignments JOIN leads ON leads.id = assignments.lead_id JOIN agents ON agents.id = agent_id"
        " WHERE agents.business_line_id <> leads.business_line_id"
    )
    stores = await stack.count(
        "assignments JOIN routes ON routes.id = assignments.route_id AND routes.name = 'leads-assignment'"
        " WHERE assignments.agent_id IS NOT NULL AND NOT EXISTS ("
        "SELECT 1 FROM route_members AS members WHERE members.route_id = routes.id"
        " AND members.agent_id = assignments.agent_id AND members.store_code = assignments.store_code)"
    )
    return lines + stores


async def test_a_second_run_finds_places_again(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes what the first has left with agents; the summary for people names every system and agent."""
    await stack.start(*CONSUMERS)

    first = json.loads(await demo(stack, monkeypatch, "--json"))
    words = await demo(stack, monkeypatch)

    assert first["closed"] == 0
    assert await stack.count("assignments WHERE is_current AND assignment_status_id = 4") == first["assigned"]
    assert f"{first['assigned']:,}  leads of earlier runs closed first" in words
    for name in ("auto-assign", "leads-assignment", "lead-assignment", "agent-funnel", "mini-crm", "Samir Khoury"):
        assert name in words
    assert "wait: store takes no part" in words
    assert f"{5 * EACH:,}  leads sent, {5 * EACH:,} accepted" in words
