"""The commands that look back, as people run them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.db.session import open_database
from tests.driving import execute
from tests.histories import History
from tests.pasts import names

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LEADLINE = [sys.executable, "-c", "from services.cli.main import main; main()"]


@pytest.fixture
def run(database_url: str) -> Run:
    def leadline(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LEADLINE_DATABASE_URL": database_url, "COLUMNS": "200"}
        return subprocess.run(
            [*LEADLINE, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return leadline


def prepare(database_url: str, statement: str | None = None) -> None:
    """A small past; or a change of what it left."""

    async def work() -> None:
        async with open_database(database_url) as database:
            if statement is not None:
                await execute(database, statement)
                return
            history = History(database)
            await history.add_agents({}, {"max_load": 2}, {})
            await history.add_route("all", *({"agent_id": number} for number in (1, 2, 3)), policy="fair")
            await history.arrive(*names(1, 8))

    asyncio.run(work())


def found(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_verify_tells_what_it_verified_and_fails_over_a_difference(database_url: str, run: Run) -> None:
    prepare(database_url)

    assert found(run("decisions", "verify", "--json")) == {
        "routes": 1,
        "decisions": 1,
        "leads": 8,
        "assigned": 8,
        "differences": 0,
        "found": [],
    }
    prepare(database_url, "UPDATE decisions SET choices = jsonb_set(choices, '{4}', '2')")
    done = run("decisions", "verify")
    assert done.returncode == 1
    assert "is stored as agent 0002; taken again it comes out as agent 0001" in done.stdout
    assert "L4" in done.stdout


def test_explain_prints_a_table_and_json(database_url: str, run: Run) -> None:
    prepare(database_url)

    told = found(run("explain", "L7", "--json"))
    words = run("explain", "L7").stdout

    assert (told["agent"], told["route"]) == ("0001", "all")
    assert {each["agent"]: each["code"] for each in told["candidates"]}["0002"] == "full"
    for part in ("would win with", "agent at capacity", "0003", told["why"]):
        assert part in words
    refused = run("explain", "nobody")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert "there is no lead 'nobody'" in refused.stderr


def test_what_if_prints_and_draws(database_url: str, run: Run, tmp_path: Path) -> None:
    prepare(database_url)
    picture = tmp_path / "picture.png"

    asked = ("whatif", "--route", "all", "--policy", "fair", "--param", "newcomers=average")
    compared = found(run(*asked, "--json", "--png", str(picture), "--since", "2026-01-01"))
    words = run("whatif", "--route", "all", "--policy", "first_fit").stdout

    assert compared["moved"] == 0
    assert compared["params"] == {"newcomers": "average"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    for part in ("Jain's index", "caps hit", "unassigned", "spread", "first_fit"):
        assert part in words


def test_fairness_prints_every_route(database_url: str, run: Run) -> None:
    prepare(database_url)

    (route,) = found(run("fairness", "--json"))["routes"]
    words = run("fairness", "--route", "all").stdout

    assert (route["next"], route["holds"], route["leads"]) == ("0001", True, 8)
    for part in ("entitled", "joined later", "at most 1 lead apart", "0003"):
        assert part in words
