"""Logs: an event name and fields, as JSON in production and coloured at a terminal. No personal data goes in."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor

from shared.settings import Settings

LIBRARIES_THAT_TALK = ("aio_pika", "aiormq", "asyncio", "sqlalchemy.pool", "sqlalchemy.engine")


def configure_observability(service: str, settings: Settings) -> None:
    """Send structlog and the standard library's logs to standard error, and to `log_file` as JSON when it is set."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
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


def silence_libraries() -> None:
    """Keep libraries from telling what we tell ourselves, where it is handled."""
    for name in LIBRARIES_THAT_TALK:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _handler(stream: TextIO, shared: list[Processor], *, is_json: bool) -> logging.Handler:
    renderer: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if is_json
        else [structlog.dev.ConsoleRenderer()]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    return handler
