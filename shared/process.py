"""A service as a process: settings, logs, signals, one coroutine, an exit code."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable

import uvloop

from shared.observability import configure_observability
from shared.settings import Settings, SettingsError, load_settings

Serve = Callable[[Settings, asyncio.Event], Awaitable[None]]


def run_service(name: str, serve: Serve) -> None:
    """Run `serve` until SIGTERM or SIGINT sets its stop event; exit 0 then, 2 if the settings are wrong."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(_refused(error))
    configure_observability(name, settings)
    spare_the_collector()
    try:
        uvloop.run(_until_signalled(serve, settings))
    except SettingsError as error:  # what a setting names, as a folder of templates, is looked at by its service
        sys.exit(_refused(error))


def spare_the_collector() -> None:
    """Let the garbage collector look at what a batch makes less often: nearly all of it goes without."""
    gc.freeze()  # what was imported lives as long as the process: it need not be looked through again and again
    gc.set_threshold(50_000)


async def _until_signalled(serve: Serve, settings: Settings) -> None:
    await serve(settings, stop_on_signals())


def stop_on_signals() -> asyncio.Event:
    """Give an event that SIGTERM and SIGINT set, in the running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _refused(error: SettingsError) -> int:
    print(error, file=sys.stderr)
    return 2
