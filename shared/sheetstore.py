"""A folder of files that are whole or not there, on disk when a write returns.

Nothing here is for the event loop: call it by `asyncio.to_thread`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

_TEMPORARY = ".leadline-part-"
_STALE_AFTER_S = 3600
_LATELY_S = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store: its path there, and what it holds."""

    path: str
    sha256: str
    size: int


class DamagedFileError(Exception):
    """The file does not hold what was written to it."""


class SheetStore:
    """A folder of sheets. Of several processes that write the same path, the last one's file stays, whole."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)
        self.remove_leftovers()

    def write(self, relative: str, content: bytes) -> StoredFile:
        """Keep the content, so that it is on disk when this returns. Where it is already, nothing is written."""
        stored = StoredFile(relative, sha256(content).hexdigest(), len(content))
        path = self._resolve(relative)
        if _holds(path, content):
            _sync_folders(path.parent, self._root)
            return stored
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(path) as temporary:
            _write_to_disk(temporary, content)
            temporary.replace(path)
        _sync_folders(path.parent, self._root)
        return stored

    def read(self, relative: str, expected_sha256: str) -> bytes:
        """The content, if it is what was written.

        Raises:
            DamagedFileError: it is not.
            FileNotFoundError: there is none.
        """
        content = self._resolve(relative).read_bytes()
        if sha256(content).hexdigest() != expected_sha256:
            raise DamagedFileError(f"{relative} does not have the SHA-256 {expected_sha256}")
        return content

    def remove_leftovers(self) -> list[Path]:
        """Remove what writers that died more than an hour ago left half written, and say what it was.

        Only folders that have changed of late are looked into: a store of years opens as fast as a new one.
        """
        now = time.time()
        lately = [folder for folder in self._root.glob("*/*") if folder.stat().st_mtime > now - _LATELY_S]
        leftovers = [path for folder in lately for path in folder.glob(f"{_TEMPORARY}*")]
        return [path for path in leftovers if _remove_if_older(path, now - _STALE_AFTER_S)]

    def _resolve(self, relative: str) -> Path:
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts or "\x00" in relative or not parts.parts:
            raise ValueError(f"{relative!r} is no path inside the store")
        path = self._root.joinpath(*parts.parts)
        if not path.resolve().is_relative_to(self._root):
            raise ValueError(f"{relative!r} leads out of the store")
        return path


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """A name in the same folder, gone afterwards unless it was renamed."""
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except FileNotFoundError:
        return False


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folders(folder: Path, root: Path) -> None:
    """Put the folder's names on disk, and those of the folders that it may have been made in."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if folder == root:
            return
        folder = folder.parent


def _remove_if_older(path: Path, before: float) -> bool:
    try:
        if path.stat().st_mtime >= before:
            return False
        path.unlink()
    except FileNotFoundError:
        return False
    return True
