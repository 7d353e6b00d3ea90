"""Stores leads. One piece a batch: read and decide before the transaction, write everything in one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import structlog
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ingest import intake, problems, queries
from services.ingest.changes import apply_changes, differing_fields
from services.ingest.intake import Lead, NaturalKey
from services.ingest.queries import Claim, Holder, Inserted
from services.ingest.reference import Known, ReferenceReader
from shared.db.session import Database
from shared.events import Event, FieldError, LeadAccepted, LeadCreated, LeadDuplicate, LeadRejected, LeadUpdated
from shared.messaging.envelope import Invalid, Message
from shared.messaging.processing import Deferred, Effect, Rejected, Subscription

log = structlog.get_logger(__name__)

PERSON_FIELDS = ("external_id", "customer_name", "mobile_number", "email")


def refuse(invalid: Invalid) -> tuple[str, Sequence[Event]]:
    """Say field by field what is wrong with a message that holds no event, and tell its sender."""
    if invalid.error is None:
        errors: tuple[FieldError, ...] = (FieldError(field="body", problem=invalid.reason),)
        return invalid.reason, [LeadRejected(lead_id=invalid.lead_id, errors=errors)]
    rejected = problems.as_error(invalid.error)
    return rejected.reason, [LeadRejected(lead_id=invalid.lead_id, errors=rejected.errors)]


SUBSCRIPTION = Subscription(queue="ingest", events=(LeadCreated, LeadUpdated), refuse=refuse, batch_size=500)


@dataclass(frozen=True, slots=True)
class Piece:
    """A batch, read: leads to store, updates to apply once their lead is locked, and what was refused."""

    now: datetime
    known: Known
    created: Mapping[str, tuple[Message, Lead]]
    updated: Mapping[str, tuple[Message, LeadUpdated]]
    refused: Sequence[Effect]

    @property
    def unknown_fields(self) -> int:
        """How many fields the contract does not know: they went to `attributes`."""
        return sum(lead.unknown_fields for _, lead in self.created.values())

    @property
    def sources(self) -> frozenset[str]:
        """All that are named."""
        updated = {event.source for _, event in self.updated.values() if event.source}
        return frozenset({lead.source for _, lead in self.created.values()} | updated)


class StoreLeads:
    """The handler: every lead is stored once, however often and in whatever order its messages come."""

    def __init__(self, reference: ReferenceReader) -> None:
        self._reference = reference

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        piece = read(batch, await self._reference.latest(database), datetime.now(UTC))
        if piece.refused or not all(map(piece.known.has_source, piece.sources)):  # perhaps it was added a moment ago
            piece = read(batch, await self._reference.anew(database), piece.now)
        if piece.unknown_fields:
            log.info("lead.unknown_fields", fields=piece.unknown_fields, leads=len(piece.created))
        yield piece

    async def save(self, tx: AsyncConnection, piece: Piece) -> Sequence[Effect]:
        """Store new leads with their first assignment, count repeats, apply updates.

        Rows are locked in one order: sources, stores, customers, leads that are new, natural keys, leads that exist.
        """
        known = await _with_new_sources_and_stores(tx, piece)
        leads = [lead for _, lead in piece.created.values()]
        customers = await queries.add_customers(tx, _people(piece))
        new: Mapping[str, int] = {}
        duplicates: Mapping[int, Holder] = {}
        if leads:
            claims = [_claims(lead, known, customers) for lead in leads]
            ids = [_ids(lead.source, lead.external_id, known, customers) for lead in leads]
            inserted = await queries.insert_leads(tx, leads, ids, [key for each in claims for key in each.keys])
            new = inserted.new
            if inserted.contested:
                duplicates = await _know_again(tx, claims, inserted)
        changed = await _look_again(tx, piece, known, [lead.lead_id for lead in leads if lead.lead_id not in new])
        return [*_told(piece, new, duplicates), *changed, *piece.refused]


def read(batch: Sequence[Message], known: Known, now: datetime) -> Piece:
    """Read all messages of a batch; pure."""
    created: dict[str, tuple[Message, Lead]] = {}
    updated: dict[str, tuple[Message, LeadUpdated]] = {}
    refused: list[Effect] = []
    for message in batch:
        match message.event:
            case LeadCreated() as event:
                lead = intake.read_created(event, known.rules(event.source), known.reference, now)
                if isinstance(lead, Lead):
                    created[lead.lead_id] = message, lead
                else:
                    refused += _rejected(message, event.lead_id, lead)
            case LeadUpdated() as event:
                # Of which source its lead is, is not known yet, nor does it matter to what can be wrong.
                changes = intake.read_updated(event, known.rules(event.source or ""), known.reference, now)
                if isinstance(changes, problems.Rejected):
                    refused += _rejected(message, event.lead_id, changes)
                else:
                    updated[event.lead_id] = message, event
            case other:
                raise TypeError(f"ingest takes no {other.type}")
    return Piece(now, known, created, updated, refused)


def _rejected(message: Message, lead_id: str, rejected: problems.Rejected) -> list[Effect]:
    return [
        Rejected(message, rejected.reason, "Invalid"),
        LeadRejected(lead_id=lead_id, errors=rejected.errors),
    ]


async def _with_new_sources_and_stores(tx: AsyncConnection, piece: Piece) -> Known:
    """Store what nobody knows yet as new: it holds nothing up."""
    known = await _with_sources(tx, piece.known, piece.sources)
    leads: list[Lead | LeadUpdated] = [lead for _, lead in piece.created.values()]
    leads += [event for _, event in piece.updated.values()]
    stores: dict[str, str | None] = {}
    for each in leads:
        if each.store_code is not None and each.store_code not in known.stores:
            stores[each.store_code] = stores.get(each.store_code) or each.store_name
    if stores:
        await queries.add_stores(tx, stores)
    return known


async def _with_sources(tx: AsyncConnection, known: Known, names: Iterable[str]) -> Known:
    unknown = sorted(name for name in names if not known.has_source(name))
    if not unknown:
        return known
    return replace(known, sources={**known.sources, **await queries.add_sources(tx, unknown)})


def _people(piece: Piece) -> list[dict[str, Any]]:
    """Who may be a new customer; of an update, before its lead is locked, since all lock customers before leads."""
    people: list[Lead | LeadUpdated] = [lead for _, lead in piece.created.values()]
    people += [event for _, event in piece.updated.values()]
    known = [person for person in people if person.external_id is not None]
    return [{name: getattr(person, name) for name in PERSON_FIELDS} for person in known]


def _ids(source: str, external_id: str | None, known: Known, customers: Mapping[str, int]) -> tuple[int, int | None]:
    """Give a lead's `source_id` and `customer_id`. KeyError for a source that is not stored."""
    return known.sources[source.casefold()].id, customers.get(external_id or "")


