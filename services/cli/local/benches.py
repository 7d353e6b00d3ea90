"""`./run bench`: the benches, with the peers that they measure Leadline beside."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from services.cli.local.nodes import ROOT, STATE, stop_unused

BENCH_STATE: Final = STATE / "bench"
#: By what they are imported as; the extra `bench` names them for pip.
PEERS: Final = ("celery", "faststream", "matplotlib", "psycopg")


def run(arguments: Sequence[str]) -> int:
    """The bench's exit code. Peers that are missing are installed first; one that cannot be is left out, and named."""
    missing = [library for library in PEERS if importlib.util.find_spec(library) is None]
    if missing:
        print(f"run: installing {', '.join(missing)} (once) ...", file=sys.stderr)
        quietly = ("-q", "--disable-pip-version-check", "--root-user-action=ignore")
        subprocess.run([sys.executable, "-m", "pip", "install", *quietly, "-e", ".[bench]"], cwd=ROOT, check=False)
    code = subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, check=False).returncode
    stop_unused(BENCH_STATE)  # a bench that was killed leaves its servers behind
    return code
