"""Where a node keeps its files.

In the state folder itself, unless the node could not live there: PostgreSQL refuses to run as root, so under root it
runs as `nobody`, who must be able to reach its files; and RabbitMQ's scripts do not stand a blank in a path.
Then they are in `/var/lib/leadline/<hash>` (root) or `~/.cache/leadline/<hash>` (anyone else), one a state folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

ROOTS_HOME = Path("/var/lib/leadline")
_STANDS_IN_SCRIPTS = re.compile(r"[\w./+@=-]+")


def short_name(state: Path) -> str:
    """Eight letters that tell this state folder from all others on the machine."""
    return hashlib.sha256(os.fsencode(state.resolve())).hexdigest()[:8]


def home_of(state: Path, *, for_another_user: bool = False) -> Path:
    """The folder, made if missing, where a node of this state folder keeps its files."""
    state.mkdir(parents=True, exist_ok=True)
    place = state.resolve()
    if _STANDS_IN_SCRIPTS.fullmatch(str(place)) and not (for_another_user and not is_open_to_all(place)):
        return place
    root = ROOTS_HOME if os.geteuid() == 0 else Path.home() / ".cache" / "leadline"
    home = root / short_name(state)
    home.mkdir(parents=True, exist_ok=True)
    for folder in (root, home):
        folder.chmod(0o755)
    return home


def is_open_to_all(place: Path) -> bool:
    """Whether every user may walk down to this folder."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (place, *place.parents))
