"""Routes: who is on them and how they stand; caps and weights, changed with a look at what is odd about it; what-if."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from services.api import configuring, etags
from services.api.console import rendering
from services.api.console.guarding import Operating, Page, Viewing, done
from services.api.console.pages.changing import ask, new_warnings
from services.api.console.pages.fields import WordQuery, blank
from services.api.fields import Word
from services.api.problems import FieldProblem, ProblemError, said
from services.api.routes.routing import list_routes
from services.api.state import SharedState
from services.assigner.policies import POLICIES
from services.cli import config
from services.cli.configfile import Member, Route
from services.cli.decisions.comparing import Compared, WhatIfAsked, param, what_if
from services.cli.lint import lint_config
from services.cli.standings import read_lines
from shared.db.session import open_database

router = APIRouter(prefix="/console", route_class=Page)

#: A what-if takes all of a route's past.
WHAT_IF_WITHIN_S = 60.0
#: Of a member, what a form changes.
NUMBERS = ("weight", "priority", "max_daily_leads", "max_existing_per_lot", "max_new_per_lot")
#: Of more agents, those for whom most would change.
PLOTTED = 40

Since = Annotated[date | None, blank, Query()]


@router.get("/routes")
async def routes_page(request: Request, person: Viewing, shared: SharedState) -> Response:
    """List the routes, who is next on each, and what is odd about the configuration."""
    routes = await list_routes(person, shared)
    lines = {line.route: line for line in await read_lines(shared.database)}
    report = await lint_config(shared.database, None)
    return await rendering.page(request, "routes.html", routes=routes, lines=lines, warnings=report.warnings)


@router.get("/routes/{name:path}/whatif")
async def whatif_page(
    request: Request,
    name: Word,
    _: Viewing,
    shared: SharedState,
    policy: WordQuery = None,
    parameter: WordQuery = None,
    since: Since = None,
) -> Response:
    """Show what another policy would have done with a route's past leads; nothing is written."""
    compared = None
    if policy is not None:
        params = dict([param(parameter)]) if parameter else {}
        async with open_database(
            shared.settings.database, application_name="leadline console what-if", deadline_s=WHAT_IF_WITHIN_S
        ) as database:
            with said(422):
                compared = await what_if(database, WhatIfAsked(name, policy, params, since))
    asked = {"policy": policy, "parameter": parameter, "since": since}
    return await rendering.page(
        request,
        "whatif.html",
        name=name,
        asked=asked,
        policies=list(POLICIES),
        compared=compared,
        shares=_plotted(compared) if compared else [],
    )


@router.get("/routes/{name:path}")
async def route_page(request: Request, name: Word, _: Viewing, shared: SharedState) -> Response:
    """Show one route: its settings, and its members with what they may get and how they stand."""
    async with shared.database.begin() as tx:
        route = _named(await config.routes_in(tx), name)
    line = next((each for each in await read_lines(shared.database) if each.route == name), None)
    standings = {(each.agent, each.store): each for each in line.members} if line else {}
    return await rendering.page(
        request,
        "route.html",
        route=route,
        line=line,
        standings=standings,
        params=json.dumps(route.params),
        version=etags.etag_of(route),
        numbers=NUMBERS,
    )


@router.post("/routes/{name:path}")
async def change_route(request: Request, name: Word, person: Operating, shared: SharedState) -> Response:
    """Change members, once what is odd about it was seen; refused where somebody else has changed the route since."""
    form = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
    changed = {"name": name, "enabled": form.get("enabled") == "on", "members": _members(form)}
    if form.get("confirmed") != "yes" and (warnings := await new_warnings(shared.database, routes=[changed])):
        return await ask(request, f"route {name}", warnings, form)
    async with configuring.changing(shared.database, person) as tx:
        before = _named(await config.routes_in(tx), name)
        etags.hold(form.get("version"), before, is_required=True)
        await configuring.apply(tx, person, routes=[changed])
        is_same = _named(await config.routes_in(tx), name) == before
    what = "Nothing was different" if is_same else "Changed"
    return await done(shared, person, f"{what}: route {name}.", f"/console/routes/{quote(name)}")


def _named(routes: list[Route], name: str) -> Route:
    found = next((each for each in routes if each.name == name), None)
    if found is None:
        raise ProblemError(404, f"there is no route {name!r}")
    return found


def _members(form: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read the rows of the form: each has an agent, its store, its numbers, and whether it takes part."""
    members = []
    for row in sorted(key.partition("-")[2] for key in form if key.startswith("agent-")):
        numbers = {each: form.get(f"{each}-{row}", "").strip() or None for each in NUMBERS}
        entry = {
            "agent": form[f"agent-{row}"],
            "store": form.get(f"store-{row}") or None,
            "enabled": form.get(f"enabled-{row}") == "on",
            **{name: value for name, value in numbers.items() if value is not None or name.startswith("max_")},
        }
        try:
            Member.model_validate(entry)
        except ValidationError as error:
            wrong = [
                FieldProblem(field=f"{entry['agent']}: {each['loc'][0]}", problem=each["msg"])
                for each in error.errors()
            ]
            raise ProblemError(422, "the members cannot be so", errors=wrong) from None
        members.append(entry)
    return members


def _plotted(compared: Compared) -> list[Any]:
    shares = sorted(compared.agents, key=lambda each: -abs(each.difference))[:PLOTTED]
    return sorted(shares, key=lambda each: each.agent)
