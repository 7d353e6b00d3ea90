"""`groups`, `list`, `show` and `preview`: they change nothing."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from services.cli.deadletters import listing, preview, verdicts
from services.cli.deadletters.options import AsJson, AsOf, Group, Ids, Service, Since, Status, Until, run, selected
from services.cli.output import show
from shared.db.session import Database
from shared.settings import Settings, load_settings


def groups(service: Service = None, status: Status = Status.NEW, as_json: AsJson = False) -> None:
    """Count dead letters by what failed and where."""
    found = run(lambda _, database: listing.read_groups(database, status=status.value, service=service))
    show(found, as_json=as_json, zone=load_settings().tz)


def list_letters(  # noqa: PLR0913, PLR0917  # typer: a parameter an option
    ids: Ids = None,
    group: Group = None,
    service: Service = None,
    since: Since = None,
    until: Until = None,
    status: Annotated[Status | None, typer.Option(help="Only these; all where it is not given.")] = None,
    after: Annotated[int, typer.Option(help="The last id of the page before.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, a page at a time, in the order in which they came."""
    selection = selected(ids, group, service, since, until)
    wanted = status.value if status else None
    page = run(lambda _, database: listing.read_page(database, selection, status=wanted, after=after, limit=limit))
    show(page, as_json=as_json, zone=load_settings().tz)


def show_letter(row_id: Annotated[int, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one dead letter: why it died, headers, body, and what operators did to it."""
    whole = run(lambda _, database: listing.read_whole(database, row_id))
    if as_json:
        show(whole, as_json=True)
        return
    show({**whole.dead_letter, "headers": dict(whole.headers)}, as_json=False, zone=load_settings().tz)
    texts = {"body": whole.body, "original body": whole.original_body}
    for title, body in texts.items():
        if body is not None:
            sys.stdout.write(f"\n{title}:\n{_laid_out(body)}\n")
    show({"actions": whole.actions}, as_json=False, zone=load_settings().tz)


def _laid_out(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=True)
    except ValueError:
        return body.encode("unicode_escape").decode()


def preview_letters(
    ids: Ids = None,
    group: Group = None,
    service: Service = None,
    since: Since = None,
    until: Until = None,
    as_of: Annotated[AsOf, typer.Option(help="The day whose caps count.")] = AsOf.TODAY,
    as_json: AsJson = False,
) -> None:
    """Say what a replay would do now. Nothing is changed, printed or mailed, and nobody is held up."""
    selection = selected(ids, group, service, since, until)

    async def work(settings: Settings, database: Database) -> preview.Preview:
        zone = settings.tz if as_of is AsOf.ORIGINAL else None
        with Console(stderr=True).status("") as status:
            return await preview.preview(
                database,
                selection,
                preview.trials(settings),
                as_of_zone=zone,
                show=lambda tried: status.update(f"{tried:,} tried"),
            )

    found = run(work, deadline_s=preview.DEADLINE_S, server_settings=preview.SERVER_SETTINGS)
    if as_json:
        show(found, as_json=True)
        return
    show({"groups": [_counts(each) for each in found.groups]}, as_json=False)
    reasons = [{"group": each.group, **_plain(reason)} for each in found.groups for reason in each.reasons]
    show({"why": reasons}, as_json=False)


def _counts(group: verdicts.GroupPreview) -> dict[str, Any]:
    return {name: value for name, value in _plain(group).items() if name != "reasons"}


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
