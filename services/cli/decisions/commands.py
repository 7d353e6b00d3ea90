"""The commands that look back on decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from services.cli.decisions import comparing, explaining, fairness, verifying
from services.cli.decisions.comparing import WhatIfAsked, param
from services.cli.decisions.plots import draw
from services.cli.output import show
from shared.db.session import Database, open_database
from shared.settings import load_settings

#: A statement may count all assignments there are.
DEADLINE_S = 300.0

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OfRoute = Annotated[str | None, typer.Option("--route", help="Only this route's.")]

decisions_app = typer.Typer(help="Decisions.", no_args_is_help=True)


@decisions_app.command("verify")
def verify_command(route: OfRoute = None, as_json: AsJson = False) -> None:
    """Run history again and hold everything stored against it; exit 1 if anything differs."""
    verified = _ask(lambda database: verifying.verify(database, route))
    show(verified, as_json=as_json)
    if verified.differences:
        raise typer.Exit(1)


def explain_command(
    lead_id: Annotated[str, typer.Argument(metavar="LEAD", help="The CRM's id.")], as_json: AsJson = False
) -> None:
    """Say who got a lead and why, why not the others, and what would have made each of them win."""
    told = _ask(lambda database: explaining.explain(database, lead_id))
    if as_json:
        show(told, as_json=True)
        return
    rows = [
        {"agent": each.agent, "why not": each.why_not, "would win with": each.would_win_with}
        for each in told.candidates
    ]
    parts = {name: value for name, value in asdict(told).items() if name != "candidates"}
    show({**parts, "candidates": rows or None}, as_json=False, zone=load_settings().tz)


def whatif_command(
    route: Annotated[str, typer.Option("--route", help="Whose past leads.")],
    policy: Annotated[str, typer.Option("--policy", help="Which policy to try.")],
    params: Annotated[
        list[str] | None, typer.Option("--param", metavar="K=V", help="A parameter of it; again for more.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="Compare from this day.")
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Draw the comparison, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a route's past leads by another policy, beside how they went; writes nothing but the picture."""
    asked = WhatIfAsked(route, policy, dict(map(param, params or ())), since.date() if since else None)
    compared = _ask(lambda database: comparing.what_if(database, asked))
    if png is not None:
        draw(compared, png)
    if as_json:
        show(compared, as_json=True)
        return
    rows = [
        {**asdict(each), "was_share": f"{each.was_share:.1%}", "would_share": f"{each.would_share:.1%}"}
        for each in compared.agents
    ]
    show({**asdict(compared), "agents": rows}, as_json=False)


def fairness_command(route: OfRoute = None, as_json: AsJson = False) -> None:
    """Hold what each member received against what it was entitled to, and a policy's promise against both."""
    found = _ask(lambda database: fairness.fairness(database, route))
    if as_json:
        show({"routes": [asdict(each) for each in found]}, as_json=True)
        return
    for each in found:
        show(each, as_json=False)


def _ask(question: Callable[[Database], Awaitable[T]]) -> T:
    settings = load_settings()

    async def answer() -> T:
        name = "leadline cli"
        async with open_database(settings.database, application_name=name, deadline_s=DEADLINE_S) as database:
            return await question(database)

    return asyncio.run(answer())
