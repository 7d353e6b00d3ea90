"""Takes sheets that came back: each file read apart, then stored in one transaction; the same file twice is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.documents import outcomes
from services.documents.outcomes import Received
from services.documents.reading import Refused, read_returned
from services.documents.returns import Outcome, ReturnedForm, judge
from services.documents.seals import Manifest, read_manifest
from shared.events import Event, LeadClosed, LeadTaken, OutcomeRecorded, SheetReturned
from shared.messaging.envelope import Message
from shared.messaging.processing import Effect, Rejected
from shared.sheetkeys import SheetKeys
from shared.sheetstore import DamagedFileError, SheetStore

log = structlog.get_logger(__name__)

Read = Callable[[bytes], Awaitable[ReturnedForm | Refused]]
NOT_OURS = "it is none of our sheets: its signed code is missing, changed, or of another installation"


@dataclass(frozen=True, slots=True)
class Ours:
    """A form that one of our keys has signed."""

    form: ReturnedForm
    manifest: Manifest
    key: bytes


@dataclass(frozen=True, slots=True)
class ReturnedPiece:
    """A file that came back, and what it is."""

    message: Message
    received: Received
    content: Ours | Refused


class TakeReturns:
    """Reads returned sheets from the store, and stores what they say."""

    def __init__(self, store: SheetStore, read: Read = read_returned) -> None:
        self._store = store
        self._read = read

    async def prepare(self, messages: Sequence[Message], keys: SheetKeys) -> AsyncGenerator[ReturnedPiece, None]:
        """Yield each file, read in a process of its own."""
        for message in messages:
            assert isinstance(message.event, SheetReturned)
            at = message.event.occurred_at or datetime.now(UTC)
            received = Received(message.event, at if at.tzinfo else at.replace(tzinfo=UTC))
            yield ReturnedPiece(message, received, await self._open(message.event, keys))

    async def save(self, tx: AsyncConnection, piece: ReturnedPiece) -> Sequence[Effect]:
        """Record outcomes and reviews, or why the file was refused."""
        match piece.content:
            case Refused(reason):
                await outcomes.add_returned(tx, piece.received, reason=reason)
                return [Rejected(piece.message, f"the returned sheet is refused: {reason}", "RefusedSheet")]
            case Ours(_, manifest, _) as ours:
                returned_id = await outcomes.add_returned(tx, piece.received, sheet_key=manifest.sheet_key)
                return [] if returned_id is None else await _take(tx, returned_id, piece.received.at, ours)

    async def _open(self, event: SheetReturned, keys: SheetKeys) -> Ours | Refused:
        try:
            content = await asyncio.to_thread(self._store.read, event.file_path, event.sha256)
        except (FileNotFoundError, DamagedFileError, ValueError) as error:
            return Refused(f"the file is not as it was received: {error}")
        form = await self._read(content)
        if isinstance(form, Refused):
            return form
        signed = next((found for text in form.manifests if (found := read_manifest(text, keys.known))), None)
        return Refused(NOT_OURS) if signed is None else Ours(form, *signed)


async def _take(tx: AsyncConnection, returned_id: int, at: datetime, ours: Ours) -> Sequence[Event]:
    """Store what a sheet says, and give what is new in it."""
    printed = await outcomes.printed_on(tx, ours.manifest.sheet_key)
    taken, reviews = judge(ours.form, ours.manifest, printed, key=ours.key, today=_last_day(at))
    revisions = await outcomes.record(tx, returned_id, taken, at)
    await outcomes.review(tx, returned_id, reviews)
    await outcomes.count(tx, returned_id, outcomes=len(taken), reviews=len(reviews))
    log.info("sheet.taken", sheet_key=ours.manifest.sheet_key, outcomes=len(taken), reviews=len(reviews))
    new = [outcome for outcome in taken if outcome.printed.assignment_id in revisions]
    return [
        event
        for outcome in new
        for event in (_recorded(outcome, revisions[outcome.printed.assignment_id]), *_consequences(outcome))
    ]


def _last_day(at: datetime) -> date:
    """The last day that has begun anywhere when the sheet came: no order is of a later one."""
    return (at.astimezone(UTC) + timedelta(hours=14)).date()


def _recorded(outcome: Outcome, revision: int) -> OutcomeRecorded:
    filled = outcome.filled
    return OutcomeRecorded(
        lead_id=outcome.printed.lead_id,
        revision=revision,
        lead_assignment_code=outcome.printed.row.lead_assignment_code,
        agent_code=outcome.printed.agent_code,
        is_converted=filled.is_converted,
        order_number=filled.order_number,
        order_date=filled.order_date,
        order_value=None if filled.order_value is None else f"{filled.order_value:.2f}",
        payment_mode=filled.payment_mode,
        payment_amount=None if filled.payment_amount is None else f"{filled.payment_amount:.2f}",
        remarks=filled.remarks,
    )


def _consequences(outcome: Outcome) -> list[Event]:
    """What follows for the lead: won with an order; else its work has begun. For a lead that is another's, nothing."""
    printed = outcome.printed
    if not printed.is_current:
        return []
    if outcome.filled.is_won:
        return [LeadClosed(lead_id=printed.lead_id, agent_code=printed.agent_code, reason="won")]
    return [] if printed.is_begun else [LeadTaken(lead_id=printed.lead_id, agent_code=printed.agent_code)]
