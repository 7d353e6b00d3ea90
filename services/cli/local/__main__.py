"""`./run COMMAND`: everything on one machine."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated, NoReturn

import typer

from services.cli import output
from services.cli.local import benches, checks, fiveshow, stack, suite
from services.cli.local import demo as demonstration
from services.cli.local.failures import LocalError
from services.cli.local.nodes import STATE

app = typer.Typer(
    name="run",
    help="Leadline on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def up() -> None:
    """Start the stack in the background, or what of it has died."""
    endpoints = stack.up()
    typer.echo(f"Leadline is up. Mail: {endpoints.mail_dir}  Sheets: {endpoints.sheets_dir}")
    typer.echo(f"Filled-in sheets come back by {endpoints.drop_dir}")
    typer.echo(
        f"Console: {endpoints.api_url}/console/  API: {endpoints.api_url}/docs  Key to both: {endpoints.api_key}"
    )
    typer.echo(f"Where to reach it: {STATE / 'endpoints.json'}  Logs: {STATE / 'log'}  Stop: ./run down")


@app.command()
def down() -> None:
    """Stop the stack; its data stays."""
    stack.down()
    typer.echo("Leadline is down.")


@app.command()
def demo(
    leads: Annotated[int, typer.Option(min=1, help="How many messages to send.")] = demonstration.LEADS,
    five: Annotated[bool, typer.Option("--five", help="Five systems' ways to distribute, side by side.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Do the main job for real, with synthetic leads; the stack is left running."""
    if five:
        fiveshow.demo_five(leads, as_json=as_json)
        return
    summary, statistics = demonstration.demo(leads, is_quiet=as_json)
    if as_json:
        output.show(summary, as_json=True)
    else:
        demonstration.show(summary, statistics)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def test(context: typer.Context) -> None:
    """Run all tests, or those that the pytest arguments name."""
    raise typer.Exit(suite.run(context.args))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def chaos(context: typer.Context) -> None:
    """Kill everything under load, then check everything: --minutes N --seed S --leads L --kills K --json."""
    raise typer.Exit(suite.chaos(context.args))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(context: typer.Context) -> None:
    """Measure Leadline beside what others do; `--help` tells the parts and options."""
    raise typer.Exit(benches.run(context.args))


@app.command()
def check() -> None:
    """Format, lint, types, imports, migrations."""
    if not checks.check():
        raise typer.Exit(1)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does: it clears away what it has begun."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run one command; what goes wrong is one line on stderr."""
    signal.signal(signal.SIGTERM, _end)
    try:
        app(prog_name="./run")
    except LocalError as error:
        typer.echo(f"run: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        typer.echo(f"run: {error}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
