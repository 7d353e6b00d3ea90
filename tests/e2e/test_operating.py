"""Lots and assignments asked for at a terminal, and the monitor, as processes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.feeding import a_lead
from tests.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)
CONFIGURATION = """
sources: [STORES]
stores:
  - {code: A1, name: Alpha, assign_leads: true}
routes:
  - name: stores
    source: STORES
    policy: capped_lot
    mode: lot
    members:
      - {agent: "0001", priority: 10, max_existing_per_lot: 2}
      - {agent: "0002", priority: 20, max_existing_per_lot: 1}
"""


async def collected(stack: Stack, count: int) -> None:
    """Leads that wait for a lot of the route `stores`."""
    file = stack.folder / "stores.yaml"
    file.write_text(CONFIGURATION)
    assert (await stack.run("config", "apply", str(file))).code == 0
    await stack.publish("lead.created", *(a_lead(n, source="STORES", store_code="A1") for n in range(count)))


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


async def test_a_lot_from_request_to_sheets(stack: Stack) -> None:
    """`lot run --wait --json` tells each step; the sheets of all agents are there at its end."""
    await stack.start("ingest", "assigner", "documents")
    await collected(stack, 5)
    await eventually(lambda: waits_for_lot(stack, 5), within=60)

    ran = await stack.run("lot", "run", "stores", "--wait", "--run-id", "R1", "--json", within=120)

    assert ran.code == 0, ran.errors
    requested, assigned, documents, done = lines(ran.output)
    assert (requested["phase"], requested["run_id"]) == ("requested", "R1")
    assert assigned == {
        "phase": "assigned",
        "status": "ok",
        "lot_id": done["lot_id"],
        "is_same": False,
        "assigned": 3,
        "unassigned": {"cap on existing leads reached": 2},
    }
    assert documents == {"phase": "documents", "status": "ok", "made": 2, "expected": 2}
    assert len(stack.sheet_files()) == 2

    answered = (await stack.run("assign", "--lead", "L0", "--to", "0003", "--json")).json
    assert (answered["assigned"], answered["agents"]) == (1, {"0003": 1})
    refused = [await stack.run(*words) for words in (("lot", "run", "everyone"), ("assign", "--source", "Radio"))]
    assert [(each.code, each.output, len(each.errors.splitlines())) for each in refused] == [(1, "", 1), (1, "", 1)]


async def waits_for_lot(stack: Stack, count: int) -> bool:
    return await stack.count("assignments WHERE reason = 'waits for its lot'") == count


async def test_a_worker_that_runs_once_runs_lots_too(stack: Stack) -> None:
    """What was asked for while nothing ran is done; asked for and not waited for, nothing needs to run."""
    await collected(stack, 4)
    assert (await stack.run("worker", "--once", "--json", within=120)).json == {"waiting_for_retry": {}}
    assert (await stack.run("lot", "run", "stores", "--json")).json["phase"] == "requested"
    assert (await stack.run("worker", "--once", "--json", within=120)).code == 0

    assert await stack.count("lots WHERE assigned = 3 AND decision_id IS NOT NULL") == 1
    assert await stack.count("outbox") == 0
    assert await stack.ready("assigner", "assigner.lots") == {}


async def test_the_monitor_shows_what_is_new_and_ends_cleanly(stack: Stack) -> None:
    """One look as JSON; look after look until Ctrl-C, which is no error."""
    await stack.start("ingest", "assigner")
    once = (await stack.run("monitor", "--once", "--json")).json
    assert {queue["name"]: queue["consumers"] for queue in once["queues"]}["assigner"] == 1
    assert [(line["route"], line["next"]) for line in once["lines"]] == [("everyone", "0001")]
    watch = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("leadline"), "monitor", "--interval", "0.5", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=stack.environment,
        cwd=stack.folder,
    )
    output = watch.stdout
    assert output is not None
    first = json.loads(await asyncio.wait_for(output.readline(), 60))
    await stack.publish("lead.created", a_lead(1))
    await eventually(lambda: seen_new(output), within=60)
    watch.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(watch.communicate(), 60)

    assert (watch.returncode, errors) == (0, b"")
    assert (first["new_count"], first["counts"]["leads"]) == (None, 0)


async def seen_new(output: asyncio.StreamReader) -> bool:
    """The next look has the lead."""
    look = json.loads(await output.readline())
    return bool(look["new_count"] == 1 and look["new"][0]["lead"] == "L1" and look["rates"]["assigned"] > 0)
