"""What a person can mend, in one line: which errors, in which words, with which exit code.

Imported when something has gone wrong only: it knows every library's errors.
"""

from __future__ import annotations

from asyncpg import PostgresError
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from services.cli.configfile import ConfigError
from services.cli.failures import CommandError
from services.ingest.files import ImportFileError
from shared.messaging.broker import BROKER_ERRORS
from shared.messaging.publisher import PublishError
from shared.outage import DependencyGoneError
from shared.settings import SettingsError


def in_words(error: Exception) -> tuple[str, int] | None:
    """Give the line and the exit code; None for what nobody has foreseen."""
    if isinstance(error, SettingsError):
        return str(error), 2
    words = _words(error)
    return None if words is None else (words, 1)


def _words(error: Exception) -> str | None:
    match error:
        case CommandError() | ConfigError() | ImportFileError():
            return str(error)
        case PublishError():
            return f"{error}, see LEADLINE_AMQP_URL"
        case DependencyGoneError():
            return f"PostgreSQL does not answer, see LEADLINE_DATABASE_URL: {str(error).splitlines()[0]}"
        case SQLAlchemyError() | PostgresError():
            said = str(error.__cause__ or error).splitlines()[0]
            return f"the database refused: {said}; is it set up? `leadline setup`"
        case ValidationError():
            return str(error).splitlines()[0]
    return f"the broker does not answer, see LEADLINE_AMQP_URL: {error}" if isinstance(error, BROKER_ERRORS) else None
