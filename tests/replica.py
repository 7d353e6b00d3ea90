"""One process of a service: started, frozen, killed, stopped, started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.nursery import OWNER, Child, nursery

#: What docker-compose.yml gives a service before it kills it.
STOP_WITHIN_S = 45.0


@dataclass(slots=True)
class Replica:
    """One process of a service; who restarts it keeps its place and its log."""

    name: str
    number: int
    #: A module and its arguments.
    command: Sequence[str]
    environment: dict[str, str]
    log: Path
    process: Child = field(init=False)
    #: Whether it is to run: the supervisor starts it again when it has died.
    is_wanted: bool = True
    starts: int = 0

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as output:
            self.process = nursery().start(self.command, self.environment, self.log.parent, output, output)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP: when this returns, the kernel has stopped it."""
        self.send(signal.SIGSTOP)
        while self.is_running and psutil.Process(self.pid).status() != psutil.STATUS_STOPPED:
            os.sched_yield()

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; it stays dead until somebody starts it again."""
        self.send(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; give its exit code. TimeoutExpired if it does not end in time; then it is killed."""
        self.thaw()
        self.send(signal.SIGTERM)
        try:
            return self.process.wait(STOP_WITHIN_S)
        finally:
            self.kill()


def remove_orphans() -> None:
    """Kill what sessions of tests that were killed themselves have left running."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            owner = process.environ().get(OWNER)
            if owner is not None and not psutil.pid_exists(int(owner)):
                process.kill()
