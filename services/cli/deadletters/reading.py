"""`groups`, `list` and `show`: they change nothing."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from services.cli.deadletters import listing
from services.cli.deadletters.options import AsJson, Service, Status, on_selection, run
from services.cli.deadletters.selection import Selection
from services.cli.output import show
from shared.settings import load_settings


def groups(service: Service = None, status: Status = Status.NEW, as_json: AsJson = False) -> None:
    """Count dead letters by what failed and where."""
    found = run(lambda _, database: listing.read_groups(database, status=status.value, service=service))
    show(found, as_json=as_json, zone=load_settings().tz)


@on_selection
def list_letters(
    selection: Selection,
    status: Annotated[Status | None, typer.Option(help="Only these; all where it is not given.")] = None,
    after: Annotated[int, typer.Option(help="The last id of the page before.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, a page at a time, in the order in which they came."""
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
