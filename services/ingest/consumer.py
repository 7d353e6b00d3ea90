"""Stores leads. One piece a batch: read and decide before the transaction, write everything in one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.ingest import intake, queries
from services.ingest.intake import Lead
from services.ingest.queries import Claim, Holder
from services.ingest.reference import Known, ReferenceReader
from shared.db.session import Database
from shared.events import Event, LeadAccepted, LeadCreated, LeadDuplicate, LeadRejected, LeadUpdated
from shared.messaging.envelope import Invalid, Message
from shared.messaging.processing import Deferred, Effect, Rejected, Subscription


def refuse(invalid: Invalid) -> tuple[str, Sequence[Event]]:
    """Say field by field what is wrong with a message that holds no event, and tell its sender."""
    if invalid.error is None:
        return invalid.reason, ()
    rejected = intake.as_error(invalid.error)
    return rejected.reason, [LeadRejected(lead_id=invalid.lead_id, errors=rejected.errors)]


SUBSCRIPTION = Subscription(queue="ingest", events=(LeadCreated, LeadUpdated), refuse=refuse)


@dataclass(frozen=True, slots=True)
class Piece:
    """A batch, read: leads to store, updates to apply once their lead is locked, and what was refused."""

    now: datetime
    known: Known
    created: Mapping[str, tuple[Message, Lead]]
    updated: Sequence[Message]
    refused: Sequence[Effect]


class StoreLeads:
    """The handler: every lead is stored once, however often and in whatever order its messages come."""

    def __init__(self, reference: ReferenceReader) -> None:
        self._reference = reference

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        piece = read(batch, await self._reference.latest(database), datetime.now(UTC))
        if piece.refused:  # perhaps over something that was added a moment ago
            piece = read(batch, await self._reference.anew(database), piece.now)
        yield piece

    async def save(self, tx: AsyncConnection, piece: Piece) -> Sequence[Effect]:
        """Store new leads with their first assignment, count repeats, apply updates.

        Rows are locked in the order of their keys: sources, stores, customers, leads, natural keys.
        """
        leads = [lead for _, lead in piece.created.values()]
        piece = await _with_new_sources_and_stores(tx, piece, leads)
        customers = await queries.add_customers(tx, leads)
        rows = {lead.lead_id: _row(lead, piece.known, customers) for lead in leads}
        new = await queries.insert_leads(tx, list(rows.values())) if rows else {}
        duplicates = await _claim(tx, piece, {lead_id: (key, rows[lead_id]) for lead_id, key in new.items()})
        if new:
            await queries.insert_assignments(tx, {key: key in duplicates for key in new.values()})
        existing = [lead_id for lead_id in rows if lead_id not in new]
        changed = await _look_again(tx, piece, existing)
        accepted = [
            LeadAccepted(lead_id=lead_id, revision=1, as_of=_as_of(piece.created[lead_id][0]))
            for lead_id, key in new.items()
            if key not in duplicates
        ]
        told = [
            LeadDuplicate(lead_id=lead_id, revision=1, duplicate_of=duplicates[key].lead_id)
            for lead_id, key in new.items()
            if key in duplicates
        ]
        return [*accepted, *told, *changed, *piece.refused]


def read(batch: Sequence[Message], known: Known, now: datetime) -> Piece:
    """Read all messages of a batch; pure."""
    created: dict[str, tuple[Message, Lead]] = {}
    updated: list[Message] = []
    refused: list[Effect] = []
    for message in batch:
        match message.event:
            case LeadCreated() as event:
                lead = intake.read_created(event, known.rules(event.source), known.reference, now)
                if isinstance(lead, Lead):
                    created[lead.lead_id] = message, lead
                else:
                    refused += _rejected(message, event.lead_id, lead)
            case LeadUpdated():
                updated.append(message)
            case other:
                raise TypeError(f"ingest takes no {other.type}")
    return Piece(now, known, created, updated, refused)


def _rejected(message: Message, lead_id: str, rejected: intake.Rejected) -> list[Effect]:
    return [
        Rejected(message, rejected.reason, "Invalid"),
        LeadRejected(lead_id=lead_id, errors=rejected.errors),
    ]


async def _with_new_sources_and_stores(tx: AsyncConnection, piece: Piece, leads: Sequence[Lead]) -> Piece:
    """Store what nobody knows yet as new: it holds nothing up."""
    known = piece.known
    names = {lead.source for lead in leads} | {
        event.source for message in piece.updated if isinstance(event := message.event, LeadUpdated) and event.source
    }
    if unknown := sorted(name for name in names if name.casefold() not in known.sources):
        known = replace(known, sources=await queries.add_sources(tx, unknown))
    stores = {lead.store_code: lead.store_name for lead in leads if lead.store_code not in known.stores}
    stores.pop(None, None)
    if stores:
        await queries.add_stores(tx, {code: name for code, name in stores.items() if code is not None})
    return replace(piece, known=known)


def _row(lead: Lead, known: Known, customers: Mapping[str, int]) -> dict[str, Any]:
    """Give a lead as a row of `leads`: ids in the place of names."""
    return _as_row(asdict(lead), known, customers)


def _as_row(lead: Mapping[str, Any], known: Known, customers: Mapping[str, int]) -> dict[str, Any]:
    ids = {"source_id": known.rules(lead["source"]).id, "customer_id": customers.get(lead["external_id"] or "")}
    return {**lead, **ids}


async def _claim(
    tx: AsyncConnection, piece: Piece, new: Mapping[str, tuple[int, Mapping[str, Any]]]
) -> dict[int, Holder]:
    """Let the new leads claim their natural keys; give the duplicates with the lead that each repeats."""
    claims: dict[intake.NaturalKey, Claim] = {}
    duplicates: dict[int, Holder] = {}
    for lead_id, (key, row) in new.items():
        _, lead = piece.created[lead_id]
        rules = piece.known.rules(lead.source)
        for natural in intake.natural_keys(lead, rules):
            claim = Claim(natural, key, lead_id, row["customer_id"], lead.created_at)
            first = claims.setdefault(natural, claim)
            if first is not claim and first.id != key:
                holder = Holder(first.id, first.lead_id, first.customer_id, first.seen_at, is_open=True)
                if _is_kept(claim, holder, rules.duplicate_days):
                    duplicates[key] = holder
    days = {lead_id: piece.known.rules(piece.created[lead_id][1].source).duplicate_days for lead_id in new}
    ordered = [claim for claim in claims.values() if claim.id not in duplicates]
    if ordered:
        kept = await queries.claim_keys(tx, ordered, lambda claim, held: _is_kept(claim, held, days[claim.lead_id]))
        duplicates |= kept
    if duplicates:
        await queries.mark_duplicates(tx, {key: holder.id for key, holder in duplicates.items()})
    return duplicates


def _is_kept(claim: Claim, holder: Holder, days: int) -> bool:
    """Tell whether a lead is its key's holder's duplicate: open, within the window, not of the same known customer."""
    is_same_customer = claim.customer_id is not None and claim.customer_id == holder.customer_id
    return holder.is_open and not is_same_customer and abs(claim.seen_at - holder.seen_at) <= timedelta(days=days)


async def _look_again(tx: AsyncConnection, piece: Piece, repeated: Sequence[str]) -> list[Effect]:
    """Count leads that came again and name what differs; apply updates."""
    updates = {event.lead_id: message for message in piece.updated if isinstance(event := message.event, LeadUpdated)}
    if not repeated and not updates:
        return []
    stored = await queries.lock_leads(tx, [*repeated, *updates])
    if repeated:
        await queries.count_repeats(tx, repeated)
    effects: list[Effect] = []
    for lead_id in repeated:
        lead = stored[lead_id]
        if fields := intake.differing_fields(lead, piece.created[lead_id][1], lead["written_at"] or {}):
            effects.append(
                LeadDuplicate(lead_id=lead_id, revision=lead["revision"], duplicate_of=lead_id, differing_fields=fields)
            )
    return effects + await _apply(tx, piece, updates, stored)


async def _apply(
    tx: AsyncConnection, piece: Piece, updates: Mapping[str, Message], stored: Mapping[str, Mapping[str, Any]]
) -> list[Effect]:
    """Apply each update to its lead; one whose lead is not there yet waits on the ladder."""
    effects: list[Effect] = []
    merged: dict[str, dict[str, Any]] = {}
    noted: dict[str, Mapping[str, str]] = {}
    for lead_id, message in updates.items():
        event = message.event
        assert isinstance(event, LeadUpdated)
        lead = stored.get(lead_id)
        if lead is None:
            effects.append(Deferred(message, f"the lead {lead_id!r} is not known yet", "UnknownLead"))
            continue
        rules = piece.known.rules(event.source or lead["source"])
        changes = intake.read_updated(event, rules, piece.known.reference, piece.now)
        if isinstance(changes, intake.Rejected):
            effects += _rejected(message, lead_id, changes)
            continue
        after = intake.apply_changes(lead, lead["written_at"] or {}, changes)
        if after.is_changed:
            merged[lead_id] = {**lead, **after.values, "written_at": after.written_at}
            effects.append(LeadAccepted(lead_id=lead_id, revision=lead["revision"] + 1))
        elif after.is_newer:
            noted[lead_id] = after.written_at
    await _write(tx, piece.known, merged, noted)
    return effects


async def _write(
    tx: AsyncConnection, known: Known, merged: Mapping[str, dict[str, Any]], noted: Mapping[str, Mapping[str, str]]
) -> None:
    if merged:
        people = [
            Lead(
                lead_id=lead["lead_id"],
                source=lead["source"],
                created_at=lead["created_at"],
                external_id=lead["external_id"],
                customer_name=lead["customer_name"],
                mobile_number=lead["mobile_number"],
                email=lead["email"],
            )
            for lead in merged.values()
        ]
        customers = await queries.add_customers(tx, people)
        await queries.update_leads(tx, [_as_row(lead, known, customers) for lead in merged.values()])
    if noted:
        await queries.mark_written(tx, noted)


def _as_of(message: Message) -> Any:
    event = message.event
    return event.as_of if isinstance(event, LeadCreated) else None
