"""Which mails there are to be, with which sheets, to whom, and what is next. Pure.

A sheet is in one mail of a profile and stays in it; a mail's recipients may change until somebody has it, and are fixed
from then on. What a lot makes for a store goes when nothing of it is waited for any more. All that follows from what is
stored: whoever comes second, or again, finds the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.notifier.message import Recipient, SendAs

#: How much longer a file is in a mail (base64, in lines of 76), and the headers of its part.
_PART_BYTES = 600
#: What a sheet adds to a mail that only names it, with its link.
_NAMED_BYTES = 1_500
_LOUDEST_FIRST = tuple(SendAs)


class State(StrEnum):
    """How a sheet that is expected stands."""

    AWAITED = "awaited"
    READY = "ready"
    #: Made, and nobody holds its leads just now: they may be opened again.
    CLOSED = "closed"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class LotSheet:
    """A sheet that a lot expects for a store; one that is not made has no document."""

    sheet_key: str
    document_id: int | None
    size: int
    state: State


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the server said about one recipient: `sent`, `deferred` or `refused`.

    `deferred_by`: the event whose message waits on the retry ladder for this recipient; others leave it to that one.
    """

    recipient: Recipient
    status: str
    answer: str
    deferred_by: str | None = None

    @property
    def address(self) -> str:
        return self.recipient.address


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it is stored, or as it would be: `key` makes it one. A store's mail without sheets is only awaited."""

    key: str
    message_id: str
    document_ids: tuple[int, ...] = ()
    part: int = 1
    parts: int = 1
    is_late: bool = False
    deliveries: tuple[Delivery, ...] = ()

    def is_open_for(self, recipient: Recipient, asker: str | None) -> bool:
        """Whether the recipient may be tried by this event's message; None: by anybody's."""
        return all(
            each.status == "deferred" and (asker is None or each.deferred_by in {None, asker})
            for each in self.deliveries
            if each.address.casefold() == recipient.address.casefold()
        )

    @property
    def somebody_has_it(self) -> bool:
        return any(each.status == "sent" for each in self.deliveries)


