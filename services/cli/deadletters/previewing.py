"""`preview`: what a replay would do now. It changes nothing."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from services.cli.deadletters import preview, verdicts
from services.cli.deadletters.options import AsJson, AsOf, on_selection, run
from services.cli.deadletters.selection import Selection
from services.cli.output import show
from shared.db.session import Database
from shared.settings import Settings


@on_selection
def preview_letters(
    selection: Selection,
    as_of: Annotated[AsOf, typer.Option(help="The day whose caps count.")] = AsOf.TODAY,
    as_json: AsJson = False,
) -> None:
    """Say what a replay would do now. Nothing is changed, printed or mailed, and nobody is held up."""

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
