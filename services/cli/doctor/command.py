"""`leadline doctor`: what is wrong, where, and what to do."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from services.cli.doctor.brokers import examine_broker
from services.cli.doctor.databases import examine_database
from services.cli.doctor.findings import Examination, examination
from services.cli.doctor.running import ready_urls
from services.cli.doctor.surroundings import examine_surroundings
from services.cli.doctor.tellers import tellers_of
from services.cli.output import show
from shared.db.session import open_database
from shared.settings import Settings, load_settings


async def examine(settings: Settings, services: dict[str, str]) -> Examination:
    """Look at everything; change nothing. `services`: where each tells whether it is ready."""
    async with open_database(settings.database, application_name="leadline doctor") as database:
        found = await asyncio.gather(
            examine_broker(settings.amqp_url, tellers_of(settings)),
            examine_database(database),
            examine_surroundings(settings, services),
        )
    return examination([finding for each in found for finding in each])


def doctor_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look for what is wrong, and say where and what to do; exit 1 if there is any problem."""
    settings = load_settings()
    found = asyncio.run(examine(settings, ready_urls(settings.amqp_url)))
    show(found, as_json=as_json)
    if not found.is_well:
        raise typer.Exit(1)
