"""Background processes: started detached, stopped for certain, and strangers left alone."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from services.cli.local.failures import LocalError
from services.cli.local.ports import LOOPBACK, free_port, is_free
from services.cli.local.processes import Processes
from services.cli.local.waiting import wait_until

FOREVER = "import signal; signal.pause()"
# Each thread has a part in the memory, which the last of them to end has to free.
LARGE = """
import mmap, os, socket, sys, threading
memory = mmap.mmap(-1, 400 << 20)
for page in range(0, len(memory), 4096):
    memory[page] = 1
for _ in range(40):
    threading.Thread(target=os.read, args=(os.pipe()[0], 1)).start()
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    connections = []
    while True:
        connections.append(server.accept())
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes of a state folder of this test; none is left at its end."""
    processes = Processes(tmp_path)
    yield processes
    for process in processes.all():
        processes.stop(process.name, within_s=0)


def test_a_started_process_runs_until_it_is_stopped(processes: Processes) -> None:
    """`stop` ends it and forgets it."""
    process = processes.start("one", [sys.executable, "-c", FOREVER])
    assert processes.running() == ["one"]
    processes.stop("one")
    assert not process.is_running
    assert processes.all() == []


def test_starting_what_runs_changes_nothing(processes: Processes) -> None:
    """There is at most one process under a name."""
    first = processes.start("one", [sys.executable, "-c", FOREVER])
    assert processes.start("one", [sys.executable, "-c", FOREVER]) == first


def test_its_output_goes_to_its_log(processes: Processes) -> None:
    """Standard output and standard error both."""
    processes.start("one", ["/bin/sh", "-c", "echo out; echo err >&2; exec sleep 60"])
    log = processes.log_of("one")
    wait_until(lambda: set(log.read_text().split()) == {"out", "err"}, within_s=5, otherwise="nothing in the log")


def test_what_ignores_sigterm_is_killed(processes: Processes) -> None:
    """After the deadline comes SIGKILL."""
    process = processes.start("deaf", [sys.executable, "-c", STUBBORN])
    wait_until(lambda: "deaf" in processes.log_of("deaf").read_text(), within_s=5, otherwise="it did not start")
    processes.stop("deaf", within_s=0.2)
    assert not process.is_running


@pytest.mark.parametrize("time", range(4))
def test_the_port_of_a_killed_process_is_free_at_once(processes: Processes, time: int) -> None:
    """Its clients connected, its memory large, its threads many: who starts it again finds its port."""
    port = free_port()
    processes.start("large", [sys.executable, "-c", LARGE, str(port)])
    wait_until(lambda: not is_free(port), within_s=30, otherwise="it does not listen")
    with ExitStack() as clients:
        for _ in range(20):
            clients.enter_context(socket.create_connection((LOOPBACK, port)))
        processes.kill("large")
        assert is_free(port), f"time {time}"


def test_a_frozen_process_can_be_stopped(processes: Processes) -> None:
    """A frozen process runs, and takes the signal as soon as it is asked to end."""
    process = processes.start("one", [sys.executable, "-c", FOREVER])
    processes.freeze("one")
    found = process.find()
    assert found is not None
    wait_until(lambda: found.status() == psutil.STATUS_STOPPED, within_s=5, otherwise="it was not frozen")
    assert process.is_running
    processes.stop("one")
    assert not process.is_running


def test_children_and_orphans_end_with_their_process(processes: Processes) -> None:
    """Nothing that a process has started outlives it, even when its direct parent has gone."""
    processes.start("parent", ["/bin/sh", "-c", "(sleep 61 & echo $!); sleep 62"])
    log = processes.log_of("parent")
    wait_until(lambda: log.read_text().strip().isdigit(), within_s=5, otherwise="the orphan did not start")
    orphan = psutil.Process(int(log.read_text()))
    processes.stop("parent")
    wait_until(lambda: _is_gone(orphan), within_s=5, otherwise="the orphan lives on")


def test_a_stranger_with_a_recycled_pid_is_left_alone(processes: Processes, tmp_path: Path) -> None:
    """A record whose pid now belongs to a process born at another time is a record of something that has ended."""
    processes.start("one", [sys.executable, "-c", FOREVER])
    path = tmp_path / "run" / "one.json"
    record = json.loads(path.read_text())
    processes.kill("one")
    with subprocess.Popen([sys.executable, "-c", FOREVER], start_new_session=True) as stranger:
        earlier = record["born_s"] - 1
        path.write_text(json.dumps({**record, "pid": stranger.pid, "session": stranger.pid, "born_s": earlier}))
        try:
            assert not processes.is_running("one")
            processes.freeze("one")
            processes.stop("one", within_s=0)
            assert psutil.Process(stranger.pid).status() != psutil.STATUS_STOPPED
            assert stranger.poll() is None
        finally:
            stranger.send_signal(signal.SIGKILL)


def test_a_program_that_is_not_there_is_an_error(processes: Processes) -> None:
    """Sooner or later it does not run, and the log says why."""
    with suppress(LocalError):  # raised when it has ended before start can look at it
        processes.start("ghost", ["/no/such/program"])
    wait_until(lambda: not processes.is_running("ghost"), within_s=5, otherwise="a ghost runs")
    assert "/no/such/program" in processes.log_of("ghost").read_text()


def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
