"""The command: look, draw, wait, until Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from services.cli.monitor.looks import Look, look
from services.cli.monitor.screen import screen
from services.cli.output import show
from shared.db.session import Database, open_database
from shared.messaging.failures import Other, classify
from shared.process import stop_on_signals
from shared.settings import Settings, load_settings

INTERVAL_S = 30.0
SHORTEST_INTERVAL_S = 0.5


def monitor_command(
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=SHORTEST_INTERVAL_S)] = INTERVAL_S,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each look as a JSON object.")] = False,
) -> None:
    """Show queues, rates, agents as they stand in line, new assignments and the configuration, until Ctrl-C."""
    settings = load_settings()
    if once:
        _show(asyncio.run(_look_once(settings)), settings, as_json=as_json)
    elif as_json:
        asyncio.run(_print(settings, interval))
    else:
        asyncio.run(_draw(settings, interval))


async def _look_once(settings: Settings) -> Look:
    async with open_database(settings.database, application_name="leadline monitor") as database:
        return await look(database, settings.amqp_url, None)


def _show(seen: Look, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        show(seen, as_json=True)
    else:
        console = Console(highlight=False)
        console.print(screen(seen, settings.tz, height=console.height))


async def _print(settings: Settings, interval_s: float) -> None:
    async for seen, problem in _looks(settings, interval_s):
        if problem is None and seen is not None:
            show(seen, as_json=True)


async def _draw(settings: Settings, interval_s: float) -> None:
    console = Console(highlight=False)
    with Live(console=console, screen=console.is_terminal, auto_refresh=False, vertical_overflow="crop") as live:
        async for seen, problem in _looks(settings, interval_s):
            if seen is None:
                live.update(problem or "", refresh=True)
            else:
                live.update(screen(seen, settings.tz, height=console.height, problem=problem), refresh=True)


async def _looks(settings: Settings, interval_s: float) -> AsyncIterator[tuple[Look | None, str | None]]:
    """Look now and at every interval until a signal comes; while the database is away the last look, and why."""
    stop = stop_on_signals()
    seen: Look | None = None
    async with open_database(settings.database, application_name="leadline monitor") as database:
        while not stop.is_set():
            seen, problem = await _try(database, settings, seen)
            yield seen, problem
            try:
                await asyncio.wait_for(stop.wait(), interval_s)
            except TimeoutError:
                continue


async def _try(database: Database, settings: Settings, before: Look | None) -> tuple[Look | None, str | None]:
    try:
        return await look(database, settings.amqp_url, before), None
    except Exception as error:
        if isinstance(classify(error), Other):
            raise
        return before, f"PostgreSQL does not answer, tried again soon: {str(error).splitlines()[0]}"
