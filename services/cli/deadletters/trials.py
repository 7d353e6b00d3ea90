"""Tries a page of messages as their service would handle them, in a transaction that is rolled back.

Ingest and assigner run their own handlers. Documents and notifier are asked what they would do: no sheet is kept, no
mail is sent. A lot, and a look at all that waits, would hold a route for long: what decides whether they run is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.consumer import AssignLeads
from services.assigner.facts import Status
from services.assigner.queries.routes import read_routes
from services.cli.deadletters.verdicts import Outcome, Verdict
from services.documents import queries as documents
from services.documents.pdf import render
from services.documents.returning import TakeReturns
from services.ingest.consumer import StoreLeads
from services.ingest.reference import ReferenceReader
from services.notifier import queries as notifier
from services.notifier.errands import Desk, Errand, UnknownSubjectError, errands
from services.notifier.planning import Note, Pin, Visit
from services.webhooks import queries as webhooks
from shared.db.session import Database
from shared.events import (
    AssignmentRequested,
    DocumentReady,
    Event,
    LeadAccepted,
    LeadAssigned,
    LeadDuplicate,
    LeadUnassigned,
    LotCompleted,
    LotRequested,
    SheetDamaged,
    SheetReturned,
)
from shared.messaging.envelope import Message
from shared.messaging.processing import Busy, Deferred, Effect, Handler, Rejected
from shared.sheetkeys import SheetKeys, read_keys
from shared.sheetstore import DamagedFileError, SheetStore

Verdicts = dict[int, Verdict]

NOTHING_TO_MAIL = "the mail is settled, or no profile mails this"

#: Every lead's number of records, and its last one.
RECORDS = text("""
    SELECT leads.lead_id, count(*) AS records,
           (array_agg(assignment_records.reason ORDER BY assignment_records.id DESC))[1] AS reason,
           (array_agg(assignment_records.method ORDER BY assignment_records.id DESC))[1] AS method,
           (array_agg(assignment_records.assignment_status_id ORDER BY assignment_records.id DESC))[1] AS status
    FROM leads JOIN assignment_records ON assignment_records.lead_id = leads.id
    WHERE leads.lead_id = ANY(CAST(:lead_ids AS text[])) GROUP BY leads.lead_id
""")
LOT_IS_KNOWN = text("SELECT EXISTS (SELECT 1 FROM lots WHERE route_id = :route_id AND lot_key = :lot_key)")
STATUSES = text("SELECT sheet_key, status FROM documents WHERE sheet_key = ANY(CAST(:keys AS text[]))")


class Trial(Protocol):
    """Says what a service would do with messages of different keys."""

    async def __call__(self, database: Database, batch: Sequence[Message]) -> Verdicts: ...


@asynccontextmanager
async def rolled_back(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a transaction of which nothing stays."""
    async with database.begin() as tx, tx.begin_nested() as nested:
        try:
            yield tx
        finally:
            if nested.is_active:
                await nested.rollback()


async def _effects(tx: AsyncConnection, handler: Handler[Any], database: Database, batch: Sequence[Message]) -> Any:
    effects: list[Effect] = []
    async with aclosing(handler.prepare(database, batch)) as pieces:
        async for piece in pieces:
            effects += await handler.save(tx, piece)
    return effects


def _refused(effects: Sequence[Effect]) -> Verdicts:
    """What a handler does not take now."""
    verdicts: Verdicts = {}
    for effect in effects:
        match effect:
            case Rejected(message, reason):
                verdicts[message.delivery.tag] = Verdict(Outcome.FAILS, reason)
            case Deferred(message, reason):
                verdicts[message.delivery.tag] = Verdict(Outcome.FAILS, f"{reason}: it would wait on the retry ladder")
            case Busy(message):
                verdicts[message.delivery.tag] = Verdict(Outcome.BUSY, "somebody is at it")
            case _:
                continue
    return verdicts


def _rest(batch: Sequence[Message], verdicts: Verdicts, why: str) -> Verdicts:
    """All others change nothing."""
    return {m.delivery.tag: verdicts.get(m.delivery.tag, Verdict(Outcome.DONE, why)) for m in batch}


@dataclass(frozen=True, slots=True)
class IngestTrial:
    """Stores leads, and takes that back."""

    reader: ReferenceReader

    async def __call__(self, database: Database, batch: Sequence[Message]) -> Verdicts:
        async with rolled_back(database) as tx:
            effects = await _effects(tx, StoreLeads(self.reader), database, batch)
        verdicts = _refused(effects)
        tags = {message.key: message.delivery.tag for message in batch}
        for effect in effects:
            match effect:
                case LeadAccepted(lead_id=lead_id):
                    verdicts[tags[lead_id]] = Verdict(Outcome.THROUGH, "the lead would be stored")
                case LeadDuplicate(lead_id=lead_id, duplicate_of=first) if first != lead_id:
                    verdicts[tags[lead_id]] = Verdict(Outcome.THROUGH, "the lead would be stored as a duplicate")
        return _rest(batch, verdicts, "the lead is stored already, and nothing newer is told of it")


