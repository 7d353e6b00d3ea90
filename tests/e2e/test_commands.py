"""The `leadline` command as a person at a terminal has it: processes, JSON, exit codes, errors of one line."""

from __future__ import annotations

import asyncio
import csv
import re
from collections.abc import Awaitable
from pathlib import Path

import pytest

from tests.conftest import named
from tests.feeding import a_lead, assert_each_exactly_once
from tests.stack import Ran, Stack
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)
COLUMNS = [
    *("LEADID", "Last Name", "Company", "Lead Owner", "Email", "Mobile", "Website", "Industry", "Lead Source"),
    *("Lead Status", "Created Time", "CONVERTED", "month_Created Time1"),
]
OPEN, CLOSED = 100, 25


def a_zoho_export(path: Path) -> Path:
    """Rows as Zoho writes them; one in five is junk."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(OPEN + CLOSED):
            status = "Junk Lead" if number % 5 == 0 else "Contacted"
            phone, mail = f"660-485-{number:04}", f"c{number}@example.com"
            person = [f"Customer {number}", "Chargepal", "David Love", mail, phone, "a.com", "Pharma"]
            writer.writerow([4_000 + number, *person, "Web", status, "15 Apr, 2021 00:03:00", "No", "April"])
    return path


async def test_an_import_worked_through_by_hand(stack: Stack) -> None:
    """Import, `worker --once`: open rows assigned, printed and mailed; the same file again creates nothing new."""
    file = a_zoho_export(stack.folder / "zoho.csv")

    first = (await stack.run("import", str(file), "--json")).json
    assert (first["system"], first["rows"]) == ("zoho", OPEN + CLOSED)
    assert (first["sent"], first["skipped_closed"]) == (OPEN, CLOSED)
    worked = (await stack.run("worker", "--once", "--json", within=120)).json
    assert worked == {"waiting_for_retry": {}}
    await assert_each_exactly_once(stack, OPEN)

    again = (await stack.run("import", str(file), "--json")).json
    assert again["sent"] == OPEN
    ingested = await stack.run("service", "ingest", "--once", "--json", within=120)
    assert ingested.json == {"waiting_for_retry": {}}
    await assert_each_exactly_once(stack, OPEN)
    assert await stack.count("leads WHERE repeats = 1") == OPEN

    stats, story, verified = await asyncio.gather(
        stack.run("stats", "--json"), stack.run("lead", "show", "zoho:4001", "--json"), stack.run("verify", "--json")
    )
    counted = {name: stats.json[name] for name in ("leads", "accepted", "duplicates", "dead", "assigned", "documents")}
    assert counted == dict.fromkeys(counted, OPEN) | {"dead": 0}
    assert (stats.json["emails"], stats.json["spread"], len(stats.json["agents"])) == (OPEN, 0, 10)
    assert story.json["lead"]["customer_name"] == "Customer 1"
    assert [step["status"] for step in story.json["history"]] == ["Assigned"]
    assert [document["mail"] for document in story.json["documents"]] == ["sent"]
    assert verified.json["is_well"]


async def test_errors_are_one_line_and_say_what_to_do(stack: Stack) -> None:
    """An unknown lead or service, a database or a broker that is away: an exit code, no traceback."""
    gone = "postgresql://leadline:x@127.0.0.1:1/leadline"
    wrong = named(stack.database_url, "no_such_database")
    nobody = "amqp://guest:guest@127.0.0.1:1/"
    file = a_zoho_export(stack.folder / "zoho.csv")

    ran = await several(
        stack.run("lead", "show", "nobody"),
        stack.run("service", "gardener"),
        stack.run("import", "no-such-file.csv"),
        stack.run("stats", LEADLINE_DATABASE_URL=gone),
        stack.run("stats", LEADLINE_DATABASE_URL=wrong),
        stack.run("lead", "show", "L1", LEADLINE_DATABASE_URL="mysql://x"),
        stack.run("import", str(file), LEADLINE_AMQP_URL=nobody),
        stack.run("worker", "--once", LEADLINE_AMQP_URL=nobody),
        stack.run("setup", LEADLINE_AMQP_URL=nobody),
    )

    says = [
        "there is no lead 'nobody'",
        "there is no service 'gardener'",
        "no-such-file.csv",
        "LEADLINE_DATABASE_URL",
        "no_such_database",
        "LEADLINE_DATABASE_URL",
        "broker",
        "LEADLINE_AMQP_URL",
        "LEADLINE_AMQP_URL",
    ]
    wrongs = [problem for each, words in zip(ran, says, strict=True) for problem in problems(each, words)]
    assert wrongs == [], "\n".join(wrongs)
    assert [each.output for each in ran] == [""] * len(ran)


def problems(ran: Ran, words: str) -> list[str]:
    """What is wrong with how a command failed."""
    found = []
    if ran.code not in {1, 2}:
        found.append(f"exit code {ran.code}")
    if "Traceback" in ran.errors or len(ran.errors.strip().splitlines()) != 1:
        found.append("not one line")
    if words not in ran.errors:
        found.append(f"no {words!r}")
    return [f"{problem}: {ran.errors.strip()[-300:]}" for problem in found]


async def several(*runs: Awaitable[Ran]) -> list[Ran]:
    """Two at a time: each is a process of a second and a half."""
    gate = asyncio.Semaphore(2)

    async def one(run: Awaitable[Ran]) -> Ran:
        async with gate:
            return await run

    return list(await asyncio.gather(*(one(run) for run in runs)))


async def test_verify_says_what_is_missing(stack: Stack) -> None:
    """Exit code 1, and which: the broker, or the database."""
    away = await stack.run("verify", "--json", LEADLINE_AMQP_URL="amqp://guest:guest@127.0.0.1:1/")

    assert away.code == 1
    assert '"is_well": false' in away.output
    assert re.search(r'"what": "topology", "is_well": false', away.output)
    assert away.errors == ""


async def test_a_lead_that_waits_for_retry_is_reported(stack: Stack) -> None:
    """`worker --once` does not wait for the retry ladder, and says how many messages are on it."""
    await stack.publish("lead.created", a_lead(1))
    await stack.publish("lead.closed", {"lead_id": "unknown", "reason": "lost"})

    worked = (await stack.run("worker", "--once", "--json", within=120)).json

    assert await stack.count("assignments WHERE agent_id IS NOT NULL") == 1
    assert worked["waiting_for_retry"] in ({"retry.5s": 1}, {"retry.30s": 1})
    # By now it may have come back to its queue, where nobody consumes any more.
    await eventually(lambda: stack.ready("retry.5s", "retry.30s", "assigner"), within=30)
