"""The mailbox that agents answer to: the sheets attached to unread mails are received, then the mails marked as read.

A mail without a sheet that can be taken is flagged as well, for a person to look at. Nothing is deleted.
"""

from __future__ import annotations

import asyncio
import imaplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from imap_tools.errors import ImapToolsError
from imap_tools.mailbox import BaseMailBox, MailBox
from imap_tools.message import MailMessage
from imap_tools.query import AND

from services.documents.reading import Refused
from services.receiver.receiving import Receiver
from shared.events import SHEET_MAX_BYTES, SheetReturned
from shared.outage import DependencyGoneError

log = structlog.get_logger(__name__)

TIMEOUT_S = 30.0
MAILS_AT_ONCE = 20
#: A sheet as a mail carries it, and room for what is around it.
MAIL_MAX_BYTES = SHEET_MAX_BYTES * 3 // 2
SEEN, FLAGGED = "\\Seen", "\\Flagged"


@dataclass(frozen=True, slots=True)
class Account:
    """An IMAP account, reached over TLS only."""

    host: str
    port: int
    username: str
    password: str
    folder: str = "INBOX"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that nobody has read: its PDFs, none where it was too large to fetch."""

    uid: str
    sender: str
    sheets: tuple[bytes, ...]


class Mailbox:
    """The reply mailbox. Each look is a connection of its own: nothing is held open in between."""

    def __init__(self, account: Account, receiver: Receiver, context: ssl.SSLContext | None = None) -> None:
        self._account = account
        self._receiver = receiver
        self._context = context or ssl.create_default_context()

    async def look(self) -> int:
        """Receive the sheets of unread mails. A mail is marked once all of it is told of.

        Raises:
            DependencyGoneError: the mailbox does not answer, or lets nobody in.
        """
        received = 0
        for mail in await asyncio.to_thread(self._unread):
            answers = [await self._receiver.receive(sheet, f"mailbox: {mail.sender}") for sheet in mail.sheets]
            taken = sum(isinstance(answer, SheetReturned) for answer in answers)
            refused = [answer.reason for answer in answers if isinstance(answer, Refused)]
            if refused or not taken:
                log.warning("mailbox.flagged", uid=mail.uid, reasons=refused or ["no PDF is attached"])
            await asyncio.to_thread(self._mark, mail.uid, [SEEN, FLAGGED] if refused or not taken else [SEEN])
            received += taken
        return received

    def _unread(self) -> list[Mail]:
        with self._connected() as box:
            heads = list(box.fetch(AND(seen=False), headers_only=True, mark_seen=False, limit=MAILS_AT_ONCE))
            return [self._fetched(box, head) for head in heads if head.uid]

    def _fetched(self, box: BaseMailBox, head: MailMessage) -> Mail:
        fits = head.size_rfc822 <= MAIL_MAX_BYTES
        whole = list(box.fetch(AND(uid=head.uid), mark_seen=False)) if fits else []
        return Mail(str(head.uid), head.from_, tuple(sheet for mail in whole for sheet in _sheets(mail)))

    def _mark(self, uid: str, flags: Sequence[str]) -> None:
        with self._connected() as box:
            box.flag(uid, flags, value=True)

    @contextmanager
    def _connected(self) -> Iterator[BaseMailBox]:
        try:
            with self._entered() as box:
                yield box
        except (OSError, imaplib.IMAP4.error, ImapToolsError) as error:
            raise DependencyGoneError("mailbox", str(error) or type(error).__name__) from error

    def _entered(self) -> BaseMailBox:
        account = self._account
        box = MailBox(account.host, account.port, timeout=TIMEOUT_S, ssl_context=self._context)
        try:
            return box.login(account.username, account.password, initial_folder=account.folder)
        except (OSError, imaplib.IMAP4.error, ImapToolsError):
            box.client.shutdown()  # who is not let in has nothing to log out of
            raise


def _sheets(mail: MailMessage) -> Iterator[bytes]:
    """What is attached as a PDF, by its name or its type: programs call it what they like."""
    for attachment in mail.attachments:
        if attachment.filename.casefold().endswith(".pdf") or attachment.content_type == "application/pdf":
            yield attachment.payload
