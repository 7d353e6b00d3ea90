"""`leadline service` and `worker`: services from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
import uvloop

from services.cli import services
from services.cli.failures import CommandError
from services.cli.output import show
from shared.observability import configure_observability
from shared.process import run_service
from shared.settings import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def service(
    name: Annotated[str, typer.Argument(help=", ".join(services.NAMES))],
    once: Annotated[bool, typer.Option("--once", help="Stop when its queue is empty.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run one service until stopped."""
    serve = services.serve_of(name)
    if once:
        _work([name], as_json=as_json)
    else:
        run_service(name, serve)


def worker(
    once: Annotated[
        bool, typer.Option("--once", help="Required: services run for good as `leadline service`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run all services until every queue is empty."""
    if not once:
        raise CommandError("`leadline worker` goes with --once; for good, run each `leadline service NAME`")
    _work(tuple(services.QUEUES), as_json=as_json)


def _work(names: Sequence[str], *, as_json: bool) -> None:
    settings = load_settings()
    configure_observability("worker", settings)
    show(uvloop.run(services.work_once(settings, names)), as_json=as_json)
