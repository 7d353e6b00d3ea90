"""The mail that carries sheets to an agent or a store: facts → message, by nothing but arithmetic.

Names come from customers and may hold anything. In headers and in the text they are one line without control
characters, in HTML they are escaped, and no recipient sees who gets a blind copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from email.headerregistry import Address, Group
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from enum import StrEnum
from hashlib import sha256
from html import escape
from unicodedata import category

_LONGEST_NAME = 80
_LONGEST_FILE_NAME = 120
_LEADS_LISTED = 200
#: Scripts of India need them inside words.
_JOINERS = "\u200c\u200d"
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
class MailedLead:
    """A lead as the mail lists it."""

    lead_assignment_code: str
    customer_name: str | None
    mobile_number: str | None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A PDF."""

    filename: str
    content: bytes


@dataclass(frozen=True, slots=True)
class MailFacts:
    """All that a mail says. `sender` may have a name, as in `Leads <leads@example.com>`; `zone` is the batch date's."""

    message_id: str
    sender: str
    recipients: tuple[Recipient, ...]
    agent_code: str | None
    agent_name: str | None
    route: str | None
    store_code: str | None
    page_group_code: str | None
    lead_count: int
    batch_date: date | None
    zone: str | None
    leads: tuple[MailedLead, ...]
    attachments: tuple[Attachment, ...]


class UnusableAddressError(ValueError):
    """An address that no mail server can be given."""


def message_id_for(kind: str, key: str, domain: str) -> str:
    """The Message-ID of the mail of this kind about this key: the same each time, and no other mail's."""
    digest = sha256(f"{len(kind)}:{kind}:{key}".encode(errors="surrogatepass")).hexdigest()[:40]
    return f"<{digest}@{domain}>"


def compose(facts: MailFacts, now: datetime) -> EmailMessage:
    """The mail, dated `now`.

    Raises:
        UnusableAddressError: the sender or a recipient.
    """
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = facts.message_id
    message["Date"] = now
    message["From"] = _sender(facts.sender)
    shown = {send_as: [_address(to) for to in facts.recipients if to.send_as is send_as] for send_as in SendAs}
    message["To"] = shown[SendAs.TO] or Group("undisclosed-recipients")
    if shown[SendAs.CC]:
        message["Cc"] = shown[SendAs.CC]
    message["Subject"] = subject(facts)
    # Out-of-office robots do not answer what says this.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_text(facts), cte="quoted-printable")
    message.add_alternative(_html(facts), subtype="html", cte="quoted-printable")
    for attachment in facts.attachments:
        name = _file_name(attachment.filename)
        message.add_attachment(attachment.content, maintype="application", subtype="pdf", filename=name)
    _set_boundaries(message)
    return message


def subject(facts: MailFacts) -> str:
    """One lead is told by its code and customer, many by how many and for whom."""
    if facts.lead_count == 1 and facts.leads:
        [lead, *_] = facts.leads
        head = f"Lead {one_line(lead.lead_assignment_code)}: {one_line(lead.customer_name) or 'no name'}"
        return f"{head} ({one_line(facts.route)})" if facts.route else head
    return " — ".join(filter(None, (_count_for(facts), one_line(facts.page_group_code))))


def one_line(value: object, limit: int = _LONGEST_NAME) -> str:
    """The value as text that stays on its line: no control, no formatting and no broken characters."""
    text = "" if value is None else str(value)[: limit * 4]
    line = " ".join("".join(map(_kept, text)).split())
    # Python decodes what looks like an encoded word in a header that is set, line breaks in it too.
    return _cut(line.replace("=?", "= ?"), limit)


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


def _count_for(facts: MailFacts) -> str:
    leads = "1 lead" if facts.lead_count == 1 else f"{facts.lead_count} leads"
    agent = " ".join(filter(None, (one_line(facts.agent_code), one_line(facts.agent_name))))
    whom = f"Agent {agent}" if agent else f"Store {one_line(facts.store_code)}" if facts.store_code else ""
    return f"{leads} for {whom}" if whom else leads


