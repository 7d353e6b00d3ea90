"""`replay`: from the question to the report."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from rich.console import Console

from services.cli.deadletters import discarding, replayrows
from services.cli.deadletters.actions import operator
from services.cli.deadletters.canary import Tally
from services.cli.deadletters.options import (
    All,
    AsJson,
    AsOf,
    Group,
    Ids,
    Service,
    Since,
    Until,
    Yes,
    confirm,
    named,
    run,
    selected,
    why_none,
)
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


def replay(  # noqa: PLR0913, PLR0917  # typer: a parameter an option
    ids: Ids = None,
    group: Group = None,
    service: Service = None,
    since: Since = None,
    until: Until = None,
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
    selection = selected(ids, group, service, since, until)
    if resume is None:
        _confirm_replay(named(selection, is_all=is_all), as_of, yes=yes)
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


def _confirm_replay(selection: Selection, as_of: AsOf, *, yes: bool) -> None:
    counts = run(lambda _, database: discarding.count(database, selection))
    new, under_way = counts.get("new", 0), counts.get("replaying", 0)
    if not new:
        raise CommandError(why_none(counts))
    left_out = f"; {under_way:,} are under way already and left out" if under_way else ""
    confirm(f"Replay {new:,} dead letters, with the caps of {as_of.value}{left_out}?", yes=yes)


def _exit_as(report: Report) -> None:
    match report.ended:
        case "interrupted":
            raise typer.Exit(INTERRUPTED)
        case "stopped" | "waiting":
            raise typer.Exit(1)
