"""Mails sheets and summaries. One step a piece: a mail is claimed before it is looked at, and what became of it is
committed while the claim is still held.

Which sheets a store's mail carries is committed before it is sent, so that whoever sends it again sends the same. Up to
the final dot a mail is sent exactly once. A crash between the dot and the commit repeats it, once for each, under the
same Message-ID. A process that was frozen and comes round finds its claim gone, and sends nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from email.utils import parseaddr

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier import results
from services.notifier.claims import CLAIM_IDLE_S, claimed
from services.notifier.errands import Desk, Errand, StoreErrand, UnknownSubjectError, errands
from services.notifier.mailer import MailServerGoneError
from services.notifier.pacing import Pace
from services.notifier.planning import Note, Pin, Send, Step, Visit, merged, outcome
from services.notifier.posting import DamagedSheetsError, Post
from services.notifier.results import Result
from shared.db.session import Database
from shared.events import DocumentReady, LotCompleted, NotificationSent, SheetDamaged
from shared.messaging.envelope import Message
from shared.messaging.processing import Busy, Deferred, Effect, Rejected, Subscription
from shared.outage import DependencyGoneError

SUBSCRIPTION = Subscription(queue="notifier", events=(DocumentReady, LotCompleted), batch_size=50)
SMTP = "smtp"


@dataclass(frozen=True, slots=True)
class Noted:
    """Why a mail is not sent; it may not be claimed."""

    result: Result


@dataclass(frozen=True, slots=True)
class Pinned:
    """The mails that sheets are in from now on."""

    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class Mailed:
    """What became of one mail. `sheets`: those that it carried, by their documents."""

    message: Message
    result: Result
    sheets: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class Damaged:
    """Sheets whose files cannot be mailed, by their documents: they are to be made anew."""

    sheets: Sequence[tuple[int, str]]


Piece = Noted | Pinned | Mailed | Damaged | Busy | Rejected


class MailSheets:
    """The handler: each recipient gets one mail about what concerns it, however often its message is delivered."""

    def __init__(
        self, post: Post, *, sender: str, env: str, pace: Pace | None = None, claim_idle_s: float = CLAIM_IDLE_S
    ) -> None:
        self._post = post
        self._desk = Desk(env, parseaddr(sender)[1].partition("@")[2] or "localhost")
        self._pace = pace
        self._claim_idle_s = claim_idle_s

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Piece, None]:
        for message in batch:
            assert isinstance(message.event, DocumentReady | LotCompleted)
            try:
                async with database.reading() as connection:
                    found = await errands(connection, message.event, self._desk.env)
            except UnknownSubjectError as error:
                yield Rejected(message, str(error), "UnknownSubject")
                continue
            for errand in found:
                async with aclosing(self._run(database, message, errand)) as pieces:
                    async for piece in pieces:
                        yield piece

    async def save(self, tx: AsyncConnection, piece: Piece) -> Sequence[Effect]:
        match piece:
            case Busy() | Rejected():
                return [piece]
            case Noted(result):
                await results.note(tx, result)
                return []
            case Pinned(several):
                for result in several:
                    await results.record(tx, result)
                return []
            case Mailed(message, result, sheets):
                notification_id = await results.record(tx, result)
                return [*_told(notification_id, result, sheets), *_deferred(message, result)]
            case Damaged(sheets):
                return [SheetDamaged(document_id=document_id, sheet_key=key) for document_id, key in sheets]

    async def _run(self, database: Database, message: Message, errand: Errand) -> AsyncGenerator[Piece, None]:
        """Do one step after the other, until there is nothing left or somebody else is at it: a claim for each."""
        visit = Visit(_asker(message))
        while True:
            async with database.reading() as connection:
                step = await errand.look(connection, self._desk, visit, is_claimed=False)
            if step is None:
                return
            if isinstance(step, Note):
                visit.tried.add(step.mail.key)
                yield Noted(self._result(errand, step))
                continue
            if isinstance(step, Send) and self._pace is not None and not await self._pace.turn():
                yield Busy(message)  # to be stopped: whoever comes next sends it
                return
            async with claimed(database, errand.identity, idle_s=self._claim_idle_s) as claim:
                if claim is None:
                    yield Busy(message)
                    return
                # Another may have done it meanwhile.
                step = await errand.look(claim, self._desk, visit, is_claimed=True)
                if isinstance(step, Note | Send):
                    visit.tried.add(step.mail.key)
                if step is None:
                    continue
                try:
                    piece = await self._do(claim, message, errand, step)
                except DamagedSheetsError as error:
                    # Told, and failed all the same: on the ladder the message waits until the sheet is made anew, and
                    # where all files are gone, as with a folder that is not mounted, the breaker opens.
                    yield Damaged(error.sheets)
                    raise
                yield piece

    async def _do(self, claim: AsyncConnection, message: Message, errand: Errand, step: Step) -> Piece:
        try:
            match step:
                case Note():
                    return Noted(self._result(errand, step))
                case Pin():
                    assert isinstance(errand, StoreErrand)
                    return Pinned([*await self._parts(claim, errand, step)])
                case Send():
                    return await self._send(claim, message, errand, step)
        except MailServerGoneError as error:
            raise DependencyGoneError(SMTP, str(error)) from error

    async def _send(self, claim: AsyncConnection, message: Message, errand: Errand, step: Send) -> Mailed | Noted:
        if self._pace is not None:
            self._pace.sent()
        sent = await self._post.send(claim, errand, step)
        if sent is None:
            return Noted(self._result(errand, Note(step.mail, "void", "its sheets are void")))
        asker = _asker(message)
        deliveries = tuple(
            replace(each, deferred_by=asker) if each.status == "deferred" else each for each in sent.deliveries
        )
        status, reason = outcome(merged(step.mail, deliveries), step.shown)
        result = Result(errand.profile.id, step.mail, status, reason, deliveries, errand.lot_id, errand.store_code)
        return Mailed(message, result, sent.sheets)

    async def _parts(self, claim: AsyncConnection, errand: StoreErrand, pin: Pin) -> Iterator[Result]:
        """The mails of a store's sheets, to be committed before the first is sent; those of closed leads are void."""
        parts = await self._post.parts(claim, errand, pin) if pin.ready else []
        mails = errand.mails(self._desk, pin.number, parts)
        closed = errand.mails(self._desk, pin.number + len(parts), [pin.closed]) if pin.closed else []
        return (
            Result(errand.profile.id, mail, status, reason, (), errand.lot_id, errand.store_code)
            for some, status, reason in ((mails, "waiting", "is being sent"), (closed, "void", "its sheets are void"))
            for mail in some
        )

    def _result(self, errand: Errand, step: Note) -> Result:
        return Result(errand.profile.id, step.mail, step.status, step.reason, (), errand.lot_id, errand.store_code)


def _asker(message: Message) -> str | None:
    """What all copies of the message have in common, on the ladder and from the dead; None: it came without an id."""
    return message.event.event_id if "event_id" in message.event.model_fields_set else None


def _told(notification_id: int, result: Result, sheets: Sequence[tuple[int, str]]) -> Iterator[Effect]:
    """Of each sheet, who has it."""
    sent = tuple(each.address for each in result.deliveries if each.status == "sent")
    for document_id, sheet_key in sheets if sent else ():
        yield NotificationSent(
            notification_id=notification_id, document_id=document_id, sheet_key=sheet_key, recipients=sent
        )


def _deferred(message: Message, result: Result) -> Iterator[Effect]:
    if deferred := [each for each in result.deliveries if each.status == "deferred"]:
        said = "; ".join(f"{each.address}: {each.answer}" for each in deferred)
        yield Deferred(message, f"the mail server defers {said}", "DeferredByServer")
