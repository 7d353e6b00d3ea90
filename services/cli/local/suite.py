"""`./run test`: pytest; for the whole suite several files at a time, since much of a long test is waiting."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from services.cli.local.memory import folder_in_memory
from services.cli.local.nodes import ROOT, TEST_STATE, TEST_STATE_VARIABLE, stop_unused

WORKERS: Final = 3
#: What takes long begins first, so that the workers end together.
PATHS: Final = ("tests/e2e", "tests/chaos", "tests/integration", "tests/unit")
#: In a process of its own: the browser's driver keeps an event loop running, beside which no other test of ours can.
BROWSER: Final = "tests/browser"
_NO_TESTS = 5


def run(arguments: Sequence[str]) -> int:
    """pytest's exit code; of the whole suite the first that is not 0."""
    suite = options(arguments, os.environ)
    if suite == list(arguments):
        return _run("pytest", suite)[0]
    with folder_in_memory(ROOT) as folder:
        codes = _run("pytest", suite, [*arguments, BROWSER], state=folder or TEST_STATE)
    return next((code for code in codes if code not in {0, _NO_TESTS}), codes[0])


def chaos(arguments: Sequence[str]) -> int:
    """Exit code of one chaos run: 1 on findings."""
    return _run("tests.chaos", arguments)[0]


def _run(module: str, arguments: Sequence[str], *besides: Sequence[str], state: Path = TEST_STATE) -> list[int]:
    """A module's exit codes, run once with each list of arguments, side by side; what the later print follows the rest.

    They get Ctrl-C themselves and clear away what they have started; what is left is stopped here.
    """
    environment = {**os.environ, TEST_STATE_VARIABLE: str(state)}
    with ExitStack() as stack:
        said = [stack.enter_context(TemporaryFile()) for _ in besides]
        command = [sys.executable, "-m", module]
        processes = [stack.enter_context(subprocess.Popen([*command, *arguments], cwd=ROOT, env=environment))]
        for output, others in zip(said, besides, strict=True):
            process = subprocess.Popen(
                [*command, *others], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            processes.append(stack.enter_context(process))
        for process in processes:
            _wait(process, processes)
        for output in said:
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
    stop_unused(state)
    return [code if code >= 0 else 128 - code for code in (process.returncode for process in processes)]


def _wait(process: subprocess.Popen[bytes], all_of_them: Sequence[subprocess.Popen[bytes]]) -> None:
    while process.returncode is None:
        try:
            process.wait()
        except KeyboardInterrupt:
            continue
        except SystemExit:
            for each in all_of_them:
                each.send_signal(signal.SIGINT)


def options(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """pytest's arguments: as they are where they name a path, else for the whole suite in parallel.

    A broker that the environment names has one virtual host for all tests: they run one after the other.
    """
    names_a_path = any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)
    if names_a_path or "LEADLINE_TEST_AMQP_URL" in environment:
        return list(arguments)
    parallel = (f"--numprocesses={WORKERS}", "--dist=loadfile", "--no-loadscope-reorder")
    return [*parallel, *arguments, *PATHS]
