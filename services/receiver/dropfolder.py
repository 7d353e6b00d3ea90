"""A folder that people put filled-in sheets into: each goes to `done/`, or to `refused/` with the reason beside it."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256
from pathlib import Path

from services.documents.reading import Refused
from services.receiver.receiving import Receiver
from shared.events import SHEET_MAX_BYTES

DONE, REFUSED = "done", "refused"
#: A file that was written to a moment ago may not be whole yet.
SETTLED_AFTER_S = 2.0


class DropFolder:
    """A watched folder. Its own folders and hidden files are left alone."""

    def __init__(self, folder: Path, receiver: Receiver, settled_after_s: float = SETTLED_AFTER_S) -> None:
        self._folder = folder
        self._receiver = receiver
        self._settled_after_s = settled_after_s
        for name in (DONE, REFUSED):
            (folder / name).mkdir(parents=True, exist_ok=True)

    async def look(self) -> int:
        """Receive what lies there, and move it once it is told of: a crash in between only tells of it again."""
        received = 0
        for path in await asyncio.to_thread(self._settled):
            content = await asyncio.to_thread(_read, path)
            answer = await self._receiver.receive(content, f"drop folder: {path.name}")
            if isinstance(answer, Refused):
                await asyncio.to_thread(self._refuse, path, content, answer.reason)
            else:
                await asyncio.to_thread(_move, path, self._folder / DONE, content)
                received += 1
        return received

    def _settled(self) -> list[Path]:
        before = time.time() - self._settled_after_s
        files = [path for path in self._folder.iterdir() if path.is_file() and not path.is_symlink()]
        return sorted(path for path in files if path.name[0] != "." and path.stat().st_mtime <= before)

    def _refuse(self, path: Path, content: bytes, reason: str) -> None:
        refused = _move(path, self._folder / REFUSED, content)
        refused.with_name(f"{refused.name}.txt").write_text(f"{path.name} was not taken: {reason}\n", encoding="utf-8")


def _read(path: Path) -> bytes:
    """The content; of a file that is too large no more than shows that it is."""
    with path.open("rb") as file:
        return file.read(SHEET_MAX_BYTES + 1)


def _move(path: Path, folder: Path, content: bytes) -> Path:
    """Move the file; another of its name that is there already stays."""
    target = folder / path.name
    if target.exists():
        target = folder / f"{path.stem}-{sha256(content).hexdigest()[:8]}{path.suffix}"
    return path.replace(target)
