"""The way from an empty database to the tables of `shared.db.models`, and back."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

# Alembic keeps what it works on in its module's globals: two of its commands in one process would take each other's.
_one_command = Lock()


def configuration(database_url: str) -> Config:
    """Alembic's configuration for this database; it needs no alembic.ini, so an installed package can do without."""
    config = Config(attributes={"database_url": database_url})
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def newest() -> str | None:
    """Name the revision that this version of the code works with."""
    return ScriptDirectory.from_config(configuration("")).get_current_head()


def upgrade(database_url: str) -> None:
    """Bring the database to the newest revision: all of it or, on an error, nothing.

    Whoever comes second waits, then finds nothing to do. It runs an event loop of its own: from async code call it
    by `asyncio.to_thread`.
    """
    with _one_command:
        command.upgrade(configuration(database_url), "head")


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take the database back to `revision`; at "base" nothing of ours is left but Alembic's own empty table."""
    with _one_command:
        command.downgrade(configuration(database_url), revision)
