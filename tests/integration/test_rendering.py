"""Sheets rendered in worker processes: the loop goes on, and a worker that dies takes nobody's sheet with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.cli.local.nodes import ROOT
from services.documents import pdf, rendering
from services.documents.rendering import SheetCrashError, open_renderer
from services.documents.sheet import SheetFacts
from tests.unit.test_sheet import KEY, a_row, a_sheet
from tests.waiting import eventually

POISON = "poison"


def render_or_die(facts: SheetFacts, key: bytes) -> bytes:
    """A poison sheet kills the worker that renders it, as a crash in a library would."""
    if facts.sheet_key == POISON:
        os.kill(os.getpid(), signal.SIGKILL)
    return pdf.render(facts, key)


def sheets(count: int) -> list[SheetFacts]:
    return [a_sheet(a_row(number), sheet_key=f"sheet {number}") for number in range(1, count + 1)]


async def test_workers_give_the_same_bytes_in_order() -> None:
    """As this process would."""
    facts = sheets(6)
    async with open_renderer(2) as render:
        assert await render(facts, KEY) == [pdf.render(each, KEY) for each in facts]


async def test_the_loop_goes_on_while_sheets_are_rendered() -> None:
    """It turns many times before a long sheet is done."""
    turns = 0
    facts = a_sheet(*(a_row(number) for number in range(1, 301)))
    async with open_renderer(1) as render:
        task = asyncio.ensure_future(render([facts], KEY))
        while not task.done():
            turns += 1
            await asyncio.sleep(0.001)
    assert turns > 20


async def test_only_the_sheet_that_kills_its_worker_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbours' chunk names the culprit; without it all go through, in new workers."""
    monkeypatch.setattr(rendering, "render", render_or_die)
    good = sheets(4)
    async with open_renderer(2) as render:
        with pytest.raises(SheetCrashError, match=POISON):
            await render([*good[:2], a_sheet(a_row(), sheet_key=POISON), *good[2:]], KEY)
        assert await render(good, KEY) == [pdf.render(each, KEY) for each in good]


async def test_a_worker_that_was_killed_is_replaced() -> None:
    """By whom ever: all sheets come out."""
    good = sheets(4)
    async with open_renderer(2) as render:
        await render(good, KEY)
        for worker in psutil.Process().children():
            if "spawn_main" in " ".join(worker.cmdline()):
                worker.kill()
        assert await render(good, KEY) == [pdf.render(each, KEY) for each in good]


async def test_workers_end_with_a_service_that_is_killed(tmp_path: Path) -> None:
    """Nobody is left behind, though nobody could tell them."""
    program = tmp_path / "service.py"
    program.write_text(
        "import asyncio, time\n"
        "from services.documents.rendering import SheetRenderer\n"
        "from tests.unit.test_sheet import a_row, a_sheet\n"
        "async def main():\n"
        "    await SheetRenderer(2)([a_sheet(a_row(n)) for n in range(4)], b'k')\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    service = await asyncio.create_subprocess_exec(sys.executable, program, stdout=subprocess.PIPE, env=environment)
    assert service.stdout is not None
    assert await service.stdout.readline() == b"ready\n"
    workers = psutil.Process(service.pid).children(recursive=True)
    assert workers
    service.kill()
    await service.communicate()
    await eventually(lambda: not any(worker.is_running() for worker in workers), within=20)
