"""`./run test`: pytest; for the whole suite several files at a time, since much of a long test is waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from services.cli.local.nodes import ROOT, TEST_STATE, stop_unused

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
        return _run("pytest", suite)
    codes = [_run("pytest", [*arguments, BROWSER]), _run("pytest", suite)]
    return next((code for code in codes if code not in {0, _NO_TESTS}), codes[-1])


def chaos(arguments: Sequence[str]) -> int:
    """Exit code of one chaos run: 1 on findings."""
    return _run("tests.chaos", arguments)


def _run(module: str, arguments: Sequence[str]) -> int:
    """A module's exit code. It gets Ctrl-C itself and clears away what it has started; what is left is stopped here."""
    with subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=ROOT) as process:
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                continue
            except SystemExit:
                process.send_signal(signal.SIGINT)
    stop_unused(TEST_STATE)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def options(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """pytest's arguments: as they are where they name a path, else for the whole suite in parallel.

    A broker that the environment names has one virtual host for all tests: they run one after the other.
    """
    names_a_path = any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)
    if names_a_path or "LEADLINE_TEST_AMQP_URL" in environment:
        return list(arguments)
    parallel = (f"--numprocesses={WORKERS}", "--dist=loadfile", "--no-loadscope-reorder")
    return [*parallel, *arguments, *PATHS]
