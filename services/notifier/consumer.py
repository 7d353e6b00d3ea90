"""Mails sheets. One mail a piece: claimed before it is looked at, sent, and committed while the claim is still held.

Up to the final dot a mail is sent exactly once. A crash between the dot and the commit repeats it, once for each,
under the same Message-ID. A process that was frozen and comes round finds its claim gone, and sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parseaddr
from functools import partial
from pathlib import PurePosixPath
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier import mailer, queries
from services.notifier.mailer import Mailer, MailServerGoneError
from services.notifier.message import (
    Attachment,
    MailFacts,
    Recipient,
    UnusableAddressError,
    compose,
    message_id_for,
)
from services.notifier.queries import Delivery, Sheet
from shared.db.session import Database
from shared.events import DocumentReady, LotCompleted, NotificationSent
from shared.messaging.envelope import Message
from shared.messaging.processing import Busy, Deferred, Effect, Rejected, Subscription
from shared.outage import DependencyGoneError

SUBSCRIPTION = Subscription(queue="notifier", events=(DocumentReady, LotCompleted), batch_size=50)
SMTP = "smtp"


class ReadSheet(Protocol):
    """Gives a sheet's bytes by its path, checked against its sha256."""

    def __call__(self, relative: str, expected_sha256: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Mailed:
    """What became of one mail; or, without a profile, a message about a document that does not exist."""

    message: Message
    sheet: Sheet | None = None
    profile_id: int = 0
    message_id: str = ""
    status: str = ""
    reason: str | None = None
    deliveries: Sequence[Delivery] = ()


class MailSheets:
    """The handler: each recipient of a sheet gets one mail, however often its message is delivered."""

    def __init__(
        self,
        mailer: Mailer,
        read_sheet: ReadSheet,
        *,
        sender: str,
        env: str,
        claim_idle_s: float = queries.CLAIM_IDLE_S,
    ) -> None:
        self._mailer = mailer
        self._read_sheet = read_sheet
        self._sender = sender
        self._domain = parseaddr(sender)[1].partition("@")[2] or "localhost"
        self._env = env
        self._claim_idle_s = claim_idle_s

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Mailed | Busy, None]:
        for message in batch:
            if isinstance(message.event, LotCompleted):
                continue  # no profile mails the summary of a lot yet: whoever listens to the exchange has it
            assert isinstance(message.event, DocumentReady)
            document_id = message.event.document_id
            async with queries.claimed(database, document_id, idle_s=self._claim_idle_s) as connection:
                if connection is None:
                    yield Busy(message)
                    continue
                sheet = await queries.read_sheet(connection, document_id)
                if sheet is None:
                    yield Mailed(message)
                    continue
                for profile_id, code in await queries.profiles(connection, sheet.pipeline, self._env):
                    yield await self._mail(connection, message, sheet, profile_id, code)

    async def save(self, tx: AsyncConnection, piece: Mailed | Busy) -> Sequence[Effect]:
        if isinstance(piece, Busy):
            return [piece]
        if piece.sheet is None:
            return [Rejected(piece.message, "the document does not exist", "UnknownDocument")]
        if not piece.status:
            return []
        values = {
            "profile_id": piece.profile_id,
            "document_id": piece.sheet.id,
            "message_id": piece.message_id,
            "status": piece.status,
            "reason": piece.reason,
        }
        notification_id = await queries.add_notification(tx, values, piece.deliveries)
        effects: list[Effect] = []
        if sent := tuple(each.recipient.address for each in piece.deliveries if each.status == "sent"):
            effects.append(
                NotificationSent(
                    notification_id=notification_id,
                    document_id=piece.sheet.id,
                    sheet_key=piece.sheet.sheet_key,
                    recipients=sent,
                )
            )
        if deferred := [each for each in piece.deliveries if each.status == "deferred"]:
            said = "; ".join(f"{each.recipient.address}: {each.answer}" for each in deferred)
            effects.append(Deferred(piece.message, f"the mail server defers {said}", "DeferredByServer"))
        return effects

    async def _mail(
        self, connection: AsyncConnection, message: Message, sheet: Sheet, profile_id: int, profile: str
    ) -> Mailed:
        """Send what is still to be sent, unless the sheet's leads are somebody else's by now."""
        message_id = message_id_for(profile, sheet.sheet_key, self._domain)
        known = Mailed(message, sheet, profile_id, message_id)
        if await queries.is_settled(connection, sheet, profile_id):
            return known
        if sheet.status != "ok" or not sheet.is_held:
            return _outcome(known, "void", f"the sheet is {sheet.status if sheet.status != 'ok' else 'void'}")
        if not sheet.email:
            return _outcome(known, "waiting", f"agent {sheet.agent_code} has no e-mail address")
        recipient = Recipient(sheet.email, sheet.agent_name)
        try:
            mail = compose(await self._facts(connection, sheet, message_id, recipient), datetime.now(UTC))
        except UnusableAddressError as error:
            return _outcome(known, "failed", str(error), [Delivery(recipient, "refused", str(error))])
        look = partial(queries.still_claimed, connection)
        try:
            answers = await self._mailer.send(mail, self._sender, [recipient.address], last_look=look)
        except MailServerGoneError as error:
            raise DependencyGoneError(SMTP, str(error)) from error
        delivery = _delivery(recipient, answers[recipient.address])
        status = {"sent": "sent", "refused": "failed", "deferred": "waiting"}[delivery.status]
        return _outcome(known, status, None if status == "sent" else delivery.answer, [delivery])

    async def _facts(
        self, connection: AsyncConnection, sheet: Sheet, message_id: str, recipient: Recipient
    ) -> MailFacts:
        contents = await queries.read_contents(connection, sheet.sheet_key)
        pdf = await asyncio.to_thread(self._read_sheet, sheet.file_path, sheet.sha256)
        return MailFacts(
            message_id=message_id,
            sender=self._sender,
            recipients=(recipient,),
            agent_code=sheet.agent_code,
            agent_name=sheet.agent_name,
            route=sheet.route,
            store_code=contents.store_code,
            page_group_code=contents.page_group_code,
            lead_count=len(contents.leads),
            batch_date=sheet.doc_date,
            zone=sheet.zone,
            leads=contents.leads,
            attachments=(Attachment(PurePosixPath(sheet.file_path).name, pdf),),
        )


def _outcome(mailed: Mailed, status: str, reason: str | None, deliveries: Sequence[Delivery] = ()) -> Mailed:
    return Mailed(mailed.message, mailed.sheet, mailed.profile_id, mailed.message_id, status, reason, tuple(deliveries))


def _delivery(recipient: Recipient, answer: mailer.Answer) -> Delivery:
    match answer:
        case mailer.Accepted(code, text):
            return Delivery(recipient, "sent", f"{code} {text}")
        case mailer.Deferred(code, text):
            return Delivery(recipient, "deferred", f"{code} {text}")
        case mailer.Refused(code, text):
            return Delivery(recipient, "refused", f"{code} {text}")
