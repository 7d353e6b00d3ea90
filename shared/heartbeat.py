"""A process tells the database every few seconds that it lives, and what keeps it from working.

So whoever looks from outside, the console say, knows of each replica wherever it runs, and nobody is told where to ask.
What cannot be told, because the database is away, is told when it is back; nothing else waits for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.session import Database, open_database

log = structlog.get_logger(__name__)

BEAT_S = 4.0
#: Whoever ends as soon as it has begun, since its settings are wrong say, tells nothing of itself.
FIRST_S = 0.5
#: A connection that hangs holds nothing up but the next beat.
WITHIN_S = 6.0
#: Whoever has not told of itself for so long is forgotten: it will not come back under this id.
FORGOTTEN_MIN = 10

#: What a beat can lose is not worth a write to the disk.
SERVER_SETTINGS = {"synchronous_commit": "off"}

BEAT = text(f"""
    WITH forgotten AS (
        DELETE FROM replicas WHERE id IN (
            SELECT id FROM replicas WHERE seen_at < now() - interval '{FORGOTTEN_MIN} minutes' AND id <> :id
            FOR UPDATE SKIP LOCKED
        )
    )
    INSERT INTO replicas (id, service, host, pid, problems)
    VALUES (:id, :service, :host, :pid, CAST(:problems AS text[]))
    ON CONFLICT (id) DO UPDATE SET problems = excluded.problems, seen_at = now()
""")  # noqa: S608  # a constant of ours
BEFORE = text("SELECT id, pid FROM replicas WHERE service = :service AND host = :host AND id <> :id")
REMOVE = text("DELETE FROM replicas WHERE id = ANY(CAST(:ids AS text[]))")

#: What keeps the process from working, in words; nothing: it works.
Problems = Callable[[], Awaitable[Sequence[str]]]


class Heartbeat:
    """One process's row."""

    def __init__(self, database: Database, service: str, problems: Problems) -> None:
        self._database = database
        self._problems = problems
        self._values: dict[str, Any] = {"id": token_hex(8), "service": service, "host": socket.gethostname()}
        self._values["pid"] = os.getpid()
        self._is_heard = True
        self._has_begun = False

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until stopped, then that it is over."""
        pause_s = FIRST_S
        while not await _is_set_within(stop, pause_s):
            await self._try()
            pause_s = BEAT_S
        if self._has_begun and self._is_heard:
            await self._try(is_last=True)

    async def _try(self, *, is_last: bool = False) -> None:
        """Beat once. Logs once that nobody hears it, and once that somebody does again."""
        try:
            await (self._end() if is_last else self._beat())
        except Exception as error:  # whatever it is, the service works without
            if self._is_heard:
                log.warning("heartbeat.fails", error=str(error).partition("\n")[0] or type(error).__name__)
            self._is_heard = False
        else:
            if not self._is_heard:
                log.info("heartbeat.works_again")
            self._is_heard = True

    async def _beat(self) -> None:
        problems = list(await self._problems())
        async with self._database.reading() as connection:
            if not self._has_begun:
                await self._succeed(connection)
            await connection.execute(BEAT, {**self._values, "problems": problems})
        self._has_begun = True

    async def _succeed(self, connection: AsyncConnection) -> None:
        """Take the rows away that processes of this host which were killed have left behind."""
        here = {name: self._values[name] for name in ("service", "host", "id")}
        before = (await connection.execute(BEFORE, here)).all()
        gone = [row.id for row in before if row.pid == self._values["pid"] or not _lives(row.pid)]
        await connection.execute(REMOVE, {"ids": gone})

    async def _end(self) -> None:
        async with self._database.reading() as connection:
            await connection.execute(REMOVE, {"ids": [self._values["id"]]})


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _lives(pid: int) -> bool:
    """Whether there is such a process on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@asynccontextmanager
async def beating(service: str, problems: Problems, database_url: str) -> AsyncIterator[None]:
    """Tell of this process while the block runs, on a connection of its own: whatever holds the others up is told."""
    stop = asyncio.Event()
    async with open_database(
        database_url,
        application_name=f"heartbeat of leadline {service}",
        pool_size=1,
        deadline_s=WITHIN_S,
        server_settings=SERVER_SETTINGS,
    ) as database:
        task = asyncio.create_task(Heartbeat(database, service, problems).run(stop))
        try:
            yield
        finally:
            stop.set()
            await task
