"""`leadline lead show` and `stats`: what is there."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from services.cli.leads import Story, read_story
from services.cli.output import show
from services.cli.statistics import Statistics, read_statistics
from shared.db.session import open_database
from shared.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show_lead(lead_id: Annotated[str, typer.Argument(help="The CRM's id.")], as_json: AsJson = False) -> None:
    """Tell one lead's whole story."""
    settings = load_settings()

    async def story() -> Story:
        async with open_database(settings.database, application_name="leadline cli") as database:
            return await read_story(database, lead_id)

    found = asyncio.run(story())
    if as_json:
        show(found, as_json=True)
    else:
        show({**found.lead, "history": found.history, "documents": found.documents}, as_json=False, zone=settings.tz)


def stats(as_json: AsJson = False) -> None:
    """Count what has happened so far, and who is next."""
    settings = load_settings()

    async def statistics() -> Statistics:
        async with open_database(settings.database, application_name="leadline cli") as database:
            return await read_statistics(database)

    show(asyncio.run(statistics()), as_json=as_json, zone=settings.tz)