class AssignerTrial:
    """Assigns leads and changes assignments, and takes that back. A wake changes nothing that waits for it."""

    async def __call__(self, database: Database, batch: Sequence[Message]) -> Verdicts:
        wakes = [message for message in batch if isinstance(message.event, AssignmentRequested)]
        others = [message for message in batch if not isinstance(message.event, AssignmentRequested)]
        woken = {m.delivery.tag: Verdict(Outcome.THROUGH, "the leads that wait would be looked at") for m in wakes}
        return woken | (await self._try(database, others) if others else {})

    async def _try(self, database: Database, batch: Sequence[Message]) -> Verdicts:
        lead_ids = {"lead_ids": [message.key for message in batch]}
        async with rolled_back(database) as tx:
            before = {row.lead_id: row.records for row in await tx.execute(RECORDS, lead_ids)}
            effects = await _effects(tx, AssignLeads(), database, batch)
            after = {row.lead_id: row for row in await tx.execute(RECORDS, lead_ids)}
        verdicts = _refused(effects)
        for message in batch:
            row = after.get(message.key)
            if row is not None and row.records > before.get(message.key, 0):
                verdicts[message.delivery.tag] = _of_record(row)
        return _rest(batch, verdicts, "the lead stands as the message would have it")


def _of_record(row: Any) -> Verdict:
    if "refused" in row.method:
        return Verdict(Outcome.DONE, f"it would be refused: {row.reason}")
    status = Status(row.status).name.replace("_", " ").lower()
    return Verdict(Outcome.THROUGH, f"the lead would be {status}" + (f": {row.reason}" if row.reason else ""))


class LotTrial:
    """Asks whether a lot would run."""

    async def __call__(self, database: Database, batch: Sequence[Message]) -> Verdicts:
        async with database.reading() as connection:
            routes = {route.name: route for route in (await read_routes(connection)).values()}
            return {m.delivery.tag: await self._lot(connection, m.event, routes) for m in batch}

    async def _lot(self, connection: AsyncConnection, request: Any, routes: Mapping[str, Any]) -> Verdict:
        assert isinstance(request, LotRequested)
        route = routes.get(request.route)
        if route is None:
            return Verdict(Outcome.FAILS, f"there is no route {request.route!r} in use")
        if route.mode != "lot":
            return Verdict(Outcome.FAILS, f"the route {route.name!r} assigns leads as they come: it has no lots")
        values = {"route_id": route.id, "lot_key": request.lot_key}
        if (await connection.execute(LOT_IS_KNOWN, values)).scalar_one():
            return Verdict(Outcome.DONE, "the lot has been run")
        return Verdict(Outcome.THROUGH, "the lot would be run")


NOTHING_NEW = "the returned sheet has been read, or says nothing"


@dataclass(frozen=True, slots=True)
class DocumentsTrial:
    """Asks which sheets would be made, and renders them without keeping them; reads those that came back."""

    sheets_dir: Path | str
    sheet_key: str

    async def __call__(self, database: Database, batch: Sequence[Message]) -> Verdicts:
        return {message.delivery.tag: await self._one(database, message) for message in batch}

    async def _one(self, database: Database, message: Message) -> Verdict:
        event = message.event
        async with database.reading() as connection:
            keys = await read_keys(connection, self.sheet_key)
        if isinstance(event, SheetReturned):
            return await self._returned(database, message, keys)
        if isinstance(event, SheetDamaged):
            return await self._damaged(database, event)
        if isinstance(event, LeadAssigned):
            async with database.reading() as connection:
                sheets = await documents.sheets_to_make(connection, [event.sheet_key])
            for sheet in sheets:
                await asyncio.to_thread(render, sheet.facts, keys.signing)
            if sheets:
                return Verdict(Outcome.THROUGH, "the sheet would be made")
        earlier = event.previous_sheet_key if isinstance(event, LeadAssigned | LeadUnassigned) else None
        if earlier and await self._is_superseded(database, earlier):
            return Verdict(Outcome.THROUGH, "the earlier sheet would be superseded")
        return Verdict(Outcome.DONE, "the sheet is made, or nobody is to get it any more")

    async def _returned(self, database: Database, message: Message, keys: SheetKeys) -> Verdict:
        """Read the file as it would be read, and roll back what it says."""
        returns = TakeReturns(SheetStore(self.sheets_dir))
        async with aclosing(returns.prepare([message], keys)) as pieces, rolled_back(database) as tx:
            effects = [effect async for piece in pieces for effect in await returns.save(tx, piece)]
        refused = next((effect.reason for effect in effects if isinstance(effect, Rejected)), None)
        if refused is not None:
            return Verdict(Outcome.FAILS, refused)
        return Verdict(Outcome.THROUGH, "the sheet would be read") if effects else Verdict(Outcome.DONE, NOTHING_NEW)

    async def _damaged(self, database: Database, event: SheetDamaged) -> Verdict:
        async with database.reading() as connection:
            there = await documents.standing(connection, [event.sheet_key])
        store = SheetStore(self.sheets_dir)
        if all([await asyncio.to_thread(store.holds, each.file_path, each.sha256) for each in there]):
            return Verdict(Outcome.DONE, "the sheet's file is what it must be, or nobody is to get it any more")
        return Verdict(Outcome.THROUGH, "the sheet would be made anew")

    async def _is_superseded(self, database: Database, key: str) -> bool:
        async with rolled_back(database) as tx:
            before = (await tx.execute(STATUSES, {"keys": [key]})).all()
            await documents.supersede(tx, [key])
            return before != (await tx.execute(STATUSES, {"keys": [key]})).all()


