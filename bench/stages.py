"""Stages as processes of their own, and the processor time that each has taken."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.cli.local.nodes import ROOT

STOP_WITHIN_S = 20
PR_SET_PDEATHSIG = 1
_OTHERS_VARIABLES = ("LEADLINE_", "POSTGRES_", "CHECK_INTERVAL", "MAX_LEADS_")


@dataclass(frozen=True, slots=True)
class Stage:
    """A program that consumes a queue."""

    name: str
    arguments: Sequence[str]
    queue: str
    replicas: int = 1


class Running:
    """A stage that runs."""

    def __init__(self, stage: Stage, process: subprocess.Popen[bytes]) -> None:
        self.stage = stage
        self.process = process

    def worked(self) -> float:
        """Seconds of processor time so far, of the process and all that it has started."""
        process = psutil.Process(self.process.pid)
        family = [process, *process.children(recursive=True)]
        return sum(sum(each.cpu_times()[:2]) for each in family)

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextmanager
def running(stage: Stage, environment: Mapping[str, str], logs: Path) -> Iterator[list[Running]]:
    """All replicas of a stage, stopped at the end; what they say is in a file."""
    logs.mkdir(parents=True, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS_VARIABLES)}
    with ExitStack() as stack:
        replicas = []
        for number in range(stage.replicas):
            log = stack.enter_context((logs / f"bench-{stage.name}-{number}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, *stage.arguments],
                env={**inherited, "PYTHONPATH": str(ROOT), **environment},
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_the_bench,  # noqa: PLW1509  # it takes no lock
            )
            stack.callback(_stop, process)
            replicas.append(Running(stage, process))
        yield replicas


def _end_with_the_bench() -> None:
    """Have the kernel end a stage whose bench was killed: it would take the messages of the next."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
