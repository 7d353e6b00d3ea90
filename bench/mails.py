"""Mails a second of the notifier, against a bare loop that sends the same bytes to the same server."""

from __future__ import annotations

import asyncio
import smtplib
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.ground import Ground
from bench.leads import leads
from bench.queues import publish, watching
from bench.stages import Stage, running
from bench.ways import Leadline
from services.cli.local.ports import LOOPBACK, free_port, is_free
from services.cli.local.waiting import wait_until

WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class Mails:
    """Mails a second of both."""

    notifier: float
    bare: float


async def measure(ground: Ground, count: int) -> Mails:
    """Have sheets made for so many leads, then mail them."""
    way = Leadline()
    setting = await way.set_up(ground)
    port = free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        environment = {
            **setting.environment,
            "LEADLINE_SHEETS_DIR": str(folder / "sheets"),
            "LEADLINE_SMTP_PORT": str(port),
        }
        await publish(setting.amqp_url, way.messages(leads(count)))
        async with watching(setting.amqp_url) as watch:
            with ExitStack() as before:
                for stage in (*setting.stages, Stage("documents", ["-m", "services.documents"], "documents")):
                    before.enter_context(running(stage, environment, ground.logs))
                await watch.fill("notifier", count, within_s=WITHIN_S)
            mailbox = ["-m", "services.cli.local.mailbox", "--port", str(port), "--directory", str(folder / "mail")]
            stack.enter_context(running(Stage("mailbox", mailbox, ""), environment, ground.logs))
            await asyncio.to_thread(
                wait_until, lambda: not is_free(port), within_s=WITHIN_S, otherwise=f"no mailbox listens on {port}"
            )
            stack.enter_context(
                running(Stage("notifier", ["-m", "services.notifier"], "notifier"), environment, ground.logs)
            )
            notifier = await _mailed(folder / "mail", count)
        bare = await asyncio.to_thread(_send_barely, port, sorted((folder / "mail").glob("*.eml"))[:count])
    return Mails(notifier, bare)


async def _mailed(folder: Path, count: int) -> float:
    """Watch the mailbox fill, and give the mails a second from the first on."""
    first, found = 0.0, 0
    async with asyncio.timeout(WITHIN_S):
        while found < count:
            found = await asyncio.to_thread(_count, folder)
            if found and not first:
                first, early = time.perf_counter(), found
            await asyncio.sleep(0.05)
    return (found - early) / (time.perf_counter() - first)


def _count(folder: Path) -> int:
    return len(list(folder.glob("*.eml"))) if folder.exists() else 0


def _send_barely(port: int, paths: list[Path]) -> float:
    contents = [path.read_bytes() for path in paths]
    began = time.perf_counter()
    with smtplib.SMTP(LOOPBACK, port) as server:
        for content in contents:
            server.sendmail("leadline@example.com", ["agent@example.com"], content)
    return len(contents) / (time.perf_counter() - began)
