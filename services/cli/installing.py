"""`leadline setup` and `verify`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from services.cli import installation
from services.cli.output import show
from shared.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def setup(
    migrate_queues: Annotated[
        bool, typer.Option("--migrate-queues", help="Move queues that exist with other arguments; loses no message.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="With --migrate-queues: seconds to wait for consumers to stop.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Migrate the database and declare the queues; again is no harm."""
    settings = load_settings()
    moves = installation.set_up(
        settings, migrates_queues=migrate_queues, wait_s=wait, warn=lambda said: typer.echo(said, err=True)
    )
    for moved in moves:
        typer.echo(f"moved {moved.queue}: {moved.aside} messages aside, {moved.back} back", err=True)
    show(asyncio.run(installation.verify(settings)), as_json=as_json)


def verify(as_json: AsJson = False) -> None:
    """Check database and queues; exit 1 if something is missing."""
    verification = asyncio.run(installation.verify(load_settings()))
    show(verification, as_json=as_json)
    if not verification.is_well:
        raise typer.Exit(1)
