"""Logs: an event name and fields, as JSON in production and coloured at a terminal. No personal data goes in."""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.errors import described
from shared.settings import Settings

LIBRARIES_THAT_TALK = ("aio_pika", "aiormq", "asyncio", "httpx", "sqlalchemy.pool", "sqlalchemy.engine")


def configure_observability(service: str, settings: Settings) -> None:
    """Send structlog and the standard library's logs to standard error, and to `log_file` as JSON when it is set."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _describe_error,
    ]
    root = logging.getLogger()
    root.handlers = [_handler(sys.stderr, shared, is_json=not sys.stderr.isatty())]
    if settings.log_file is not None:
        settings.log_file.parent.mkdir(parents=True, exist_ok=True)
        root.addHandler(_handler(settings.log_file.open("a", encoding="utf-8"), shared, is_json=True))
    root.setLevel(settings.log_level.upper())
    silence_libraries()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    sys.excepthook = _log_the_end


def silence_logs() -> None:
    """For a command, which says what went wrong itself, in one line; a service that it runs configures its own."""
    silence_libraries()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def silence_libraries() -> None:
    """Keep libraries from telling what we tell ourselves, where it is handled."""
    for name in LIBRARIES_THAT_TALK:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _describe_error(_: WrappedLogger, __: str, entry: EventDict) -> EventDict:
    """Put what may be told of an error in the place of its traceback, whose text may hold a row."""
    match entry.pop("exc_info", None):
        case BaseException() as error:
            entry["exception"] = described(error)
        case (_, BaseException() as error, _):
            entry["exception"] = described(error)
        case True if (current := sys.exception()) is not None:
            entry["exception"] = described(current)
    return entry


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an error that ends the process as of any other."""
    if isinstance(error, Exception):
        structlog.get_logger(__name__).critical("process.died", exc_info=error)
    else:
        sys.__excepthook__(kind, error, trace)


def _handler(stream: TextIO, shared: list[Processor], *, is_json: bool) -> logging.Handler:
    renderer: list[Processor] = [structlog.processors.JSONRenderer()] if is_json else [structlog.dev.ConsoleRenderer()]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    return handler
