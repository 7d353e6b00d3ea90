"""`leadline config lint [FILE]`: what is odd about a file, as if it were applied, or about what is applied.

A file is applied in a transaction that is rolled back, so that one which names half of a configuration is seen with the
other half. Pure rules look at what comes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.facts import Route
from services.assigner.queries.routes import read_members
from services.cli import config
from services.cli.configfile import ConfigFile
from services.cli.lintrules import LintWarning, lint
from services.cli.lintsetup import RouteSetup, Setup, expected
from services.cli.output import show
from shared.db.session import Database, open_database
from shared.settings import load_settings

DAYS = 14
#: What came in lately, and in how many days: fewer than `DAYS` where the first lead is younger.
ARRIVALS = text("""
    SELECT source_id, store_code, business_line_id, count(*) AS leads,
           greatest(1, ceil(extract(epoch FROM now() - min(min(received_at)) OVER ()) / 86400))::int AS days
    FROM leads WHERE duplicate_of IS NULL AND received_at > now() - make_interval(days => :days)
    GROUP BY source_id, store_code, business_line_id
""")


@dataclass(frozen=True, slots=True)
class LintReport:
    """What was looked at, and what is odd about it."""

    file: str | None
    routes: int
    warnings: Sequence[LintWarning]


def lint_command(
    file: Annotated[Path | None, typer.Argument(help="The YAML file; without one, what is applied.")] = None,
    leads_per_day: Annotated[
        int | None, typer.Option(min=0, help="Expect so many on every route, not as in the last 14 days.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if there is any warning.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Warn of what is allowed and hardly meant: caps of 0, routes that never match, more leads than places."""
    content = None if file is None else config.read_file(file)
    report = asyncio.run(_lint(content, None if file is None else str(file), leads_per_day))
    if as_json:
        show(report, as_json=True)
    else:
        show(_in_words(report), as_json=False)
    if strict and report.warnings:
        raise typer.Exit(1)


async def lint_config(
    database: Database, content: ConfigFile | None, *, file: str | None = None, leads_per_day: int | None = None
) -> LintReport:
    """Look at the configuration as it would be with a file's content applied. Raises ConfigError if it cannot be.

    With content it holds the locks of all routes for a moment, as an apply does; nothing is changed.
    """
    async with database.begin() as tx, tx.begin_nested() as trial:
        if content is not None:
            await config.apply_in(tx, content, actor="lint", file=file or "configuration")
        setup = await read_setup(tx, leads_per_day)
        await trial.rollback()
    return LintReport(file, len(setup.routes), lint(setup))


async def read_setup(tx: AsyncConnection, leads_per_day: int | None = None) -> Setup:
    """The configuration and what came in lately, as this transaction sees them."""
    content = await config.read_content(tx)
    setup = Setup(
        routes=[await _route_setup(tx, row) for row in content.rows["routes"].values()],
        sources={row["id"]: row["name"] for row in content.rows["sources"].values() if not row["is_new"]},
        stores={row["store_code"]: row["assign_leads"] for row in content.rows["stores"].values() if not row["is_new"]},
    )
    if leads_per_day is not None:
        return replace(setup, routes=[replace(each, leads_per_day=leads_per_day) for each in setup.routes])
    rows = (await tx.execute(ARRIVALS, {"days": DAYS})).all()
    if not rows:
        return setup
    return expected(
        setup, {(row.source_id, row.store_code, row.business_line_id): row.leads for row in rows}, rows[0].days
    )


async def _lint(content: ConfigFile | None, file: str | None, leads_per_day: int | None) -> LintReport:
    async with open_database(load_settings().database, application_name="leadline config") as database:
        return await lint_config(database, content, file=file, leads_per_day=leads_per_day)


async def _route_setup(tx: AsyncConnection, row: dict[str, Any]) -> RouteSetup:
    zone = ZoneInfo(row["zone"])
    names = ("id", "name", "source_id", "store_code", "business_line_id", "priority", "policy", "mode", "params")
    return RouteSetup(
        route=Route(**{name: row[name] for name in names}, zone=zone),
        members=await read_members(tx, row["id"], datetime.now(UTC).astimezone(zone).date()),
        schedule=row["schedule"] or (),
        is_enabled=row["is_enabled"],
    )


def _in_words(report: LintReport) -> str:
    found = [f"{each.where}: {each.what}.\n  What to do: {each.what_to_do}." for each in report.warnings]
    looked_at = f"{report.routes} routes" + (f" with {report.file} applied" if report.file else "")
    return "\n".join([*found, f"{len(found) or 'no'} warning{'' if len(found) == 1 else 's'}, {looked_at}"])
