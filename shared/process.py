"""A service as a process: settings, logs, signals, probes, heartbeat, one coroutine, an exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
import uvloop

from shared.health import Health
from shared.messaging.facts import Fact, Observer, Probe, Stuck
from shared.messaging.topology import TopologyError
from shared.messaging.watchdog import DeafConsumerError, StuckHandlerError
from shared.observability import configure_observability
from shared.settings import Settings, SettingsError, load_settings

Serve = Callable[[Settings, asyncio.Event, Observer], Awaitable[None]]

log = structlog.get_logger(__name__)

WRONG_SETTINGS = 2
WRONG_TOPOLOGY = 3
HOPELESS = 4
#: A process whose handler is stuck may need it to end: what it waits for may never come.
GRACE_S = 30.0


def run_service(name: str, serve: Serve) -> None:
    """Run `serve` until SIGTERM or SIGINT sets its stop event.

    Exit 0 then, 2 if the settings are wrong, 3 if its queue is not what it must be, 4 if the broker has forgotten it or
    its handler does not come back.
    """
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(_refused(error))
    configure_observability(name, settings)
    spare_the_collector()
    try:
        code = uvloop.run(_until_signalled(name, serve, settings))
    except SettingsError as error:  # what a setting names, as a folder of templates, is looked at by its service
        code = _refused(error)
    sys.exit(code)


def spare_the_collector() -> None:
    """Let the garbage collector look at what a batch makes less often: nearly all of it goes without."""
    gc.freeze()  # what was imported lives as long as the process: it need not be looked through again and again
    gc.set_threshold(50_000)


async def _until_signalled(name: str, serve: Serve, settings: Settings) -> int:
    code = 0
    try:
        async with _observed(name, settings) as observer:
            await serve(settings, stop_on_signals(), _LastResort(observer))
    except* TopologyError as refused:
        log.critical("topology.wrong", problem=str(_first(refused)))
        code = WRONG_TOPOLOGY
    except* (DeafConsumerError, StuckHandlerError) as hopeless:
        log.critical("process.gives_up", problem=str(_first(hopeless)))
        code = HOPELESS
    return code


class _LastResort:
    """Ends the process some time after its handler was found stuck: in a thread, say, which nobody can end."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def depends_on(self, dependency: str, probe: Probe) -> None:
        self._observer.depends_on(dependency, probe)

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, Stuck):
            log.critical("consumer.stuck", queue=fact.queue, why=fact.reason)
            timer = threading.Timer(GRACE_S, os._exit, [HOPELESS])
            timer.daemon = True
            timer.start()
        self._observer.observe(fact)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def _observed(name: str, settings: Settings) -> AsyncIterator[Observer]:
    """Tell the database how the process is while the block runs, and answer probes, if a port is set for them."""
    from shared.heartbeat import beating  # noqa: PLC0415  # settings that are wrong are told without the database's

    async with AsyncExitStack() as stack:
        health = Health() if settings.health_port is None else await _probed(stack, name, settings)
        stack.push_async_callback(health.close)
        await stack.enter_async_context(beating(name, health.problems, settings.database))
        yield health


async def _probed(stack: AsyncExitStack, name: str, settings: Settings) -> Health:
    """Answer probes until the stack is left."""
    from shared.metrics import CONTENT_TYPE, Metrics  # noqa: PLC0415  # who is not asked does not count
    from shared.probing import Probes, answering  # noqa: PLC0415

    metrics = Metrics(name)
    health = Health(metrics.observe)
    probes = Probes(health, metrics.text, CONTENT_TYPE, settings.metrics_token)
    assert settings.health_port is not None
    try:
        await stack.enter_async_context(answering(probes, settings.health_host, settings.health_port))
    except OSError as error:
        raise SettingsError(f"LEADLINE_HEALTH_HOST, LEADLINE_HEALTH_PORT: {error.strerror or error}") from error
    return health


def stop_on_signals() -> asyncio.Event:
    """Give an event that SIGTERM and SIGINT set, in the running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _refused(error: SettingsError) -> int:
    print(error, file=sys.stderr)
    return WRONG_SETTINGS
