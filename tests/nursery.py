"""A process that has imported everything and forks: what is started from it begins at once.

A service needs a second of processor time to import what it is made of, and the tests start hundreds. A fork of the
nursery is a process like any other, with a session, an environment, a folder and outputs of its own; only the imports
are not its own work.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from services.cli.local.nodes import ROOT

#: In each process's environment: the pid of the session of tests that started it.
OWNER = "LEADLINE_TEST_OF"
#: Run like a module of this name: the command line.
COMMAND = "leadline"
_SERVICES = ("ingest", "assigner", "documents", "notifier", "deadletters", "webhooks", "scheduler", "receiver")
_ALSO = ("services.cli.main", "services.cli.services", "shared.metrics", "shared.probing", "tests.chaos.planted")
_AT_MOST = 1 << 18


class Child:
    """A process that was started; used as a `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._nursery.code_of(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code once it has ended. Raises TimeoutExpired."""
        with suppress(ProcessLookupError):
            ending = os.pidfd_open(self.pid)
            try:
                if not select.select([ending], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            finally:
                os.close(ending)
        while (code := self.poll()) is None:
            time.sleep(0.001)  # it has ended: the nursery is about to say how
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    """The side of who starts processes. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes: dict[int, int] = {}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={**os.environ, OWNER: str(os.getpid())},
                start_new_session=True,
            )

    def close(self) -> None:
        """End the nursery; what was started from it goes on."""
        self._socket.close()
        self._process.wait()

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, output: Any, errors: Any
    ) -> Child:
        """Run a module with arguments, as `python -m` does, or `leadline`; its outputs go to two open files."""
        request = {"command": list(command), "environment": dict(environment), "folder": str(folder)}
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [output.fileno(), errors.fileno()])
            while (pid := self._read()) is None:
                pass
        return Child(self, pid)

    def code_of(self, pid: int) -> int | None:
        with self._lock:
            while select.select([self._socket], [], [], 0)[0]:
                self._read()
            return self._codes.get(pid)

    def _read(self) -> int | None:
        """The pid of who has been started; None for who has ended, of whom it keeps the code."""
        said = json.loads(self._socket.recv(_AT_MOST))
        if "code" in said:
            self._codes[said["pid"]] = said["code"]
            return None
        return int(said["pid"])


@cache
def nursery() -> Nursery:
    """This session's."""
    made = Nursery()
    atexit.register(made.close)
    return made


def _serve(ours: socket.socket) -> dict[str, Any] | None:
    """Fork for each request: give it in the child, and None in the nursery when nobody is left to ask."""
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking.fileno())
    while True:
        ready, _, _ = select.select([ours, woken], [], [])
        if woken in ready:
            woken.recv(_AT_MOST)
            _tell_of_the_ended(ours)
        if ours in ready:
            said, files, _, _ = socket.recv_fds(ours, _AT_MOST, 2)
            if not said:
                return None
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (ours, woken, waking):
                    end.close()
                return {**json.loads(said), "files": files}
            for file in files:
                os.close(file)
            ours.send(json.dumps({"pid": pid}).encode())


def _tell_of_the_ended(ours: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            ours.send(json.dumps({"pid": ended[0], "code": os.waitstatus_to_exitcode(ended[1])}).encode())


def _become(request: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    os.setsid()
    with Path(os.devnull).open("rb") as nothing:
        for number, file in enumerate((nothing.fileno(), *request["files"])):
            os.dup2(file, number)
    os.closerange(3, max(request["files"]) + 1)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    program, *_ = sys.argv = request["command"]
    if program == COMMAND:
        from services.cli.main import main  # noqa: PLC0415

        main()
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def _import_all() -> None:
    """What is run is no module of this process any more: it is run as if it came first."""
    for module in (*(f"services.{name}.__main__" for name in _SERVICES), *_ALSO):
        importlib.import_module(module)
    for module in [name for name in sys.modules if name.endswith(".__main__") or name == "tests.chaos.planted"]:
        del sys.modules[module]


def _main() -> None:
    _import_all()
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        request = _serve(ours)
    if request is not None:
        _become(request)


if __name__ == "__main__":
    _main()