def _row(lead: Mapping[str, Any], known: Known, customers: Mapping[str, int]) -> dict[str, Any]:
    """Give a stored lead as a row of `leads`: ids in the place of names."""
    source_id, customer_id = _ids(lead["source"], lead["external_id"], known, customers)
    return {**lead, "source_id": source_id, "customer_id": customer_id}


def _told(piece: Piece, new: Mapping[str, int], duplicates: Mapping[int, Holder]) -> list[Event]:
    return [
        LeadDuplicate(lead_id=lead_id, revision=1, duplicate_of=duplicates[key].lead_id)
        if key in duplicates
        else _accepted(lead_id, piece.created[lead_id][0])
        for lead_id, key in new.items()
    ]


# Knowing again.


class Claims(Struct, frozen=True):
    """A lead and the natural keys that it claims; how many days it is another's duplicate; its id, once it has one."""

    lead_id: str
    keys: Sequence[Claim]
    days: int
    id: int = 0

    def of(self, ids: Mapping[str, int]) -> Claims:
        """Give it with its id."""
        return Claims(self.lead_id, self.keys, self.days, ids[self.lead_id])


def _claims(lead: Lead, known: Known, customers: Mapping[str, int]) -> Claims:
    rules = known.rules(lead.source)
    customer_id = customers.get(lead.external_id or "")
    keys = [Claim(natural, lead.lead_id, customer_id, lead.created_at) for natural in intake.natural_keys(lead, rules)]
    return Claims(lead.lead_id, keys, rules.duplicate_days)


