"""A mail as it goes out: a letter → message, by nothing but arithmetic.

Names come from customers and may hold anything. In headers and in the text they are one line without control
characters, in HTML they are escaped, and no recipient sees who gets a blind copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address, Group
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from services.notifier.contents import Content, Values, kind_of, values_of
from services.notifier.lines import one_line

_LONGEST_FILE_NAME = 120
_LONGEST_SUBJECT = 300
_ADDRESS_ENDS = frozenset('<>"(),:;\\[]')


class SendAs(StrEnum):
    """How a recipient stands in the mail."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who gets the mail."""

    address: str
    display_name: str | None = None
    send_as: SendAs = SendAs.TO


@dataclass(frozen=True, slots=True)
class Attachment:
    """A PDF."""

    filename: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """All that a mail is made of. `sender` may have a name, as in `Leads <leads@example.com>`."""

    message_id: str
    sender: str
    recipients: tuple[Recipient, ...]
    content: Content
    attachments: tuple[Attachment, ...] = ()


class Wording(Protocol):
    """Puts values into words: what a template of this name makes of them."""

    def __call__(self, name: str, values: Values) -> str: ...


class UnusableAddressError(ValueError):
    """An address that no mail server can be given."""


def message_id_for(kind: str, key: str, domain: str) -> str:
    """The Message-ID of the mail of this kind about this key: the same each time, and no other mail's."""
    digest = sha256(f"{len(kind)}:{kind}:{key}".encode(errors="surrogatepass")).hexdigest()[:40]
    return f"<{digest}@{domain}>"


def compose(letter: Letter, wording: Wording, now: datetime) -> EmailMessage:
    """The mail, dated `now`.

    Raises:
        UnusableAddressError: the sender or a recipient.
    """
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = letter.message_id
    message["Date"] = now
    message["From"] = _sender(letter.sender)
    shown = {send_as: [_address(to) for to in letter.recipients if to.send_as is send_as] for send_as in SendAs}
    message["To"] = shown[SendAs.TO] or Group("undisclosed-recipients")
    if shown[SendAs.CC]:
        message["Cc"] = shown[SendAs.CC]
    _put_into_words(message, letter, wording)
    for attachment in letter.attachments:
        name = _file_name(attachment.filename)
        message.add_attachment(attachment.content, maintype="application", subtype="pdf", filename=name)
    _set_boundaries(message)
    return message


def check_address(recipient: Recipient) -> None:
    """Return if a mail can be addressed so. UnusableAddressError if not."""
    _address(recipient)


def _put_into_words(message: EmailMessage, letter: Letter, wording: Wording) -> None:
    """Subject, text and HTML; what a mailbox shows beside the subject is the first line of both."""
    kind, values = kind_of(letter.content), values_of(letter.content, len(letter.attachments))
    subject, preview = (one_line(wording(f"{kind}.{what}.txt", values), _LONGEST_SUBJECT) for what in _SHORT)
    message["Subject"] = subject
    # Out-of-office robots do not answer what says this.
    message["Auto-Submitted"] = "auto-generated"
    values = {**values, "subject": subject, "preview": preview}
    message.set_content(wording(f"{kind}.txt", values), cte="quoted-printable")
    message.add_alternative(wording(f"{kind}.html", values), subtype="html", cte="quoted-printable")


_SHORT = ("subject", "preview")


def _set_boundaries(message: EmailMessage) -> None:
    """Make the same facts the same bytes: left to the library, boundaries are random."""
    digest = sha256(str(message["Message-ID"]).encode()).hexdigest()[:24]
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=_{number}_{digest}")


def _sender(sender: str) -> Address:
    if not sender.isprintable():
        raise UnusableAddressError(f"{sender!r} has control characters")
    name, address = parseaddr(sender)
    return _address(Recipient(address, name))


def _address(recipient: Recipient) -> Address:
    """The address as a header takes it: one that `@` parts in two, with nothing that could end it early."""
    user, _, domain = recipient.address.rpartition("@")
    is_plain = user and domain and recipient.address == one_line(recipient.address, 320)
    if not is_plain or " " in recipient.address or _ADDRESS_ENDS & {*recipient.address}:
        raise UnusableAddressError(f"{recipient.address!r} is no address")
    try:
        return Address(one_line(recipient.display_name), username=user, domain=domain)
    except ValueError as error:
        raise UnusableAddressError(f"{recipient.address!r} is no address: {error}") from error


def _file_name(name: str) -> str:
    kept = "".join("-" if character in '/\\:*?"<>|' else character for character in one_line(name, _LONGEST_FILE_NAME))
    return kept.lstrip(".") or "sheet.pdf"
