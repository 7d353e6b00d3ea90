"""Files that are whole or not there, and there for good when a write returns: in a folder, or wherever fsspec reaches.

Nothing here is for the event loop: call it by `asyncio.to_thread`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Protocol

from shared.outage import DependencyGoneError

#: What a consumer waits for when a remote store is away.
STORE = "sheet store"
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


class Files(Protocol):
    """A place for files. Paths are relative, and lead nowhere else."""

    def write(self, path: PurePosixPath, content: bytes) -> None:
        """Keep the content under the path, whole, in the place of what is there."""

    def read(self, path: PurePosixPath) -> bytes:
        """Give the content; FileNotFoundError if there is none."""

    def probe(self) -> None:
        """Return if files can be read and written now, as far as can be told; raise what is in the way."""


class SheetStore:
    """Sheets in a folder, or at a URL that fsspec knows: `s3://bucket/sheets`, `file:///var/sheets`.

    Of several processes that write the same path, the last one's file stays, whole. `backend` is what a document's row
    names: `fs` for a folder, else the URL's protocol.
    """

    def __init__(self, root: str | Path) -> None:
        protocol, _, rest = str(root).rpartition("://")
        self.backend = "fs" if protocol in {"", "file", "local"} else protocol
        self._files: Files = Folder(Path(rest)) if self.backend == "fs" else RemoteFiles(str(root))

    def write(self, relative: str, content: bytes) -> StoredFile:
        """Keep the content, so that it is there for good when this returns."""
        self._files.write(_inside(relative), content)
        return StoredFile(relative, sha256(content).hexdigest(), len(content))

    def read(self, relative: str, expected_sha256: str) -> bytes:
        """The content, if it is what was written.

        Raises:
            DamagedFileError: it is not.
            FileNotFoundError: there is none.
            DependencyGoneError: the remote store does not answer.
        """
        content = self._files.read(_inside(relative))
        if sha256(content).hexdigest() != expected_sha256:
            raise DamagedFileError(f"{relative} does not have the SHA-256 {expected_sha256}")
        return content

    def holds(self, relative: str, expected_sha256: str) -> bool:
        """Whether the file is there and is this content. DependencyGoneError: the remote store does not answer."""
        try:
            self.read(relative, expected_sha256)
        except (DamagedFileError, FileNotFoundError):
            return False
        return True

    def probe(self) -> None:
        """Return if the store answers; raise what keeps it from it."""
        self._files.probe()


class RemoteFiles:
    """Files of an object store, by fsspec: what is put there is whole or not there."""

    def __init__(self, url: str) -> None:
        import fsspec  # noqa: PLC0415  # a folder of sheets needs none of it

        self._filesystem, self._root = fsspec.core.url_to_fs(url)

    def write(self, path: PurePosixPath, content: bytes) -> None:
        with _as_outages():
            self._filesystem.pipe_file(f"{self._root}/{path}", content)

    def read(self, path: PurePosixPath) -> bytes:
        with _as_outages():
            return bytes(self._filesystem.cat_file(f"{self._root}/{path}"))

    def probe(self) -> None:
        with _as_outages(), suppress(FileNotFoundError):  # nothing there yet: it has answered
            self._filesystem.info(self._root)


class Folder:
    """Files on a local disk: written beside, synced, renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)
        self.remove_leftovers()

    def write(self, path: PurePosixPath, content: bytes) -> None:
        """Keep the content, on disk when this returns. Where it is already, nothing is written."""
        target = self._resolve(path)
        if not _holds(target, content):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _temporary_beside(target) as temporary:
                _write_to_disk(temporary, content)
                temporary.replace(target)
        _sync_folders(target.parent, self._root)

    def read(self, path: PurePosixPath) -> bytes:
        return self._resolve(path).read_bytes()

    def probe(self) -> None:
        self._root.stat()

    def remove_leftovers(self) -> list[Path]:
        """Remove what writers that died more than an hour ago left half written, and say what it was.

        Only folders that have changed of late are looked into: a store of years opens as fast as a new one.
        """
        now = time.time()
        lately = [folder for folder in self._root.glob("*/*") if folder.stat().st_mtime > now - _LATELY_S]
        leftovers = [path for folder in lately for path in folder.glob(f"{_TEMPORARY}*")]
        return [path for path in leftovers if _remove_if_older(path, now - _STALE_AFTER_S)]

    def _resolve(self, path: PurePosixPath) -> Path:
        target = self._root.joinpath(path)
        if not target.resolve().is_relative_to(self._root):
            raise ValueError(f"{str(path)!r} leads out of the store")
        return target


def _inside(relative: str) -> PurePosixPath:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\x00" in relative or not path.parts:
        raise ValueError(f"{relative!r} is no path inside the store")
    return path


@contextmanager
def _as_outages() -> Iterator[None]:
    """A store that does not answer is waited for; a file that is not there, or a key that opens nothing, is told."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # drivers have errors of their own with no base in common: EndpointConnectionError …
        raise DependencyGoneError(STORE, str(error) or type(error).__name__) from error


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
