"""A process tells the database how it is, and whoever looks sees each replica."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from services.cli.local.nodes import ROOT
from services.cli.replicas import Replica, outages, read_replicas
from shared import heartbeat
from shared.db.session import Database
from shared.heartbeat import beating
from tests.driving import execute, rows
from tests.proxy import open_proxy
from tests.waiting import eventually

#: A service that needs no queue, and tells of itself as all do.
PROGRAM = """
import asyncio
from shared.process import run_service

async def serve(settings, stop, observer):
    await stop.wait()

run_service("idle", serve)
"""


def idle(database_url: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LEADLINE_DATABASE_URL": database_url}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment)


async def one(database: Database) -> Replica | None:
    """The only replica, once there is one."""
    found = await read_replicas(database)
    return found[0] if len(found) == 1 else None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats that nobody has to wait for."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)


async def test_what_keeps_it_from_working_is_there_while_it_runs(database: Database, database_url: str) -> None:
    """Told again and again, as it is at the moment; gone when it has ended."""
    said: list[str] = []

    async def problems() -> list[str]:
        return list(said)

    async with beating("notifier", problems, database_url):
        well = await eventually(lambda: one(database))
        said.append("notifier: waiting for smtp to answer")
        ailing = await eventually(lambda: ails(database))

    assert (well.service, well.pid, well.is_well, well.words) == ("notifier", os.getpid(), True, "ready")
    assert (ailing.words, ailing.started_at) == ("waiting for smtp to answer", well.started_at)
    assert outages([ailing]) == [f"notifier, {well.host} ({well.pid}): waiting for smtp to answer"]
    assert await read_replicas(database) == []


async def ails(database: Database) -> Replica | None:
    found = await one(database)
    return found if found and found.problems else None


async def test_a_process_that_is_killed_is_missed_until_another_takes_its_place(
    database: Database, database_url: str
) -> None:
    """On the same host at once; whoever has not told of itself for long is forgotten by whoever tells."""
    with idle(database_url) as process:
        await eventually(lambda: one(database), within=20)
        process.send_signal(signal.SIGKILL)
    await execute(database, "UPDATE replicas SET seen_at = seen_at - interval '1 minute'")
    (killed,) = await read_replicas(database)
    await execute(
        database,
        "INSERT INTO replicas (id, service, host, pid, problems, seen_at)"
        " VALUES ('old', 'idle', 'elsewhere', 1, '{}', now() - interval '11 minutes'),"
        "        ('frozen', 'idle', 'elsewhere', 2, '{}', now() - interval '9 minutes')",
    )

    async with beating("idle", nothing, database_url):
        await eventually(lambda: is_there(database, os.getpid()))
        left = await rows(database, "SELECT host = 'elsewhere', pid FROM replicas ORDER BY pid")

    assert (killed.pid, killed.is_silent) == (process.pid, True)
    assert "killed, frozen, or cut off" in killed.words
    assert left == [(True, 2), (False, os.getpid())]


async def nothing() -> list[str]:
    return []


async def is_there(database: Database, pid: int) -> bool:
    return any(each.pid == pid for each in await read_replicas(database))


async def test_a_database_that_is_away_holds_nobody_up(database: Database, database_url: str) -> None:
    """It is told when the database is back; and the process ends when it is not."""
    async with open_proxy(database_url) as proxy:
        proxy.refuse()
        async with beating("ingest", nothing, proxy.url):
            await proxy.accept()
            await eventually(lambda: one(database), within=10)
            proxy.refuse()
            proxy.reset()
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 10
