"""`discard` and `undo`: each is recorded with who did it."""

from __future__ import annotations

from typing import Annotated

import typer

from services.cli.deadletters import discarding
from services.cli.deadletters.actions import operator
from services.cli.deadletters.options import (
    All,
    AsJson,
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
from services.cli.failures import CommandError
from services.cli.output import show


def discard(  # noqa: PLR0913, PLR0917  # typer: a parameter an option
    reason: Annotated[str, typer.Option("--reason", help="Why nobody needs them any more.")],
    ids: Ids = None,
    group: Group = None,
    service: Service = None,
    since: Since = None,
    until: Until = None,
    is_all: All = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put dead letters aside. `undo` brings them back, until they are old enough to go."""
    selection = named(selected(ids, group, service, since, until), is_all=is_all)
    counts = run(lambda _, database: discarding.count(database, selection))
    if not counts.get("new"):
        raise CommandError(why_none(counts))
    confirm(f"Discard {counts['new']:,} dead letters?", yes=yes)
    show(
        run(lambda _, database: discarding.discard(database, selection, reason=reason, actor=operator())),
        as_json=as_json,
    )


def undo(  # typer: a parameter an option
    ids: Ids = None,
    group: Group = None,
    service: Service = None,
    since: Since = None,
    until: Until = None,
    is_all: All = False,
    is_lost: Annotated[
        bool, typer.Option("--lost", help="Bring back what is said to be under way: its queue was emptied or deleted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back what was discarded."""
    selection = named(selected(ids, group, service, since, until), is_all=is_all)
    show(
        run(lambda _, database: discarding.undo(database, selection, actor=operator(), is_under_way=is_lost)),
        as_json=as_json,
    )
