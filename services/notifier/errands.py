"""What a message asks of one profile: a sheet's mail, a store's mails of a lot, a lot's summary. Sends nothing.

A look says what is next. It may be had without the claim, to see whether there is anything to do; what is done follows
from a look under the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier import queries
from services.notifier.contents import Content, Link, SheetContent, StoreContent, StoreSheet, SummaryContent
from services.notifier.message import Recipient, message_id_for
from services.notifier.planning import (
    LotSheet,
    Mail,
    State,
    Step,
    StoreMails,
    Visit,
    distinct,
    next_for,
    next_of,
    numbered,
)
from services.notifier.queries import Lot, Profile, Sheet
from shared.events import DocumentReady, LotCompleted


@dataclass(frozen=True, slots=True)
class Desk:
    """What is the same for all mails of this notifier: the environment that it is in, and the domain it sends from."""

    env: str
    domain: str

    def mail(self, profile: Profile, key: str) -> Mail:
        """The mail of this key, as it would be."""
        return Mail(key, message_id_for(f"profile {profile.id}", key, self.domain))


@dataclass(frozen=True, slots=True)
class SheetErrand:
    """One sheet, to its agent or, where it belongs to no lot, to its store."""

    profile: Profile
    sheet: Sheet

    @property
    def identity(self) -> str:
        return f"{self.profile.id} sheet {self.sheet.sheet_key}"

    @property
    def lot_id(self) -> int | None:
        return None

    @property
    def store_code(self) -> str | None:
        return self.sheet.store_code

    async def look(self, connection: AsyncConnection, desk: Desk, visit: Visit, *, is_claimed: bool) -> Step | None:
        """Say what is next; None: nothing."""
        key = f"sheet:{self.sheet.sheet_key}"
        if key in visit.tried:
            return None
        mail = await queries.read_mail(connection, self.profile.id, key) or desk.mail(self.profile, key)
        current = await self._recipients(connection, desk)
        sheet = self.sheet
        if is_claimed:  # it may have been superseded meanwhile; who has no claim decides nothing by it
            sheet = await queries.read_sheet(connection, sheet.id) or sheet
        mail = replace(mail, document_ids=(sheet.id,))
        return next_for(mail, current, void=sheet.void, nobody=self._nobody(), asker=visit.asker)

    async def content(
        self, connection: AsyncConnection, mail: Mail, sheets: Sequence[Sheet], links: Sequence[Link]
    ) -> Content:
        """Say what the mail says."""
        [sheet] = sheets
        leads = await queries.read_leads(connection, sheet.sheet_key)
        return SheetContent(
            agent_code=sheet.agent_code,
            agent_name=sheet.agent_name,
            route=sheet.route,
            store_code=sheet.store_code,
            page_group_code=sheet.page_group_code,
            lead_count=len(leads),
            batch_date=sheet.doc_date,
            zone=sheet.zone,
            leads=leads,
            assigned_at=sheet.assigned_at and sheet.assigned_at.astimezone(ZoneInfo(sheet.zone)),
            links=tuple(links),
        )

    async def _recipients(self, connection: AsyncConnection, desk: Desk) -> Sequence[Recipient]:
        if self.profile.scope == "agent":
            return [Recipient(self.sheet.email, self.sheet.agent_name)] if self.sheet.email else []
        return distinct(await queries.recipients(connection, self.profile.id, desk.env, self.sheet.store_code))

    def _nobody(self) -> str:
        if self.profile.scope == "agent":
            return f"agent {self.sheet.agent_code} has no e-mail address"
        return nobody_of(self.sheet.store_code)


@dataclass(frozen=True, slots=True)
class StoreErrand:
    """All sheets that a lot has made for a store."""

    profile: Profile
    lot_id: int
    store_code: str | None
    #: The sheet that was told of.
    sheet: Sheet

    @property
    def identity(self) -> str:
        return f"{self.profile.id} lot {self.lot_id} {self.store_code or ''}"

    async def look(self, connection: AsyncConnection, desk: Desk, visit: Visit, *, is_claimed: bool) -> Step | None:
        """Say what is next; None: nothing."""
        mails = await queries.read_lot_mails(connection, self.profile.id, self.lot_id, self.store_code)
        number = sum(1 for mail in mails if mail.document_ids) + 1
        known = StoreMails(
            sheets=self._with_its_own(await queries.read_lot_sheets(connection, self.lot_id, self.store_code)),
            mails=[replace(mail, is_late=_number(mail) != mail.part) for mail in mails],
            current=distinct(await queries.recipients(connection, self.profile.id, desk.env, self.store_code)),
            awaited=desk.mail(self.profile, self._key(number)),
            nobody=nobody_of(self.store_code),
            asker=visit.asker,
        )
        return next_of(known, visit.tried)

    def mails(self, desk: Desk, number: int, parts: Sequence[Sequence[LotSheet]]) -> list[Mail]:
        """Give the mails that carry these parts, from this number on."""
        mails = [desk.mail(self.profile, self._key(number + offset)) for offset in range(len(parts))]
        return numbered(mails, parts, is_late=number > 1)

    async def content(
        self, connection: AsyncConnection, mail: Mail, sheets: Sequence[Sheet], links: Sequence[Link]
    ) -> Content:
        """Say what the mail says."""
        lot = await queries.read_lot(connection, self.lot_id)
        zone = ZoneInfo(self.sheet.zone)
        return StoreContent(
            store_code=self.store_code,
            store_name=self.sheet.store_name,
            route=self.sheet.route,
            batch_date=lot.day if lot else self.sheet.doc_date,
            requested_at=lot.requested_at.astimezone(zone) if lot else None,
            zone=self.sheet.zone,
            sheets=tuple(
                StoreSheet(each.agent_code, each.agent_name, each.page_group_code, each.lead_count) for each in sheets
            ),
            part=mail.part,
            parts=mail.parts,
            is_late=mail.is_late,
            links=tuple(links),
        )

    def _with_its_own(self, sheets: list[LotSheet]) -> list[LotSheet]:
        """A sheet that the lot does not expect is mailed all the same."""
        sheet = self.sheet
        if sheet.sheet_key in {each.sheet_key for each in sheets}:
            return sheets
        state = State.READY if sheet.void is None else State.VOID
        return [*sheets, LotSheet(sheet.sheet_key, sheet.id, sheet.size, state)]

    def _key(self, number: int) -> str:
        return f"lot:{self.lot_id}:{self.store_code or ''}:{number}"


@dataclass(frozen=True, slots=True)
class SummaryErrand:
    """What a lot did, to the operators."""

    profile: Profile
    lot: Lot
    store_code: str | None = None

    @property
    def identity(self) -> str:
        return f"{self.profile.id} summary {self.lot.id}"

    @property
    def lot_id(self) -> int:
        return self.lot.id

    async def look(self, connection: AsyncConnection, desk: Desk, visit: Visit, *, is_claimed: bool) -> Step | None:
        """Say what is next; None: nothing."""
        key = f"lot:{self.lot.id}"
        if key in visit.tried:
            return None
        mail = await queries.read_mail(connection, self.profile.id, key) or desk.mail(self.profile, key)
        current = distinct(await queries.recipients(connection, self.profile.id, desk.env, None))
        nobody = "no recipient is active for the summaries of lots"
        return next_for(mail, current, void=None, nobody=nobody, asker=visit.asker)

    async def content(
        self, connection: AsyncConnection, mail: Mail, sheets: Sequence[Sheet], links: Sequence[Link]
    ) -> Content:
        """Say what the mail says."""
        lot = self.lot
        return SummaryContent(
            lot_id=lot.id,
            route=lot.route,
            batch_date=lot.day,
            requested_at=lot.requested_at.astimezone(ZoneInfo(lot.zone)),
            zone=lot.zone,
            triggered_by=lot.triggered_by,
            run_id=lot.run_id,
            assigned=lot.assigned,
            unassigned=tuple(sorted(lot.unassigned.items(), key=lambda each: (-each[1], each[0]))),
            shares=await queries.read_shares(connection, lot.id),
            sheets=lot.sheets,
        )


Errand = SheetErrand | StoreErrand | SummaryErrand


class UnknownSubjectError(Exception):
    """The message is about a document or a lot that does not exist."""


async def errands(connection: AsyncConnection, event: DocumentReady | LotCompleted, env: str) -> list[Errand]:
    """Give what the message asks for, by the profiles of its route's pipeline.

    Raises:
        UnknownSubjectError: what the message is about does not exist.
    """
    if isinstance(event, LotCompleted):
        return await _of_lot(connection, event, env)
    if (sheet := await queries.read_sheet(connection, event.document_id)) is None:
        raise UnknownSubjectError("the document does not exist")
    found = await queries.profiles(connection, sheet.pipeline, env, "agent", "store")
    return [_of_sheet(profile, sheet) for profile in found if await _concerns(connection, profile, sheet, env)]


def _of_sheet(profile: Profile, sheet: Sheet) -> Errand:
    if profile.scope == "agent" or sheet.lot_id is None:
        return SheetErrand(profile, sheet)
    return StoreErrand(profile, sheet.lot_id, sheet.store_code, sheet)


async def _concerns(connection: AsyncConnection, profile: Profile, sheet: Sheet, env: str) -> bool:
    """Leads without a store are no store's: they concern those who are named for all stores, where there are any."""
    if profile.scope == "agent" or sheet.store_code is not None:
        return True
    return bool(await queries.recipients(connection, profile.id, env, None))


async def _of_lot(connection: AsyncConnection, event: LotCompleted, env: str) -> list[Errand]:
    if (lot := await queries.read_lot(connection, event.lot_id)) is None:
        raise UnknownSubjectError("the lot does not exist")
    if not lot.assigned:
        return []  # nothing to assign, or nobody to assign it to: as in the seed, no mail
    return [SummaryErrand(profile, lot) for profile in await queries.profiles(connection, lot.pipeline, env, "global")]


def nobody_of(store_code: str | None) -> str:
    """Say that a store has no recipients."""
    return f"no recipient is active for {f'the store {store_code}' if store_code else 'leads without a store'}"


def _number(mail: Mail) -> int:
    return int(mail.key.rpartition(":")[2])
