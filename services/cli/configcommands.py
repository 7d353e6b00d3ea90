"""`leadline config apply` and `export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from services.cli import config
from services.cli.output import show

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def apply(
    file: Annotated[Path, typer.Argument(help="The YAML file.")],
    prune: Annotated[bool, typer.Option("--prune", help="Remove what the file's sections do not name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the configuration to what FILE says. What it does not name is left alone."""
    change = config.apply(file, prune)
    if as_json:
        show(change, as_json=True)
        return
    kinds = [
        {
            "what": kind,
            **{name: len(done) if not isinstance(done, int) else done for name, done in asdict(each).items()},
        }
        for kind, each in change.kinds.items()
    ]
    show({"routes_with_a_new_version": change.routes, "configuration": kinds}, as_json=False)


def export(file: Annotated[Path, typer.Argument(help="The YAML file to write.")], as_json: AsJson = False) -> None:
    """Write the configuration to FILE."""
    show(config.export(file), as_json=as_json)
