"""The `leadline` command. Each command gives a value; `output` prints it; an error is one line."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from services.cli import config, installation, keys, services, sheets
from services.cli.assigning import assign_command
from services.cli.configfile import ConfigError
from services.cli.deadletters.commands import app as deadletters_app
from services.cli.decisions.commands import decisions_app, explain_command, fairness_command, whatif_command
from services.cli.failures import CommandError
from services.cli.importing import import_command
from services.cli.leads import Story, read_story
from services.cli.lint import lint_command
from services.cli.lots import lot_app
from services.cli.monitor.command import monitor_command
from services.cli.output import show
from services.cli.schema import schema_command
from services.cli.statistics import Statistics, read_statistics
from services.ingest.files import ImportFileError
from services.simulator.command import simulate_command
from shared.db.session import open_database
from shared.messaging.broker import BROKER_ERRORS
from shared.messaging.publisher import PublishError
from shared.observability import configure_observability, silence_libraries
from shared.outage import DependencyGoneError
from shared.process import run_service
from shared.settings import SettingsError, load_settings

app = typer.Typer(
    name="leadline",
    help="Distribute leads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Configuration: one YAML file.", no_args_is_help=True)
lead_app = typer.Typer(help="Leads.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(lead_app, name="lead")
app.add_typer(decisions_app, name="decisions")
app.add_typer(lot_app, name="lot")
app.command("assign")(assign_command)
app.command("monitor")(monitor_command)
app.add_typer(deadletters_app, name="deadletters")
app.add_typer(sheets.app, name="sheets")
app.add_typer(keys.app, name="key")
app.command("import")(import_command)
app.command("simulate")(simulate_command)
app.command("schema")(schema_command)
config_app.command("lint")(lint_command)
app.command("explain")(explain_command)
app.command("fairness")(fairness_command)
app.command("whatif")(whatif_command)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def setup(as_json: AsJson = False) -> None:
    """Migrate the database and declare the queues; again is no harm."""
    settings = load_settings()
    installation.set_up(settings)
    show(asyncio.run(installation.verify(settings)), as_json=as_json)


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Check database and queues; exit 1 if something is missing."""
    verification = asyncio.run(installation.verify(load_settings()))
    show(verification, as_json=as_json)
    if not verification.is_well:
        raise typer.Exit(1)


@config_app.command("apply")
def config_apply(
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


@config_app.command("export")
def config_export(
    file: Annotated[Path, typer.Argument(help="The YAML file to write.")], as_json: AsJson = False
) -> None:
    """Write the configuration to FILE."""
    show(config.export(file), as_json=as_json)


@lead_app.command("show")
def lead_show(lead_id: Annotated[str, typer.Argument(help="The CRM's id.")], as_json: AsJson = False) -> None:
    """Tell one lead's whole story."""
    settings = load_settings()

    async def story() -> Story:
        async with open_database(settings.database, application_name="leadline cli") as database:
            return await read_story(database, lead_id)

    found = asyncio.run(story())
    if as_json:
        show(found, as_json=True)
    else:
        show({**found.lead, "history": found.history, "documents": found.documents}, as_json=False, zone=settings.tz)


@app.command()
def stats(as_json: AsJson = False) -> None:
    """Count what has happened so far, and who is next."""
    settings = load_settings()

    async def statistics() -> Statistics:
        async with open_database(settings.database, application_name="leadline cli") as database:
            return await read_statistics(database)

    show(asyncio.run(statistics()), as_json=as_json, zone=settings.tz)


@app.command("service")
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


@app.command()
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


def _work(names: tuple[str, ...] | list[str], *, as_json: bool) -> None:
    settings = load_settings()
    configure_observability("worker", settings)
    show(uvloop.run(services.work_once(settings, names)), as_json=as_json)


def main() -> None:
    """Run a command; whatever a person can mend is one line on standard error, and exit code 1 or 2."""
    silence_libraries()
    try:
        app()
    except SettingsError as error:
        _exit(str(error), 2)
    except (CommandError, ConfigError, ImportFileError) as error:
        _exit(str(error), 1)
    except PublishError as error:
        _exit(f"{error}, see LEADLINE_AMQP_URL", 1)
    except DependencyGoneError as error:
        _exit(f"PostgreSQL does not answer, see LEADLINE_DATABASE_URL: {str(error).splitlines()[0]}", 1)
    except SQLAlchemyError as error:
        _exit(
            f"the database refused: {str(error.__cause__ or error).splitlines()[0]}; is it set up? `leadline setup`", 1
        )
    except BROKER_ERRORS as error:
        _exit(f"the broker does not answer, see LEADLINE_AMQP_URL: {error}", 1)
    except ValidationError as error:
        _exit(str(error).splitlines()[0], 1)


def _exit(message: str, code: int) -> None:
    print(f"leadline: {message}", file=sys.stderr)
    sys.exit(code)