@dataclass(frozen=True, slots=True)
class NotifierTrial:
    """Asks which mails would be sent, and whether their sheet is on disk. Nothing is claimed."""

    sheets_dir: Path | str
    env: str

    async def __call__(self, database: Database, batch: Sequence[Message]) -> Verdicts:
        return {message.delivery.tag: await self._one(database, message.event) for message in batch}

    async def _one(self, database: Database, event: Any) -> Verdict:
        if not isinstance(event, DocumentReady | LotCompleted):
            raise TypeError(f"notifier takes no {event.type}")
        try:
            async with database.reading() as connection:
                found = await errands(connection, event, self.env)
                verdicts = [await self._of(connection, errand) for errand in found]
        except UnknownSubjectError as error:
            return Verdict(Outcome.FAILS, str(error))
        worst = {verdict.outcome: verdict for verdict in verdicts if verdict is not None}
        order = (Outcome.BUSY, Outcome.FAILS, Outcome.THROUGH, Outcome.DONE)
        return next((worst[each] for each in order if each in worst), Verdict(Outcome.DONE, NOTHING_TO_MAIL))

    async def _of(self, connection: AsyncConnection, errand: Errand) -> Verdict | None:
        """Say what would come of the next step; None: nothing is left to do."""
        step = await errand.look(connection, Desk(self.env, "localhost"), Visit(), is_claimed=False)
        if step is None:
            return None
        if isinstance(step, Note):
            return Verdict(Outcome.DONE, step.reason)
        ids = [each.document_id or 0 for each in step.ready] if isinstance(step, Pin) else step.mail.document_ids
        sheets = [sheet for sheet in await notifier.read_sheets(connection, ids) if sheet.void is None]
        return await asyncio.to_thread(self._on_disk, sheets)

    def _on_disk(self, sheets: Sequence[notifier.Sheet]) -> Verdict:
        if sheets and isinstance(self.sheets_dir, Path) and not self.sheets_dir.is_dir():
            return Verdict(Outcome.BUSY, f"the folder of sheets {self.sheets_dir} is not on this machine")
        try:
            for sheet in sheets:
                SheetStore(self.sheets_dir).read(sheet.file_path, sheet.sha256)
        except (OSError, DamagedFileError) as error:
            return Verdict(Outcome.FAILS, f"the sheet cannot be read: {error}")
        return Verdict(Outcome.THROUGH, "the mail would be sent")


class WebhooksTrial:
    """Asks which endpoints would be told. Nothing is sent, so nobody knows what they would answer."""

    async def __call__(self, database: Database, batch: Sequence[Message]) -> Verdicts:
        async with database.reading() as connection:
            endpoints = await webhooks.endpoints(connection)
            settled = await webhooks.settled(connection, endpoints, [message.event.event_id for message in batch])
        return {message.delivery.tag: self._one(message.event, endpoints, settled) for message in batch}

    def _one(self, event: Event, endpoints: Sequence[webhooks.Endpoint], settled: set[tuple[int, str]]) -> Verdict:
        due = [e.id for e in endpoints if event.type in e.events and (e.id, event.event_id) not in settled]
        if not due:
            return Verdict(Outcome.DONE, "no webhook is to be told of it any more")
        return Verdict(Outcome.THROUGH, f"{len(due)} webhooks would be told")
