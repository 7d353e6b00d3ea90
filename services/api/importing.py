"""An uploaded file, imported beside the requests: read in a thread, published with confirms, its progress in a row.

Whoever asks, and from whichever replica, sees how far it is. Of a process that died the row stops; the file may be
uploaded again, since importing creates nothing twice.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import structlog
from sqlalchemy import text

from services.api.state import Shared
from services.cli.importing import ImportSummary, Progressed, import_file
from services.ingest.files import ImportFileError, ReadOptions
from shared.errors import in_short
from shared.messaging.envelope import Outgoing

log = structlog.get_logger(__name__)

T = TypeVar("T")

CHUNK_BYTES = 1_048_576
ADD = text("INSERT INTO imports (file_name, created_by) VALUES (:name, :actor) RETURNING id")
PROGRESS = text("""
    UPDATE imports SET share = :share, rows = :rows, sent = :sent, skipped_closed = :skipped_closed,
                       rejected = :rejected, updated_at = now()
    WHERE id = :id
""")
END = text("""
    UPDATE imports SET state = :state, problem = :problem, rejected_path = :path, rejected_sha256 = :sha256,
                       updated_at = now()
    WHERE id = :id
""")


async def begin(shared: Shared, content: BinaryIO, name: str, options: ReadOptions, actor: str) -> int:
    """Keep the upload and begin to import it; give the import's id."""
    folder = tempfile.TemporaryDirectory(prefix="leadline-import-")
    try:
        path = Path(folder.name) / ("upload" + Path(name).suffix[:10])
        await asyncio.to_thread(_keep, content, path)
        async with shared.database.begin() as tx:
            import_id: int = (await tx.execute(ADD, {"name": name, "actor": actor})).scalar_one()
    except BaseException:
        folder.cleanup()
        raise
    shared.errands.start(f"import {import_id}", _run(shared, import_id, folder, path, options), asyncio.Event())
    return import_id


async def _run(
    shared: Shared, import_id: int, folder: tempfile.TemporaryDirectory[str], path: Path, options: ReadOptions
) -> None:
    try:
        summary = await _import(shared, import_id, path, options)
        stored = None
        if summary.rejected_file is not None:
            rows = await asyncio.to_thread(summary.rejected_file.read_bytes)
            stored = await asyncio.to_thread(shared.store.write, f"imports/{import_id}/rejected.csv", rows)
        await _progressed(shared, import_id, _of(summary))
        kept, digest = (stored.path, stored.sha256) if stored else (None, None)
        await _end(shared, import_id, "done", None, kept, digest)
    except ImportFileError as error:
        await _end(shared, import_id, "failed", str(error).replace(str(path), path.name))
    except Exception as error:
        log.exception("import.failed", import_id=import_id)
        await _end(shared, import_id, "failed", f"something went wrong here: {in_short(error)}")
    finally:
        await asyncio.to_thread(folder.cleanup)


async def _import(shared: Shared, import_id: int, path: Path, options: ReadOptions) -> ImportSummary:
    """Read in a thread with a loop of its own: a large sheet takes seconds. Publisher and pool stay in this one."""
    here = asyncio.get_running_loop()

    def across(work: Callable[[Any], Coroutine[Any, Any, T]]) -> Callable[[Any], Awaitable[T]]:
        async def call(value: Any) -> T:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(value), here))

        return call

    async def publish(messages: Sequence[Outgoing]) -> None:
        await shared.publisher.publish(messages)

    async def tell(progressed: Progressed) -> None:
        await _progressed(shared, import_id, progressed)

    def read() -> ImportSummary:
        return asyncio.run(import_file(path, options, publish=across(publish), tell=across(tell)))

    return await asyncio.to_thread(read)


def _of(summary: ImportSummary) -> Progressed:
    return Progressed(1.0, summary.rows, summary.sent, summary.skipped_closed, summary.rejected)


async def _progressed(shared: Shared, import_id: int, progressed: Progressed) -> None:
    async with shared.database.begin() as tx:
        await tx.execute(PROGRESS, {"id": import_id, **asdict(progressed)})


async def _end(
    shared: Shared,
    import_id: int,
    state: str,
    problem: str | None,
    path: str | None = None,
    sha256: str | None = None,
) -> None:
    async with shared.database.begin() as tx:
        values = {"id": import_id, "state": state, "problem": problem, "path": path, "sha256": sha256}
        await tx.execute(END, values)


def _keep(content: BinaryIO, path: Path) -> None:
    with path.open("wb") as file:
        while chunk := content.read(CHUNK_BYTES):
            file.write(chunk)
