"""The command line imports a command when it is run, and lists them all without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from typer.testing import CliRunner

from services.cli import main
from services.cli.deadletters import commands as deadletters
from services.cli.lazily import Entry

ALL = [
    (name, entry)
    for entries in (main.COMMANDS, main.CONFIG, main.LEAD, deadletters.COMMANDS)
    for name, entry in entries.items()
]
HEAVY = "{'sqlalchemy', 'aio_pika', 'alembic', 'reportlab', 'services.ingest.consumer', 'services.assigner.deciding'}"


@pytest.mark.parametrize(("name", "entry"), ALL, ids=lambda value: value if isinstance(value, str) else "")
def test_every_entry_is_a_command(name: str, entry: Entry) -> None:
    """It can be loaded under its name, and says of itself what the list says of it, or more."""
    command = entry.load(name)
    assert command.name == name
    assert command.help


@pytest.mark.parametrize("module", ["services.cli.main", "services.cli.deadletters.commands"])
def test_a_list_of_commands_imports_none(module: str) -> None:
    assert imported(f"import {module}", HEAVY) == "set()\n"


def test_groups_needs_a_database_and_no_service() -> None:
    """Nor the broker's client: it is used while something is on fire."""
    heavy = HEAVY.replace("'sqlalchemy', ", "")
    assert imported("import services.cli.deadletters.reading", heavy) == "set()\n"


def imported(statement: str, modules: str) -> str:
    program = f"{statement}; import sys; print({modules} & set(sys.modules))"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("arguments", "entries"), [([], main.COMMANDS), (["config"], main.CONFIG)])
def test_help_lists_the_commands(arguments: list[str], entries: Mapping[str, Entry]) -> None:
    shown = CliRunner().invoke(main.app, [*arguments, "--help"]).output
    assert all(name in shown for name in entries)


@pytest.mark.parametrize("group", ["config", "lead", "lot", "decisions", "sheets", "deadletters"])
def test_a_group_is_one_even_of_a_single_command(group: str) -> None:
    shown = CliRunner().invoke(main.app, [group, "--help"]).output
    assert "COMMAND [ARGS]..." in shown


def test_an_unknown_command_is_refused() -> None:
    shown = CliRunner().invoke(main.app, ["deadleters"])
    assert shown.exit_code == 2
    assert "No such command 'deadleters'" in shown.output