async def _know_again(tx: AsyncConnection, asked: Sequence[Claims], inserted: Inserted) -> dict[int, Holder]:
    """Give the duplicates among new leads with whom each repeats, and leads with contested keys their assignment.

    `asked`: all that were to be inserted.
    """
    leads = [each.of(inserted.new) for each in asked if each.lead_id in inserted.new]
    claims = [claim for lead in leads for claim in lead.keys]
    first = {claim.key: claim for claim in reversed(claims)}
    before = await queries.hold_keys(tx, sorted(inserted.held)) if inserted.held else {}
    duplicates, after = settle(leads, before)
    if taken := {key: who for key, who in after.items() if key in before or who.lead_id != first[key].lead_id}:
        await queries.take_keys(tx, taken)
    if duplicates:
        await queries.mark_duplicates(tx, {key: holder.id for key, holder in duplicates.items()})
    await queries.insert_assignments(tx, {key: key in duplicates for key in sorted(inserted.contested)})
    return duplicates


def settle(
    leads: Sequence[Claims], holders: Mapping[NaturalKey, Holder]
) -> tuple[dict[int, Holder], dict[NaturalKey, Holder]]:
    """One lead after the other: a duplicate claims nothing, any other takes its keys. Pure."""
    now = dict(holders)
    duplicates: dict[int, Holder] = {}
    taken: dict[NaturalKey, Holder] = {}
    for lead in leads:
        found = [holder for claim in lead.keys if (holder := now.get(claim.key)) and _is_kept(claim, holder, lead.days)]
        if found:
            duplicates[lead.id] = found[0]
            continue
        for claim in lead.keys:
            holder = Holder(lead.id, claim.lead_id, claim.customer_id, claim.seen_at, is_open=True)
            taken[claim.key] = now[claim.key] = holder
    return duplicates, taken


def _is_kept(claim: Claim, holder: Holder, days: int) -> bool:
    """Tell whether a lead is its key's holder's duplicate: open, within the window, not of the same known customer."""
    is_same_customer = claim.customer_id is not None and claim.customer_id == holder.customer_id
    return holder.is_open and not is_same_customer and abs(claim.seen_at - holder.seen_at) <= timedelta(days=days)


# Leads that exist.


async def _look_again(tx: AsyncConnection, piece: Piece, known: Known, repeated: Sequence[str]) -> list[Effect]:
    """Count leads that came again and name what differs; apply updates."""
    if not repeated and not piece.updated:
        return []
    stored = await queries.lock_leads(tx, [*repeated, *piece.updated])
    known = await _with_sources(tx, known, {lead["source"] for lead in stored.values()})
    if repeated:
        await queries.count_repeats(tx, repeated)
    effects: list[Effect] = []
    for lead_id in repeated:
        lead = stored[lead_id]
        if fields := differing_fields(lead, piece.created[lead_id][1], lead["written_at"] or {}):
            effects.append(
                LeadDuplicate(lead_id=lead_id, revision=lead["revision"], duplicate_of=lead_id, differing_fields=fields)
            )
    return effects + await _apply(tx, piece, known, stored)


async def _apply(
    tx: AsyncConnection, piece: Piece, known: Known, stored: Mapping[str, Mapping[str, Any]]
) -> list[Effect]:
    """Apply each update to its lead; one whose lead is not there yet waits on the ladder."""
    effects: list[Effect] = []
    merged: list[dict[str, Any]] = []
    noted: dict[str, Mapping[str, str]] = {}
    for lead_id, (message, event) in piece.updated.items():
        lead = stored.get(lead_id)
        if lead is None:
            effects.append(Deferred(message, f"the lead {lead_id!r} is not known yet", "UnknownLead"))
            continue
        changes = intake.read_updated(event, known.rules(event.source or lead["source"]), known.reference, piece.now)
        if isinstance(changes, problems.Rejected):
            effects += _rejected(message, lead_id, changes)
            continue
        after = apply_changes(lead, lead["written_at"] or {}, changes)
        if after.is_changed:
            merged.append({**lead, **after.values, "written_at": after.written_at})
            effects.append(LeadAccepted(lead_id=lead_id, revision=lead["revision"] + 1))
        elif after.is_newer:
            noted[lead_id] = after.written_at
    if merged:
        customers = await queries.add_customers(tx, merged)
        await queries.update_leads(tx, [_row(lead, known, customers) for lead in merged])
    if noted:
        await queries.mark_written(tx, noted)
    return effects


def _accepted(lead_id: str, message: Message) -> LeadAccepted:
    occurred_at = message.event.occurred_at
    since = occurred_at if occurred_at is not None and occurred_at.tzinfo is not None else None
    return LeadAccepted(lead_id=lead_id, revision=1, as_of=_as_of(message), since=since)


def _as_of(message: Message) -> date | None:
    return message.event.as_of if isinstance(message.event, LeadCreated) else None
