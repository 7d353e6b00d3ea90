"""Sends one mail: puts its sheets in or links to them, and says for each recipient what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier import mailer, queries
from services.notifier.claims import still_claimed
from services.notifier.contents import Content, Link
from services.notifier.errands import Errand, StoreErrand
from services.notifier.mailer import Mailer
from services.notifier.message import (
    Attachment,
    Letter,
    Recipient,
    UnusableAddressError,
    Wording,
    check_address,
    compose,
)
from services.notifier.planning import Carried, Delivery, LotSheet, Mail, Pin, Send, carried, encoded, packed
from services.notifier.queries import Sheet
from shared.sheetkeys import read_keys
from shared.sheetlinks import sign_link
from shared.sheetstore import DamagedFileError

#: A mail's own words have less, in all likelihood; nearer to the limit they are counted.
_GENEROUS_BYTES = 256_000
#: What the mail server may add or count otherwise.
_MARGIN_BYTES = 1_000
_MEGABYTE = 1_000_000


class ReadSheet(Protocol):
    """Gives a sheet's bytes by its path, checked against its sha256."""

    def __call__(self, relative: str, expected_sha256: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Links:
    """Where sheets that are too large are fetched, and how long. `sheet_key`: what LEADLINE_SHEET_KEY says."""

    base_url: str
    days: int
    sheet_key: str = ""


@dataclass(frozen=True, slots=True)
class Posted:
    """What the server said about each recipient, and the sheets that the mail carried: document and key of each."""

    deliveries: tuple[Delivery, ...]
    sheets: tuple[tuple[int, str], ...] = ()


class DamagedSheetsError(Exception):
    """Files of sheets are not there, or not what their documents say. `sheets`: document and key of each."""

    def __init__(self, sheets: Sequence[Sheet]) -> None:
        named = ", ".join(PurePosixPath(each.file_path).name for each in sheets)
        super().__init__(f"not there, or not what was made: {named}; documents is told to make them anew")
        self.sheets = tuple((each.id, each.sheet_key) for each in sheets)


class Post:
    """The way of a mail from its step to its deliveries."""

    def __init__(
        self, mailer: Mailer, read_sheet: ReadSheet, wording: Wording, *, sender: str, links: Links | None = None
    ) -> None:
        self._mailer = mailer
        self._read_sheet = read_sheet
        self._wording = wording
        self._sender = sender
        self._links = links

    async def parts(self, connection: AsyncConnection, errand: StoreErrand, pin: Pin) -> list[tuple[LotSheet, ...]]:
        """Say which of the pin's sheets go together into which mail.

        Raises:
            MailServerGoneError: its limit is not known.
        """
        ids = [each.document_id for each in pin.ready if each.document_id is not None]
        sheets = await queries.read_sheets(connection, ids)
        total = sum(encoded(each.size) for each in pin.ready)
        mail = Mail("", "<measured@example.com>", parts=len(ids))
        room = await self._room(total, partial(errand.content, connection, mail, sheets, ()))
        return packed(pin.ready, room, can_link=self._links is not None)

    async def send(self, connection: AsyncConnection, errand: Errand, step: Send) -> Posted | None:
        """Send the mail to those who are left; what the server said, for each. None: all its sheets went void just now.

        Raises:
            MailServerGoneError: nobody has an answer.
            DamagedSheetsError: nothing is sent.
        """
        refused = {each.address: said for each in step.shown if (said := _unusable(each))}
        usable = [each for each in step.left if each.address not in refused]
        deliveries = [Delivery(each, "refused", refused[each.address]) for each in step.left if each.address in refused]
        if not usable:
            return Posted(tuple(deliveries))
        shown = tuple(each for each in step.shown if each.address not in refused)
        sheets = [each for each in await queries.read_sheets(connection, step.mail.document_ids) if each.void is None]
        if step.mail.document_ids and not sheets:
            return None
        letter = await self._letter(connection, errand, step.mail, sheets, shown)
        if isinstance(letter, str):
            return Posted((*deliveries, *(Delivery(each, "refused", letter) for each in usable)))
        message = compose(letter, self._wording, datetime.now(UTC))
        addresses = [each.address for each in usable]
        answers = await self._mailer.send(
            message, self._sender, addresses, last_look=partial(still_claimed, connection)
        )
        deliveries += [_delivery(each, answers[each.address]) for each in usable]
        return Posted(tuple(deliveries), tuple((each.id, each.sheet_key) for each in sheets))

    async def _letter(
        self,
        connection: AsyncConnection,
        errand: Errand,
        mail: Mail,
        sheets: Sequence[Sheet],
        shown: tuple[Recipient, ...],
    ) -> Letter | str:
        """The mail with what may still go of its sheets; or why it cannot be."""
        sizes = {each.id: each.size for each in sheets}
        bare = partial(errand.content, connection, mail, sheets, ())
        room = await self._room(sum(map(encoded, sizes.values())), bare) if sheets else None
        how = carried(sizes, room, can_link=self._links is not None)
        if how.too_large:
            return _too_large([each for each in sheets if each.id in how.too_large], await self._mailer.size_limit())
        links = await self._linked(connection, [each for each in sheets if each.id in how.linked])
        content = await errand.content(connection, mail, sheets, links)
        attachments = await asyncio.to_thread(self._attached, sheets, how)
        return Letter(mail.message_id, self._sender, shown, content, attachments)

    def _attached(self, sheets: Sequence[Sheet], how: Carried) -> tuple[Attachment, ...]:
        attached: list[Attachment] = []
        damaged: list[Sheet] = []
        for each in sheets:
            if each.id not in how.attached:
                continue
            try:
                content = self._read_sheet(each.file_path, each.sha256)
            except (FileNotFoundError, DamagedFileError):
                damaged.append(each)
            else:
                attached.append(Attachment(PurePosixPath(each.file_path).name, content))
        if damaged:
            raise DamagedSheetsError(damaged)
        return tuple(attached)

    async def _linked(self, connection: AsyncConnection, sheets: Sequence[Sheet]) -> list[Link]:
        if self._links is None or not sheets:
            return []
        key = (await read_keys(connection, self._links.sheet_key)).signing
        return [_link(each, self._links, key, datetime.now(UTC)) for each in sheets]

    async def _room(self, needed: int, content: Callable[[], Awaitable[Content]]) -> int | None:
        """How many bytes the server leaves for sheets beside what the mail says; None: enough."""
        limit = await self._mailer.size_limit()
        if limit is None or needed + _GENEROUS_BYTES <= limit:
            return None
        nobody = Letter("<measured@example.com>", self._sender, (), await content())
        said = len(compose(nobody, self._wording, datetime.now(UTC)).as_bytes())
        return limit - said - _MARGIN_BYTES


def _link(sheet: Sheet, links: Links, key: bytes, now: datetime) -> Link:
    expires = (now + timedelta(days=links.days)).astimezone(ZoneInfo(sheet.zone))
    return Link(PurePosixPath(sheet.file_path).name, sign_link(links.base_url, sheet.sheet_key, expires, key), expires)


def _unusable(recipient: Recipient) -> str | None:
    try:
        check_address(recipient)
    except UnusableAddressError as error:
        return str(error)
    return None


def _too_large(sheets: Sequence[Sheet], limit: int | None) -> str:
    named = ", ".join(f"{PurePosixPath(each.file_path).name} ({each.size / _MEGABYTE:.1f} MB)" for each in sheets)
    most = f" of {limit / _MEGABYTE:.1f} MB" if limit else ""
    return f"over the mail server's limit{most}: {named}; set LEADLINE_PUBLIC_URL to have a link sent instead"


def _delivery(recipient: Recipient, answer: mailer.Answer) -> Delivery:
    match answer:
        case mailer.Accepted(code, text):
            return Delivery(recipient, "sent", f"{code} {text}")
        case mailer.Deferred(code, text):
            return Delivery(recipient, "deferred", f"{code} {text}")
        case mailer.Refused(code, text):
            return Delivery(recipient, "refused", f"{code} {text}")