@dataclass(frozen=True, slots=True)
class Note:
    """Nothing is sent: write why."""

    mail: Mail
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pin:
    """Sheets that no mail of the profile carries yet: decide in which mails they go, for good, from this number on."""

    number: int
    ready: tuple[LotSheet, ...]
    closed: tuple[LotSheet, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """The mail shows these recipients, and goes to those who are left."""

    mail: Mail
    shown: tuple[Recipient, ...]
    left: tuple[Recipient, ...]


Step = Note | Pin | Send


def distinct(recipients: Iterable[Recipient]) -> tuple[Recipient, ...]:
    """Each address once, whatever its case, at the most visible place that it has."""
    loudest = sorted(recipients, key=lambda each: _LOUDEST_FIRST.index(each.send_as))
    found: dict[str, Recipient] = {}
    for each in loudest:
        found.setdefault(each.address.casefold(), each)
    return tuple(found.values())


def next_for(
    mail: Mail, current: Sequence[Recipient], *, void: str | None, nobody: str, asker: str | None = None
) -> Note | Send | None:
    """What is next for a mail whose sheets are known; None: nothing.

    `void`: why none of its sheets may go; `nobody`: what to say where it has no recipients; `asker`: the event whose
    message it is looked at for, None for nobody's.
    """
    addresses = {each.address.casefold() for each in current}
    shown = tuple(each.recipient for each in mail.deliveries) if mail.somebody_has_it else tuple(current)
    left = tuple(each for each in shown if each.address.casefold() in addresses and mail.is_open_for(each, asker))
    if mail.somebody_has_it:
        return Send(mail, shown, left) if left and void is None else None
    if void is not None:
        return Note(mail, "void", void)
    if not current:
        return Note(mail, "waiting", nobody)
    return Send(mail, shown, left) if left else None


@dataclass(frozen=True, slots=True)
class Visit:
    """A message's course through the mails that it asks for: its event, and the keys of those that it has tried."""

    asker: str | None = None
    tried: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class StoreMails:
    """What is stored of a store's mails of one lot and profile, and what is known of its sheets and recipients."""

    sheets: Sequence[LotSheet]
    mails: Sequence[Mail]
    current: Sequence[Recipient]
    #: Gives the mail of a number, as it would be.
    awaited: Mail
    nobody: str
    asker: str | None = None


def next_of(known: StoreMails, tried: Collection[str]) -> Step | None:
    """What is next for a store's mails of a lot: those that are decided first, then new ones. None: nothing is left.

    `tried`: the keys of mails for which something has been done already.
    """
    ready = {each.document_id for each in known.sheets if each.state is State.READY}
    for mail in (each for each in known.mails if each.document_ids and each.key not in tried):
        void = None if ready & {*mail.document_ids} else "its sheets are void"
        if (step := next_for(mail, known.current, void=void, nobody=known.nobody, asker=known.asker)) is not None:
            return step
    return _new_of(known, tried)


def _new_of(known: StoreMails, tried: Collection[str]) -> Step | None:
    carried = {document_id for mail in known.mails for document_id in mail.document_ids}
    new = [each for each in known.sheets if each.document_id is None or each.document_id not in carried]
    of = {state: tuple(each for each in new if each.state is state) for state in State}
    number = sum(1 for mail in known.mails if mail.document_ids) + 1
    is_noted = known.awaited.key in {mail.key for mail in known.mails}
    if known.awaited.key in tried:
        return None
    if of[State.AWAITED]:
        made = len(known.sheets) - len(of[State.AWAITED])
        return Note(
            known.awaited, "waiting", f"waits for other sheets of the lot: {made} of {len(known.sheets)} are made"
        )
    if of[State.READY] and not known.current:
        return Note(known.awaited, "waiting", known.nobody)
    if of[State.READY] or of[State.CLOSED]:
        return Pin(number, of[State.READY], of[State.CLOSED])
    return Note(known.awaited, "void", "its sheets are void") if is_noted or not carried else None


def encoded(size: int) -> int:
    """How many bytes a file of this size is in a mail, at most."""
    return -(-size // 57) * 78 + _PART_BYTES


def packed(sheets: Sequence[LotSheet], room: int | None, *, can_link: bool) -> list[tuple[LotSheet, ...]]:
    """Part the sheets, in their order, so that each part fits into so many bytes.

    One that is too large by itself goes along as a link; where there are none, alone.
    """
    parts: list[list[LotSheet]] = []
    left = 0
    for sheet in sheets:
        need, is_alone = encoded(sheet.size), False
        if room is not None and need > room:
            need, is_alone = _NAMED_BYTES, not can_link
        if not parts or (room is not None and (is_alone or need > left)):
            parts.append([])
            left = room or 0
        parts[-1].append(sheet)
        left = 0 if is_alone else left - need
    return [tuple(part) for part in parts]


@dataclass(frozen=True, slots=True)
class Carried:
    """Which documents are attached, and which are linked to; `too_large`: those that neither can be done with."""

    attached: tuple[int, ...]
    linked: tuple[int, ...] = ()
    too_large: tuple[int, ...] = ()


def carried(sizes: Mapping[int, int], room: int | None, *, can_link: bool) -> Carried:
    """How a mail carries its sheets: all attached if they fit, else without the largest."""
    attached = dict(sizes)
    out: list[int] = []
    while room is not None and attached and sum(map(encoded, attached.values())) + len(out) * _NAMED_BYTES > room:
        largest = max(attached, key=lambda document_id: (attached[document_id], document_id))
        del attached[largest]
        out.append(largest)
    aside = tuple(sorted(out))
    return Carried(tuple(attached), aside, ()) if can_link else Carried(tuple(attached), (), aside)


def merged(mail: Mail, new: Iterable[Delivery]) -> tuple[Delivery, ...]:
    """The mail's deliveries after these."""
    by_address = {each.address.casefold(): each for each in (*mail.deliveries, *new)}
    return tuple(by_address.values())


def outcome(deliveries: Sequence[Delivery], shown: Iterable[Recipient]) -> tuple[str, str | None]:
    """The status of a mail, and why it is not sent to all: of those who are its recipients now."""
    addresses = {each.address.casefold() for each in shown}
    of = [each for each in deliveries if each.address.casefold() in addresses]
    open_ = [each for each in of if each.status != "sent"]
    reason = "; ".join(each.answer if len(of) == 1 else f"{each.address}: {each.answer}" for each in open_) or None
    if not open_:
        return "sent", None
    if len(open_) < len(of):
        return "partial", reason
    return ("waiting" if any(each.status == "deferred" for each in open_) else "failed"), reason


def numbered(mails: Sequence[Mail], sheets: Sequence[Sequence[LotSheet]], *, is_late: bool) -> list[Mail]:
    """Give each mail its part of the sheets."""
    return [
        replace(
            mail,
            document_ids=tuple(each.document_id for each in part if each.document_id is not None),
            part=number,
            parts=len(sheets),
            is_late=is_late,
        )
        for number, (mail, part) in enumerate(zip(mails, sheets, strict=True), 1)
    ]
