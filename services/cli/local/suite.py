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
PATHS: Final = ("tests/e2e", "tests/browser", "tests/integration", "tests/unit")


def run(arguments: Sequence[str]) -> int:
    """pytest's exit code. It gets Ctrl-C itself and clears away what it has started; what is left is stopped here."""
    command = [sys.executable, "-m", "pytest", *options(arguments, os.environ)]
    with subprocess.Popen(command, cwd=ROOT) as pytest:
        while pytest.returncode is None:
            try:
                pytest.wait()
            except KeyboardInterrupt:
                continue
            except SystemExit:
                pytest.send_signal(signal.SIGINT)
    stop_unused(TEST_STATE)
    return pytest.returncode if pytest.returncode >= 0 else 128 - pytest.returncode


def options(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """pytest's arguments: as they are where they name a path, else for the whole suite in parallel.

    A broker that the environment names has one virtual host for all tests: they run one after the other.
    """
    names_a_path = any((ROOT / argument.partition("::")[0]).exists() for argument in arguments)
    if names_a_path or "LEADLINE_TEST_AMQP_URL" in environment:
        return list(arguments)
    parallel = (f"--numprocesses={WORKERS}", "--dist=loadfile", "--no-loadscope-reorder")
    return [*parallel, *arguments, *PATHS]
