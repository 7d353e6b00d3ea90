"""Where sheets are kept: a name that follows from what the sheet is, and a folder in which a file is whole or not there.

Two different codes never share a name, on no file system: what a name cannot hold is replaced, and then a digest of the
code is appended. Nothing here is for the event loop: call it by `asyncio.to_thread`.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path, PurePosixPath

FOLDER = "leads_assignment"
_LONGEST_CODE = 48
_DIGEST_LENGTH = 12
#: Lower case is for digests alone, upper case and digits are for codes: some file systems do not tell them apart.
_PLAIN = re.compile(r"[A-Z0-9][A-Z0-9-]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9-]+")
_RESERVED = re.compile(r"CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9]")
_TEMPORARY = ".leadline-part-"
_STALE_AFTER_S = 3600


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store: its path there, and what it holds."""

    path: str
    sha256: str
    size: int


class DamagedFileError(Exception):
    """The file does not hold what was written to it."""


def sheet_path(doc_date: date, place: str, agent_code: str, suffix: str = "") -> str:
    """The file of a sheet, relative to the store.

    Args:
        place: the store's code, or the route's name where there is no store.
        suffix: what tells sheets of one day, place and agent apart: the rowid of a stream's sheet, the lot of a lot's.
    """
    parts = [FOLDER, doc_date.isoformat(), slug(place), slug(agent_code), *([slug(suffix)] if suffix else [])]
    return f"{FOLDER}/{doc_date.isoformat()}/{'_'.join(parts)}.pdf"


def stream_suffix(rowid: int) -> str:
    """The suffix of a stream's sheet."""
    return f"{rowid:04}"


def slug(code: str) -> str:
    """The code in the letters that any file system takes, or a digest with what is left of the code before it."""
    if _PLAIN.fullmatch(code) and len(code) <= _LONGEST_CODE and not _RESERVED.fullmatch(code):
        return code
    digest = sha256(code.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    left = _UNSAFE.sub("-", code)[: _LONGEST_CODE - _DIGEST_LENGTH].strip("-")
    return f"{left}~{digest}"


class SheetStore:
    """A folder of sheets. Safe for several processes: the same path is only ever written with the same content."""

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

    def read(self, stored: StoredFile) -> bytes:
        """The content, if it is what was written.

        Raises:
            DamagedFileError: it is not.
            FileNotFoundError: there is none.
        """
        content = self._resolve(stored.path).read_bytes()
        if sha256(content).hexdigest() != stored.sha256:
            raise DamagedFileError(f"{stored.path} does not have the SHA-256 {stored.sha256}")
        return content

    def remove_leftovers(self) -> list[Path]:
        """Remove what writers that died more than an hour ago left half written."""
        before = time.time() - _STALE_AFTER_S
        return [path for path in self._root.rglob(f"{_TEMPORARY}*") if _remove_if_older(path, before)]

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
