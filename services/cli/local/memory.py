"""Folders in memory, for what a run of the tests leaves to nobody.

On a disk, databases that come and go by the hundred cost a fifth of the suite: ext4 looks for a free inode past all
that were freed in the last minutes, file by file.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import psutil

from services.cli.local.locks import Users

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # by a name of ours in it, which nobody else may own
#: The suite fills a fifth of it.
NEEDED_BYTES: Final = 3 << 30


@contextmanager
def folder_in_memory(owner: Path, *, within: Path = MEMORY) -> Iterator[Path | None]:
    """Give a folder that this owner, a folder itself, always gets; None where there is no memory to spare.

    Who leaves it last removes it.
    """
    folder = within / f"leadline-{sha256(os.fsencode(owner)).hexdigest()[:12]}"
    if not _has_room(within) or _is_anothers(folder):
        yield None
        return
    users = Users(owner / ".local" / "memory.lock")
    users.join()
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        if users.leave():
            shutil.rmtree(folder)


def _has_room(within: Path) -> bool:
    return (
        within.is_dir()
        and shutil.disk_usage(within).free >= NEEDED_BYTES
        and psutil.virtual_memory().available >= 2 * NEEDED_BYTES
    )


def _is_anothers(folder: Path) -> bool:
    """Whether something has this name that is no folder of this user's: anybody may write there."""
    with suppress(FileNotFoundError):
        found = folder.lstat()
        return found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode)
    return False
