"""Renders sheets in worker processes: the event loop never waits, and what a sheet does to a process it does there."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager

import structlog

from services.documents.fonts import Weight, face
from services.documents.pdf import render
from services.documents.sheet import SheetFacts

log = structlog.get_logger(__name__)

#: Sheets in the order of their facts, signed with the key.
Render = Callable[[Sequence[SheetFacts], bytes], Awaitable[list[bytes]]]


class SheetCrashError(Exception):
    """A sheet ended the process that rendered it, twice: with others, and alone."""


class SheetRenderer:
    """Worker processes that render. They end with this process, however it ends."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = self._new_pool()

    async def __call__(self, facts: Sequence[SheetFacts], key: bytes) -> list[bytes]:
        """Render all at once; where a worker dies, one by one in new ones, so that only the culprit fails.

        Raises:
            SheetCrashError: naming the culprit's sheet key.
        """
        try:
            return await asyncio.gather(*(self._render(each, key) for each in facts))
        except BrokenProcessPool:
            log.warning("sheets.worker_died", sheets=len(facts))
            return [await self._render_alone(each, key) for each in facts]

    async def close(self) -> None:
        """Wait for what is being rendered, and end the workers."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def _render(self, facts: SheetFacts, key: bytes) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._pool, render, facts, key)

    async def _render_alone(self, facts: SheetFacts, key: bytes) -> bytes:
        try:
            return await self._render_in_a_whole_pool(facts, key)
        except BrokenProcessPool as error:
            self._pool = self._new_pool()
            raise SheetCrashError(f"the sheet {facts.sheet_key!r} ends the process that renders it") from error

    async def _render_in_a_whole_pool(self, facts: SheetFacts, key: bytes) -> bytes:
        """The pool may be broken by what was rendered with others: nothing of this sheet's doing."""
        try:
            self._pool.submit(_nothing)
        except BrokenProcessPool:
            self._pool = self._new_pool()
        return await self._render(facts, key)

    def _new_pool(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit sockets, threads and locks
        return ProcessPoolExecutor(self._workers, mp_context=spawn, initializer=_begin_worker)


async def render_here(facts: Sequence[SheetFacts], key: bytes) -> list[bytes]:
    """Render in a thread of this process."""
    return await asyncio.to_thread(lambda: [render(each, key) for each in facts])


@asynccontextmanager
async def open_renderer(workers: int) -> AsyncIterator[SheetRenderer]:
    """Give a renderer; its workers are gone afterwards."""
    renderer = SheetRenderer(workers)
    try:
        yield renderer
    finally:
        await renderer.close()


def _begin_worker() -> None:
    """Leave Ctrl-C to the service, end with it even if it is killed, and read the fonts before the first sheet."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for weight in Weight:
        face(weight)


def _end_with_parent() -> None:
    """A worker holds both ends of its queue, so nothing else tells it that nobody is there any more."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
    os._exit(1)


def _nothing() -> None:
    """To ask a pool whether it still takes work."""
