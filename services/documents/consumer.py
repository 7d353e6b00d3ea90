"""Makes sheets, and takes those that come back. One row a sheet key, one a returned file, whatever is redelivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.documents import queries
from services.documents.filenames import sheet_path
from services.documents.queries import Kept, Sheet
from services.documents.rendering import Render, render_here
from services.documents.returning import ReturnedPiece, TakeReturns
from shared.db.session import Database
from shared.events import DocumentReady, LeadAssigned, LeadUnassigned, SheetDamaged, SheetReturned
from shared.messaging.envelope import Message
from shared.messaging.processing import Effect, Subscription
from shared.sheetkeys import SheetKeys, read_keys
from shared.sheetstore import SheetStore

log = structlog.get_logger(__name__)

SUBSCRIPTION = Subscription(queue="documents", events=(LeadAssigned, LeadUnassigned, SheetReturned, SheetDamaged))
#: Sheets that are looked up at once, and leads that are rendered and saved at once: what bounds the memory of a lot.
KEYS_AT_ONCE = 25
LEADS_AT_ONCE = 700


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk of sheets on disk, or keys of sheets that may be superseded."""

    kept: Sequence[Kept] = ()
    previous_keys: Sequence[str] = ()


class MakeSheets:
    """The handler: one sheet a sheet key, there for good before its transaction.

    `sheet_key`: what LEADLINE_SHEET_KEY says.
    """

    def __init__(self, store: SheetStore, render: Render = render_here, *, sheet_key: str = "") -> None:
        self._store = store
        self._render = render
        self._returns = TakeReturns(store)
        self._configured_key = sheet_key
        self._keys: SheetKeys | None = None
        #: Sheets that were written, or were to be, and of which no document is known to say so.
        self._untold: set[str] = set()

    async def prepare(
        self, database: Database, batch: Sequence[Message]
    ) -> AsyncGenerator[Piece | ReturnedPiece, None]:
        async for piece in self._sheets(database, batch):
            yield piece
        if returned := [message for message in batch if isinstance(message.event, SheetReturned)]:
            async with database.reading() as connection:
                keys = await self._sheet_keys(connection)
            async for back in self._returns.prepare(returned, keys):
                yield back

    async def save(self, tx: AsyncConnection, piece: Piece | ReturnedPiece) -> Sequence[Effect]:
        if isinstance(piece, ReturnedPiece):
            return await self._returns.save(tx, piece)
        if piece.previous_keys:
            await queries.supersede(tx, piece.previous_keys)
        if not piece.kept:
            return []
        ids = await queries.add_documents(tx, piece.kept, self._store.backend)
        if others := [each for each in piece.kept if each.sheet.facts.sheet_key not in ids]:
            await self._describe(tx, others)
        return _ready(piece.kept, ids)

    async def _describe(self, tx: AsyncConnection, kept: Sequence[Kept]) -> None:
        """Of two that made one sheet at once the last to write has the file: under the row's lock, it says so.

        Each looks after it has written. Who finds another's content on disk leaves the row to that other.
        """
        others = await queries.lock_others(tx, kept)
        ours = [e for e in others if await asyncio.to_thread(self._store.holds, e.file_path, e.sha256)]
        if ours:
            await queries.describe(tx, ours)

    async def _sheets(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        events = [message.event for message in batch]
        previous = {
            event.previous_sheet_key
            for event in events
            if isinstance(event, LeadAssigned | LeadUnassigned) and event.previous_sheet_key
        }
        if previous:
            yield Piece(previous_keys=sorted(previous))
        doubtful = [key for message in batch if (key := _doubtful(message)) is not None]
        anew = await self._overwritten(database, [*self._untold, *doubtful])
        self._untold = set(anew)
        assigned = (event.sheet_key for event in events if isinstance(event, LeadAssigned))
        keys = iter(dict.fromkeys((*anew, *assigned)))
        while some := list(islice(keys, KEYS_AT_ONCE)):
            async with database.reading() as connection:
                sheets = await queries.sheets_to_make(connection, some, anew)
                first = await queries.first_of_their_day(connection, sheets)
                signing = (await self._sheet_keys(connection)).signing
            for chunk in in_chunks(sheets, LEADS_AT_ONCE):
                self._untold |= {sheet.facts.sheet_key for sheet in chunk}
                yield Piece(await self._make(chunk, first, signing))
        self._untold.clear()  # who asks for more has committed what it got

    async def _overwritten(self, database: Database, doubtful: Sequence[str]) -> list[str]:
        """Give the sheets whose file is not what their document says: who wrote it last never came to tell.

        If it died, its messages come again. If it was frozen before it wrote, they may be long done: then it looks
        itself when it comes round, and who is to mail the file tells. Only those are looked at.
        """
        if not doubtful:
            return []
        async with database.reading() as connection:
            there = await queries.standing(connection, doubtful)
        anew = [e.sheet_key for e in there if not await asyncio.to_thread(self._store.holds, e.file_path, e.sha256)]
        for sheet_key in anew:
            log.warning("sheet.made_anew", sheet_key=sheet_key)
        return anew

    async def _sheet_keys(self, connection: AsyncConnection) -> SheetKeys:
        """The keys, read once: they do not change while the service runs."""
        if self._keys is None:
            self._keys = await read_keys(connection, self._configured_key)
        return self._keys

    async def _make(self, sheets: Sequence[Sheet], first: Collection[str], key: bytes) -> list[Kept]:
        """Render and keep; there for good when this returns."""
        contents = await self._render([sheet.facts for sheet in sheets], key)
        paths = [_path(sheet, is_first=sheet.facts.sheet_key in first) for sheet in sheets]
        return await asyncio.to_thread(lambda: list(map(self._keep, sheets, paths, contents)))

    def _keep(self, sheet: Sheet, path: str, content: bytes) -> Kept:
        stored = self._store.write(path, content)
        return Kept(sheet, stored.path, stored.sha256, stored.size)


def _doubtful(message: Message) -> str | None:
    match message.event:
        case SheetDamaged(sheet_key=key):
            return key
        case LeadAssigned(sheet_key=key) if message.delivery.delivery_count:
            return key
    return None


def _path(sheet: Sheet, *, is_first: bool) -> str:
    return sheet_path(sheet.day, sheet.place, sheet.agent_code, "" if is_first else sheet.suffix)


def _ready(kept: Sequence[Kept], ids: Mapping[str, int]) -> list[Effect]:
    return [
        DocumentReady(
            document_id=ids[key],
            sheet_key=key,
            lot_id=each.sheet.lot_id,
            store_code=each.sheet.store_code,
            agent_code=each.sheet.agent_code,
            lead_ids=each.sheet.lead_ids,
        )
        for each in kept
        if (key := each.sheet.facts.sheet_key) in ids
    ]


def in_chunks(sheets: Sequence[Sheet], leads: int) -> Iterator[list[Sheet]]:
    """Part the sheets so that no part but one of a single sheet has more leads."""
    chunk: list[Sheet] = []
    for sheet in sheets:
        if chunk and sum(len(each.lead_ids) for each in (*chunk, sheet)) > leads:
            yield chunk
            chunk = []
        chunk.append(sheet)
    if chunk:
        yield chunk
