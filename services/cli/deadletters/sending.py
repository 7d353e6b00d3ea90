"""`replay`: from the question to the report."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from rich.console import Console

from services.cli.deadletters import replayrows
from services.cli.deadletters.actions import operator
from services.cli.deadletters.canary import Tally
from services.cli.deadletters.options import All, AsJson, AsOf, Yes, agree, named, on_selection, run
from services.cli.deadletters.replaying import Pace, Report, Run
from services.cli.deadletters.replayrows import Replay
from services.cli.deadletters.selection import Selection
from services.cli.failures import CommandError
from services.cli.output import show
from shared.db.session import Database
from shared.messaging.publisher import PublishError, open_publisher
from shared.outage import DependencyGoneError
from shared.process import stop_on_signals
from shared.settings import Settings

INTERRUPTED = 130


@on_selection
def replay(
    selection: Selection,
    is_all: All = False,
    resume: Annotated[int | None, typer.Option(help="Go on with a replay that was begun.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Messages a second after the canary.")] = 50,
    as_of: Annotated[AsOf, typer.Option(help="The day whose caps count.")] = AsOf.TODAY,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for the next outcome.")] = 600,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to the queue they came from: first 1, then 5, 20, 100, then the rest at --rate.

    It stops by itself when more than a tenth fails again; Ctrl-C interrupts it, --resume goes on.
    """
    if resume is None:
        agree("Replay", named(selection, is_all=is_all), yes=yes, how=f", with the caps of {as_of.value}")
    elif not selection.is_everything:
        raise CommandError("--resume goes with no selection: the replay has its own")
    pace = Pace(rate, patience)

    async def work(settings: Settings, database: Database) -> Report:
        begun = await _begun(database, selection, resume, as_of)
        try:
            async with _open_run(settings, database, begun, pace, is_shown=not as_json) as one_run:
                return await one_run.run()
        except (PublishError, DependencyGoneError) as error:
            raise CommandError(
                f"{error}; nothing is lost: go on with `leadline deadletters replay --resume {begun.id}`"
            ) from error

    report = run(work)
    show(report, as_json=as_json)
    _exit_as(report)


async def _begun(database: Database, selection: Selection, resume: int | None, as_of: AsOf) -> Replay:
    if resume is not None:
        return await replayrows.find(database, resume)
    plain = json.dumps(selection.plain())
    return await replayrows.freeze(database, selection, selected=plain, as_of=as_of.value, actor=operator())


@asynccontextmanager
async def _open_run(
    settings: Settings, database: Database, begun: Replay, pace: Pace, *, is_shown: bool
) -> AsyncIterator[Run]:
    console = Console(stderr=True)
    if is_shown:
        console.print(f"replay {begun.id}: Ctrl-C interrupts it, `--resume {begun.id}` goes on", highlight=False)
    with console.status("") as status:

        def tell(tally: Tally) -> None:
            if is_shown:
                status.update(
                    f"{tally.trusted + tally.through:,} through, {tally.failed:,} failed again,"
                    f" {tally.under_way:,} under way, {tally.waiting:,} to be sent"
                )

        async with open_publisher(settings.amqp_url, "deadletters") as publisher:
            yield Run(
                database,
                publisher,
                begun,
                pace,
                zone=settings.tz,
                actor=operator(),
                stop=stop_on_signals(),
                show=tell,
            )


def _exit_as(report: Report) -> None:
    match report.ended:
        case "interrupted":
            raise typer.Exit(INTERRUPTED)
        case "stopped" | "waiting":
            raise typer.Exit(1)