def _facts_shown(facts: MailFacts) -> Iterator[tuple[str, str]]:
    """Label and value of what stands under the first line, without what is absent."""
    day = f"{facts.batch_date} ({one_line(facts.zone)})" if facts.zone else str(facts.batch_date)
    shown = (
        ("Agent", " - ".join(filter(None, (one_line(facts.agent_code), one_line(facts.agent_name))))),
        ("Store", one_line(facts.store_code)),
        ("Route", one_line(facts.route)),
        ("Page Group Code", one_line(facts.page_group_code)),
        ("Batch Date", day if facts.batch_date else ""),
    )
    return ((label, value) for label, value in shown if value)


def _first_line(facts: MailFacts) -> str:
    """What a mailbox shows beside the subject."""
    if facts.lead_count == 1 and facts.leads:
        [lead, *_] = facts.leads
        return " · ".join(filter(None, map(one_line, _row(lead)[1:]))) or _count_for(facts)
    names = ", ".join(filter(None, (one_line(lead.customer_name, 30) for lead in facts.leads[:3])))
    return (
        f"{_count_for(facts)}: {names}{' …' if facts.lead_count > len(facts.leads[:3]) else ''}"
        if names
        else _count_for(facts)
    )


def _row(lead: MailedLead) -> tuple[str, str, str]:
    return one_line(lead.lead_assignment_code), one_line(lead.customer_name), one_line(lead.mobile_number)


def _ask(facts: MailFacts) -> str:
    if not facts.attachments:
        return ""
    sheet = "sheet is" if len(facts.attachments) == 1 else "sheets are"
    return f"The {sheet} attached. Fill in the white fields, save, and send the file back."


def _left_out(facts: MailFacts) -> str:
    more = facts.lead_count - len(facts.leads[:_LEADS_LISTED])
    return f"and {more} more on the sheet" if more > 0 else ""


def _text(facts: MailFacts) -> str:
    shown = [f"{label}: {value}" for label, value in _facts_shown(facts)]
    rows = [_row(lead) for lead in facts.leads[:_LEADS_LISTED]]
    leads = ["  ".join(filter(None, row)) for row in rows]
    parts = ([_first_line(facts)], shown, [*leads, _left_out(facts)], [_ask(facts)])
    return "\n\n".join(filter(None, ("\n".join(filter(None, part)) for part in parts))) + "\n"


def _html(facts: MailFacts) -> str:
    shown = "<br>".join(f"{label}: <b>{escape(value)}</b>" for label, value in _facts_shown(facts))
    rows = "\n".join(_html_row(_row(lead)) for lead in facts.leads[:_LEADS_LISTED])
    head = "".join(f'<th style="{_CELL}">{label}</th>' for label in ("Code", "Customer", "Mobile"))
    parts = (
        f'<p style="font-size:18px">{escape(_first_line(facts))}</p>',
        f"<p>{shown}</p>" if shown else "",
        f'<table style="border-collapse:collapse">\n<tr>{head}</tr>\n{rows}\n</table>' if rows else "",
        *(f"<p>{escape(part)}</p>" for part in (_left_out(facts), _ask(facts)) if part),
    )
    return _PAGE.format(title=escape(subject(facts)), body="\n".join(filter(None, parts)))


def _html_row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in cells) + "</tr>"


_CELL = "border:1px solid #999;padding:4px 8px;text-align:left"
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family:sans-serif;color:#111;background:#fff">
{body}
</body></html>
"""


def _file_name(name: str) -> str:
    kept = "".join("-" if character in '/\\:*?"<>|' else character for character in one_line(name, _LONGEST_FILE_NAME))
    return kept.lstrip(".") or "sheet.pdf"


def _kept(character: str) -> str:
    match category(character):
        case "Cf" if character not in _JOINERS:
            return ""
        case "Cc" | "Cn" | "Co" | "Cs" | "Zl" | "Zp" | "Zs":
            return " "
        case _:
            return character


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
