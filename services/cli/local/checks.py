"""`./run check`: what the code must pass besides its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.cli.local.locks import alone
from services.cli.local.nodes import ROOT, STATE
from services.cli.local.postgres import Postgres
from services.cli.local.processes import Processes

CODE: Final = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
)
# The models and the migrations say the same: on a database that only the migrations have made.
DATABASE: Final = (("alembic", "upgrade", "head"), ("alembic", "check"))


def check() -> bool:
    """Run every step, print each one's name and result, and say whether all have passed."""
    results = [_passes(step, os.environ) for step in CODE]
    with _fresh_database() as url:
        results += [_passes(step, {**os.environ, "LEADLINE_DATABASE_URL": url}) for step in DATABASE]
    return all(results)


def _passes(step: tuple[str, ...], environment: Mapping[str, str]) -> bool:
    program = Path(sys.executable).with_name(step[0])
    result = subprocess.run(
        [program, *step[1:]],
        check=False,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    is_passed = result.returncode == 0
    sys.stdout.write(f"{'ok    ' if is_passed else 'FAILED'} {' '.join(step)}\n{'' if is_passed else result.stdout}")
    sys.stdout.flush()
    return is_passed


@contextmanager
def _fresh_database() -> Iterator[str]:
    """An empty database of a server that is there for this check only."""
    state = STATE / "check"
    with alone(state / "check.lock"):
        server = Postgres(state, Processes(state))
        try:
            server.remove()
            server.start()
            yield server.url
        finally:
            server.remove()
