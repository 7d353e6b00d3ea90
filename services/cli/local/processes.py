"""Background processes that outlive the command that started them.

A process is known by its pid *and* its time of creation, kept in one JSON file each: a pid that the kernel has given to
somebody else since is never signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import psutil

from services.cli.local.failures import LocalError
from services.cli.local.records import read_record, write_record
from services.cli.local.waiting import holds_within

# sh starts the program, tells its pid and ends: so it is nobody's child, is reaped by init and gets no Ctrl-C of ours.
_DETACH = '"$@" >&2 & echo $!'
_MARK = "LEADLINE_PROCESS"
STOP_WITHIN_S = 30.0
_SAME_BIRTH_S = 0.005
_KILL_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a process runs as, where it is not the one who starts it."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Process:
    """A background process as it was when it started."""

    name: str
    pid: int
    born_s: float
    session: int
    mark: str
    stop_signal: int
    log: str

    def find(self) -> psutil.Process | None:
        """The process itself, or None when it has ended (and whoever has its pid now is a stranger)."""
        try:
            process = psutil.Process(self.pid)
            if abs(_birth(process) - self.born_s) > _SAME_BIRTH_S or has_ended(process):
                return None
        except psutil.NoSuchProcess:
            return None
        return process

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; a frozen one is running."""
        return self.find() is not None


class Processes:
    """The background processes of one state folder: at most one running under a name."""

    def __init__(self, state: Path) -> None:
        self._records = state / "run"
        self._logs = state / "log"

    def log_of(self, name: str) -> Path:
        """The file to which the process of this name writes all that it prints."""
        return self._logs / f"{name}.log"

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
        folder: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Process:
        """Start the command detached, its output appended to its log; one that runs under this name stays as it is."""
        if (running := self.find(name)) is not None and running.is_running:
            return running
        self._logs.mkdir(parents=True, exist_ok=True)
        mark = uuid4().hex
        inherited = os.environ if environment is None else environment
        pid, session = _spawn(
            command, self.log_of(name), environment={**inherited, _MARK: mark}, account=account, folder=folder
        )
        try:
            born_s = _birth(psutil.Process(pid))
        except psutil.NoSuchProcess:
            raise LocalError(f"{name} ended as soon as it was started: see {self.log_of(name)}") from None
        process = Process(name, pid, born_s, session, mark, stop_signal, str(self.log_of(name)))
        write_record(self._records / f"{name}.json", asdict(process))
        return process

    def find(self, name: str) -> Process | None:
        """The process last started under this name, running or not."""
        record = read_record(self._records / f"{name}.json")
        return None if record is None else Process(**record)

    def is_running(self, name: str) -> bool:
        """Whether the process of this name runs."""
        process = self.find(name)
        return process is not None and process.is_running

    def all(self) -> list[Process]:
        """Every process with a record, running or not, by name."""
        return [Process(**record) for path in sorted(self._records.glob("*.json")) if (record := read_record(path))]

    def running(self) -> list[str]:
        """The names under which something runs."""
        return [process.name for process in self.all() if process.is_running]

    def stop(self, name: str, *, within_s: float = STOP_WITHIN_S) -> None:
        """Ask the process to end, kill it and all it has started after `within_s` seconds, and forget it."""
        if (known := self.find(name)) is None:
            return
        with suppress(psutil.NoSuchProcess):
            if (process := known.find()) is not None:
                self.thaw(name)
                process.send_signal(known.stop_signal)
                holds_within(lambda: has_ended(process), within_s=within_s)
        self.kill(name)
        (self._records / f"{name}.json").unlink(missing_ok=True)

    def stop_together(self, names: Collection[str]) -> None:
        """Stop these at the same time."""
        with ThreadPoolExecutor(max_workers=max(len(names), 1)) as threads:
            list(threads.map(self.stop, names))

    def kill(self, name: str) -> None:
        """SIGKILL the process and all it has started, and wait until the kernel has ended them."""
        if (known := self.find(name)) is None:
            return
        victims = list(family(known))
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if not holds_within(lambda: all(has_ended(process) for process in victims), within_s=_KILL_WITHIN_S):
            raise LocalError(f"{name} (pid {known.pid}) does not end even by SIGKILL")

    def freeze(self, name: str) -> None:
        """SIGSTOP the process and all it has started."""
        if (known := self.find(name)) is not None:
            for process in family(known):
                with suppress(psutil.NoSuchProcess):
                    process.suspend()

    def thaw(self, name: str) -> None:
        """SIGCONT what `freeze` has stopped."""
        if (known := self.find(name)) is not None:
            for process in family(known):
                with suppress(psutil.NoSuchProcess):
                    process.resume()


def _birth(process: psutil.Process) -> float:
    """When it was born, on Linux since the machine's start: the wall clock may be set while it runs."""
    epoch = psutil.boot_time() if sys.platform == "linux" else 0.0
    return process.create_time() - epoch


def has_ended(process: psutil.Process) -> bool:
    """Whether it does nothing and holds nothing any more; a zombie that nobody has reaped has ended.

    Unless it has threads left: a killed process's first one is a zombie at once, and what listens on the process's
    ports goes with the last, which may have gigabytes to free first.
    """
    try:
        if not process.is_running():
            return True
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() == 1
    except psutil.NoSuchProcess:
        return True


def family(known: Process) -> Iterator[psutil.Process]:
    """The process, then its descendants, then what else is in its session, such as orphans of its own."""
    seen: set[int] = set()
    if (process := known.find()) is not None:
        seen.add(process.pid)
        yield process
        with suppress(psutil.NoSuchProcess):
            for child in process.children(recursive=True):
                seen.add(child.pid)
                yield child
    for other in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError, PermissionError):
            if other.pid not in seen and os.getsid(other.pid) == known.session and _has_mark(other, known.mark):
                yield other


def _has_mark(process: psutil.Process, mark: str) -> bool:
    """Whether it comes from the process that was started with this mark: a session's number may be recycled as well."""
    return process.environ().get(_MARK) == mark


def _spawn(
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str],
    account: Account | None,
    folder: Path | None,
) -> tuple[int, int]:
    """Start the command in a session of its own; return its pid and the session's number."""
    with (
        log.open("ab") as output,
        subprocess.Popen(
            ["/bin/sh", "-c", _DETACH, "sh", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            cwd=folder,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        ) as shell,
    ):
        assert shell.stdout is not None
        return int(shell.stdout.readline()), shell.pid
