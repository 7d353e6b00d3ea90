"""What all requests share: the pool, the publisher, who waits, what runs beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request

from services.api.looking import Looks
from services.ingest.reference import ReferenceReader
from shared.db.session import Database
from shared.messaging.publisher import Publisher
from shared.settings import Settings
from shared.sheetstore import SheetStore

log = structlog.get_logger(__name__)


class Errands:
    """What goes on after its request is answered: named, so that it can be found, and ended when the process stops."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stops: dict[str, asyncio.Event] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
        """Begin; `stop` is what the work looks at."""
        task = asyncio.create_task(self._run(name, work))
        self._tasks[name], self._stops[name] = task, stop
        task.add_done_callback(lambda _: self._forget(name, task))

    def ask_to_stop(self, name: str) -> bool:
        """Set the stop of an errand; False if none of this name runs here."""
        stop = self._stops.get(name)
        if stop is not None:
            stop.set()
        return stop is not None

    def is_running(self, name: str) -> bool:
        return name in self._tasks

    async def close(self) -> None:
        """Ask all to stop, and wait until they have."""
        for stop in self._stops.values():
            stop.set()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # nobody waits for it any more: what it was at says so itself
            log.exception("errand.failed", errand=name)

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name], self._stops[name]


@dataclass(frozen=True, slots=True)
class Shared:
    """Lives as long as the app."""

    settings: Settings
    database: Database
    publisher: Publisher
    looks: Looks
    store: SheetStore
    reference: ReferenceReader
    errands: Errands = field(default_factory=Errands)

    async def close(self) -> None:
        await self.errands.close()
        await self.looks.close()


def shared_of(request: Request) -> Shared:
    shared: Shared = request.app.state.shared
    return shared


SharedState = Annotated[Shared, Depends(shared_of)]
