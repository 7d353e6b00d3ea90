"""Fairness: what each member received against what it was entitled to, and whether the policy keeps its promise."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request
from sqlalchemy import text
from starlette.responses import Response

from services.api.console import rendering
from services.api.console.guarding import Page, Viewing
from services.api.console.pages.fields import WordQuery
from services.api.problems import said
from services.api.state import SharedState
from services.cli.decisions.fairness import RouteFairness, fairness
from services.cli.standings import Line, read_lines

router = APIRouter(prefix="/console", route_class=Page)

#: The replay of a route's history is what it costs: routes beyond these are shown one at a time.
AT_ONCE = 6
NAMES = text("SELECT name FROM routes WHERE is_enabled ORDER BY name")


@router.get("/fairness")
async def fairness_page(request: Request, _: Viewing, shared: SharedState, route: WordQuery = None) -> Response:
    """Show all routes, or one."""
    async with shared.database.reading() as connection:
        names = list((await connection.execute(NAMES)).scalars())
    shown = [route] if route else names[:AT_ONCE]
    with said(404):
        found = [each for name in shown for each in await fairness(shared.database, name)]
    lines = {line.route: line for line in await read_lines(shared.database)}
    return await rendering.page(
        request, "fairness.html", routes=found, names=names, asked=route, lines=lines, spreads=_spreads(found, lines)
    )


def _spreads(found: list[RouteFairness], lines: Mapping[str, Line]) -> dict[str, int | None]:
    """Give how far those who may get leads now are apart."""
    return {each.route: _spread(lines.get(each.route)) for each in found}


def _spread(line: Line | None) -> int | None:
    if line is None or line.most is None or line.least is None:
        return None
    return line.most - line.least
