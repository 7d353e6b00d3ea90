"""`config lint` on a real database: of a file as if it were applied, and of what is applied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from services.cli.config import apply_config
from services.cli.configfile import read
from services.cli.lint import LintReport, lint_config
from services.cli.main import app
from shared.db.session import Database

FUNNEL = """
sources: [META, WA-FUNNEL]
agents: [{code: "0001", name: Asha}, {code: "0002", name: Bruno, max_load: 0}]
routes:
  - {name: funnel, source: WA-FUNNEL, policy: even_split, schedule: "20:40", members: ["0001"]}
  - {name: rest, members: ["0001"]}
"""


async def apply(database: Database, content: str) -> None:
    await apply_config(database, read(content, file="f.yaml"), actor="asha", file="f.yaml")


async def run(database: Database, statement: str) -> None:
    async with database.begin() as tx:
        await tx.execute(text(statement))


async def size(database: Database) -> tuple[int, ...]:
    """How many rows there are of what an apply writes."""
    tables = ("routes", "route_members", "route_versions", "agents", "agent_counters", "outbox", "audit_logs")
    async with database.begin() as tx:
        counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        return tuple((await tx.execute(text(f"SELECT {counts}"))).one())


def found(report: LintReport) -> list[tuple[str, str]]:
    return [(warning.rule, warning.where) for warning in report.warnings]


async def test_what_is_applied(database: Database) -> None:
    """Nothing odd, then a member whose agent can have no lead."""
    await apply(database, FUNNEL)
    assert found(await lint_config(database, None)) == []
    await apply(database, "routes: [{name: rest, members: ['0002']}]")
    assert found(await lint_config(database, None)) == [("effective cap of 0", "route rest, member 0002 Bruno")]


async def test_a_file_is_looked_at_as_if_it_were_applied(database: Database) -> None:
    """On top of what is there, and nothing of it stays."""
    await apply(database, FUNNEL)
    before = await size(database)
    more = 'agents: [{code: "0003", name: Chitra}]\nroutes: [{name: more, priority: 200, members: ["0003", "0002"]}]'
    report = await lint_config(database, read(more, file="more.yaml"), file="more.yaml")
    assert (report.file, report.routes) == ("more.yaml", 3)
    assert found(report) == [
        ("effective cap of 0", "route more, member 0002 Bruno"),
        ("route that never matches", "route more"),
    ]
    assert await size(database) == before


async def test_expected_leads_are_what_came_in_lately(database: Database) -> None:
    """The leads of the last 14 days by the route that takes them, a day; or a number that a person gives."""
    await apply(database, FUNNEL)
    await run(
        database,
        "INSERT INTO leads (lead_id, source_id, created_at, received_at)"
        " SELECT 'W' || number, id, now(), now() - interval '9 days' * (number % 2)"
        " FROM sources, generate_series(1, 4600) AS number WHERE name = 'WA-FUNNEL'",
    )
    (warning,) = (await lint_config(database, None)).warnings
    assert warning.what == "1 × 450 a lot < 460 a day: lead 451 waits"  # noqa: RUF001
    assert (await lint_config(database, None, leads_per_day=450)).warnings == []
    (warning,) = (await lint_config(database, None, leads_per_day=5_100)).warnings
    assert warning.what == "1 × 450 a lot < 5,100 a day: lead 451 waits"  # noqa: RUF001


async def test_a_newcomer_who_would_be_flooded(database: Database) -> None:
    """A file that lets an agent join at 0 beside one with many leads; where it joins at the lowest, nothing is said."""
    await apply(database, FUNNEL.replace(", max_load: 0", ""))
    await run(database, "UPDATE member_counters SET assigned_count = 300")
    for newcomers, rules in (("zero", ["newcomers flooded"]), ("lowest", []), ("average", [])):
        file = read(
            f"routes: [{{name: rest, params: {{newcomers: {newcomers}}}, members: ['0001', '0002']}}]", file="f"
        )
        report = await lint_config(database, file)
        assert [warning.rule for warning in report.warnings] == rules
    assert [warning.what for warning in (await lint_config(database, None)).warnings] == []


def test_the_command(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The examples are in order; warnings are for people and as JSON, and an error only with --strict."""
    monkeypatch.setenv("LEADLINE_DATABASE_URL", database_url)
    for example in ("start", "five-systems"):
        clean = CliRunner().invoke(app, ["config", "lint", f"examples/{example}.yaml", "--strict", "--json"])
        assert json.loads(clean.stdout)["warnings"] == []
        assert clean.exit_code == 0
    file = tmp_path / "odd.yaml"
    file.write_text("routes: [{name: r, policy: weighted_random, schedule: every 5 minutes}]")
    for options, code in (((), 0), (("--strict",), 1)):
        result = CliRunner().invoke(app, ["config", "lint", str(file), *options])
        assert result.exit_code == code
        assert "route r: it assigns leads as they come; its schedule does nothing." in result.stdout
        assert "What to do: write mode: lot, or remove the schedule." in result.stdout
    nothing = CliRunner().invoke(app, ["config", "lint"])
    assert nothing.stdout.strip() == "no warnings, 0 routes"
