"""Groups of commands that import a command only when it is run: `leadline` starts as fast as the command needs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, as `module:name`, a function or a Typer; and what a list of commands says of it."""

    target: str
    help: str

    def load(self, name: str) -> Any:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        with _uncollected():
            found = getattr(import_module(module), attribute)
        is_group = isinstance(found, typer.Typer)  # also one of a single command
        command = typer.main.get_group(found) if is_group else typer.main.get_command(_alone(found))
        command.name = name
        return command


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage while modules are imported, which make little, nor among them later: it takes a tenth of a
    short command's time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _alone(function: Any) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    return app


class LazyGroup(TyperGroup):
    """Lists its entries without importing them, and runs the one that is asked for."""

    entries: ClassVar[Mapping[str, Entry]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # Typer's
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Give what a list of commands shows."""
        entry = self.entries.get(cmd_name)
        return entry and TyperCommand(cmd_name, help=entry.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Give the command itself."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, self.entries[name or ""].load(name or ""), rest


def lazy_app(help_text: str, entries: Mapping[str, Entry], name: str | None = None) -> typer.Typer:
    """Give a group of these commands, listed in this order."""
    group: Any = type("Group", (LazyGroup,), {"entries": entries})
    app = typer.Typer(
        name=name,
        cls=group,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_nothing)
    return app


def _nothing() -> None:
    """Typer takes no group without a command or a callback of its own."""
