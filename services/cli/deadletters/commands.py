"""`leadline deadletters`: what operators do with messages that could not be handled."""

from __future__ import annotations

import typer

from services.cli.deadletters.changing import discard, edit, undo
from services.cli.deadletters.reading import groups, list_letters, preview_letters, show_letter
from services.cli.deadletters.sending import replay

app = typer.Typer(help="Messages that could not be handled.", no_args_is_help=True)

app.command()(groups)
app.command("list")(list_letters)
app.command("show")(show_letter)
app.command()(edit)
app.command("preview")(preview_letters)
app.command()(replay)
app.command()(discard)
app.command()(undo)
