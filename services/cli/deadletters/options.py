"""What the commands have in common: a selection and its options, a database, the question before something is done."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
import uvloop

from services.cli.deadletters import discarding, selection
from services.cli.deadletters.selection import Selection
from services.cli.failures import CommandError
from shared.db.session import Database, open_database
from shared.observability import configure_observability
from shared.settings import Settings, load_settings

NAME = "leadline deadletters"

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Ids = Annotated[list[int] | None, typer.Argument(help="Ids, as `list` shows them.")]
Group = Annotated[str | None, typer.Option("--group", help="One group, as `groups` names it.")]
Service = Annotated[str | None, typer.Option("--service", help="One service, or one queue.")]
Since = Annotated[str | None, typer.Option("--since", help="Died last at this time or later.")]
Until = Annotated[str | None, typer.Option("--until", help="Died last before this time.")]
All = Annotated[bool, typer.Option("--all", help="All there are.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
#: In the order in which `selection.selected` takes them.
SELECTING = {"ids": Ids, "group": Group, "service": Service, "since": Since, "until": Until}


class Status(StrEnum):
    """What has become of a dead letter."""

    NEW = "new"
    REPLAYING = "replaying"
    RESOLVED = "resolved"
    DISCARDED = "discarded"


class AsOf(StrEnum):
    """The day whose caps count."""

    ORIGINAL = "original"
    TODAY = "today"


def run(work: Callable[[Settings, Database], Coroutine[Any, Any, T]], **options: Any) -> T:
    settings = load_settings()
    configure_observability("deadletters", settings.model_copy(update={"log_level": "WARNING"}))

    async def with_database() -> T:
        async with open_database(settings.database, application_name=NAME, **options) as database:
            return await work(settings, database)

    return uvloop.run(with_database())


def on_selection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes a `selection` the argument and the options by which a person names one."""

    @wraps(command)
    def with_options(**options: Any) -> None:
        named_by = (options.pop(name) for name in SELECTING)
        command(selection=selection.selected(*named_by, zone=load_settings().tz), **options)

    hints = get_type_hints(command, include_extras=True)
    its_own = [each for name, each in inspect.signature(command).parameters.items() if name != "selection"]
    parameters = [
        *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in SELECTING),
        *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in its_own),
    ]
    hints = {**SELECTING, **{name: hint for name, hint in hints.items() if name != "selection"}}
    with_options.__annotations__ = hints
    with_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what Typer reads
        [each.replace(annotation=hints[each.name]) for each in parameters]
    )
    return with_options


def named(chosen: Selection, *, is_all: bool) -> Selection:
    """Refuse to do something to everything by mistake."""
    if chosen.is_everything and not is_all:
        raise CommandError("say which: ids, --group, --service, --since, --until, or --all")
    return chosen


def why_none(counts: dict[str, int]) -> str:
    if counts.get("replaying"):
        return f"all {counts['replaying']:,} that are not settled are under way already: wait, or --resume their replay"
    if counts:
        settled = ", ".join(f"{number:,} {status}" for status, number in sorted(counts.items()))
        return f"none of these is to be replayed: {settled}"
    return "there is no such dead letter; `leadline deadletters groups` shows what there is"


def agree(verb: str, chosen: Selection, *, yes: bool, how: str = "") -> None:
    """Ask a person whether to do it to those of the selection that are new. CommandError if there are none."""
    counts = run(lambda _, database: discarding.count(database, chosen))
    new, under_way = counts.get("new", 0), counts.get("replaying", 0)
    if not new:
        raise CommandError(why_none(counts))
    left_out = f"; {under_way:,} are under way already and left out" if under_way else ""
    confirm(f"{verb} {new:,} dead letters{how}{left_out}?", yes=yes)


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person; a script says --yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Nobody is there to answer: say --yes")
    typer.confirm(question, abort=True, err=True)
