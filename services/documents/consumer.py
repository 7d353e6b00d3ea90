"""Makes sheets. Rendered and on disk before the transaction; one row a sheet key, whatever is redelivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy.ext.asyncio import AsyncConnection

from services.documents import queries
from services.documents.filenames import lot_suffix, sheet_path, stream_suffix
from services.documents.pdf import render
from services.documents.queries import Kept, Sheet
from shared.db.session import Database
from shared.events import DocumentReady, LeadAssigned, LeadUnassigned
from shared.messaging.envelope import Message
from shared.messaging.processing import Effect, Subscription
from shared.sheetstore import SheetStore

SUBSCRIPTION = Subscription(queue="documents", events=(LeadAssigned, LeadUnassigned))
CHUNK = 25


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk of sheets on disk, or keys of sheets that may be superseded."""

    kept: Sequence[Kept] = ()
    previous_keys: Sequence[str] = ()


class MakeSheets:
    """The handler: one sheet a sheet key."""

    def __init__(self, store: SheetStore) -> None:
        self._store = store

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        events = [message.event for message in batch]
        previous = {
            event.previous_sheet_key
            for event in events
            if isinstance(event, LeadAssigned | LeadUnassigned) and event.previous_sheet_key
        }
        if previous:
            yield Piece(previous_keys=sorted(previous))
        keys = dict.fromkeys(event.sheet_key for event in events if isinstance(event, LeadAssigned))
        async with database.reading() as connection:
            sheets = iter(await queries.sheets_to_make(connection, list(keys)))
        while chunk := list(islice(sheets, CHUNK)):
            yield Piece(await asyncio.to_thread(self._make, chunk))

    async def save(self, tx: AsyncConnection, piece: Piece) -> Sequence[Effect]:
        if piece.previous_keys:
            await queries.supersede(tx, piece.previous_keys)
        ready = await queries.add_documents(tx, piece.kept) if piece.kept else {}
        return [
            DocumentReady(
                document_id=ready[key],
                sheet_key=key,
                lot_id=each.sheet.lot_id,
                store_code=each.sheet.store_code,
                agent_code=each.sheet.agent_code,
                lead_ids=each.sheet.lead_ids,
            )
            for each in piece.kept
            if (key := each.sheet.facts.sheet_key) in ready
        ]

    def _make(self, sheets: Sequence[Sheet]) -> list[Kept]:
        """Render and keep; on disk when this returns."""
        return [self._keep(sheet, render(sheet.facts)) for sheet in sheets]

    def _keep(self, sheet: Sheet, content: bytes) -> Kept:
        suffix = lot_suffix(sheet.lot_id) if sheet.lot_id else stream_suffix(sheet.facts.rows[0].rowid or 0)
        stored = self._store.write(sheet_path(sheet.day, sheet.place, sheet.agent_code, suffix), content)
        return Kept(sheet, stored.path, stored.sha256, stored.size)
