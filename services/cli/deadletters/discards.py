"""`discard` and `undo`: each is recorded with who did it."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.deadletters import discarding
from services.cli.deadletters.actions import operator
from services.cli.deadletters.options import All, AsJson, Yes, agree, named, on_selection, run
from services.cli.deadletters.selection import Selection
from services.cli.output import show


@on_selection
def discard(
    selection: Selection,
    reason: Annotated[str, typer.Option("--reason", help="Why nobody needs them any more.")],
    is_all: All = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put dead letters aside. `undo` brings them back, until they are old enough to go."""
    agree("Discard", named(selection, is_all=is_all), yes=yes)
    show(
        run(lambda _, database: discarding.discard(database, selection, reason=reason, actor=operator())),
        as_json=as_json,
    )


@on_selection
def undo(
    selection: Selection,
    is_all: All = False,
    is_lost: Annotated[
        bool, typer.Option("--lost", help="Bring back what is said to be under way: its queue was emptied or deleted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back what was discarded."""
    chosen = named(selection, is_all=is_all)
    show(
        run(lambda _, database: discarding.undo(database, chosen, actor=operator(), is_under_way=is_lost)),
        as_json=as_json,
    )
