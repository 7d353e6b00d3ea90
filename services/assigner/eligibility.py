"""Who may get a lead, and why not: pure, and the only place that says so. A policy chooses among the eligible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from services.assigner.facts import Lead, Member
from services.assigner.roster import Roster

if TYPE_CHECKING:  # policies choose among the eligible: they import this module
    from services.assigner.policies.params import Params

Kind = tuple[int | None, str | None]


class WhyNot(StrEnum):
    """Why a member may not get a lead. The value is the reason stored with a lead that nobody may get."""

    INACTIVE = "agent inactive"
    DISABLED = "member disabled"
    OTHER_BUSINESS_LINE = "other business line"
    OTHER_STORE = "other store"
    FULL = "agent at capacity"
    DAILY_CAP = "daily cap reached"
    EXISTING_CAP = "cap on existing leads reached"
    NEW_CAP = "cap on new leads reached"

    @property
    def code(self) -> str:
        """What programs may rely on; the value is for people."""
        return self.name.lower()


class Unassigned(StrEnum):
    """Why a lead waits, where it is not for want of an eligible member."""

    NO_ROUTE = "no route matches"
    NO_MEMBERS = "route has no members"
    STORE = "store takes no part"
    LOT = "waits for its lot"
    STAGE = "its stage is past this route's"
    AGE = "too old for this route"


#: Of several reasons the one that will pass by itself says most: the last in this order that any member gives.
BY_HOPE = (
    WhyNot.OTHER_STORE,
    WhyNot.OTHER_BUSINESS_LINE,
    WhyNot.DISABLED,
    WhyNot.INACTIVE,
    WhyNot.EXISTING_CAP,
    WhyNot.NEW_CAP,
    WhyNot.DAILY_CAP,
    WhyNot.FULL,
)


def barrier(lead: Lead, params: Params, zone: ZoneInfo, day: date) -> Unassigned | None:
    """Tell why a route gives this lead to nobody on a day of its zone, whoever is there, or None."""
    if not lead.store_takes_part:
        return Unassigned.STORE
    if params.stage_below is not None and lead.stage >= params.stage_below:
        return Unassigned.STAGE
    if params.max_age_days is not None and (day - lead.lead_date(zone)).days > params.max_age_days:
        return Unassigned.AGE
    return None


def standing(member: Member) -> WhyNot | None:
    """Tell why a member may get no lead at all now, or None."""
    if not member.is_active:
        return WhyNot.INACTIVE
    if not member.is_enabled:
        return WhyNot.DISABLED
    if member.max_load is not None and member.open_load >= member.max_load:
        return WhyNot.FULL
    if member.max_daily_leads is not None and member.day_count >= member.max_daily_leads:
        return WhyNot.DAILY_CAP
    return None


def mismatch(lead: Lead, member: Member) -> WhyNot | None:
    """Tell why a member may not get this lead whatever its counters say, or None."""
    if member.store_code is not None and member.store_code != lead.store_code:
        return WhyNot.OTHER_STORE
    mine, its = member.business_line_id, lead.business_line_id
    if mine is not None and its is not None and mine != its:
        return WhyNot.OTHER_BUSINESS_LINE
    return None


def lot_cap(lead: Lead, member: Member) -> WhyNot | None:
    """Tell which of a lot's caps keeps a member from this lead's type, or None; it may get the other type still."""
    cap, received = _in_lot(lead, member)
    if cap is None or received < cap:
        return None
    return WhyNot.EXISTING_CAP if lead.lead_type == "E" else WhyNot.NEW_CAP


def why_not(lead: Lead, member: Member) -> WhyNot | None:
    """Tell why a member may not get this lead now, or None if it may."""
    return mismatch(lead, member) or standing(member) or lot_cap(lead, member)


def room(lead: Lead, member: Member, most: int) -> int:
    """Tell how many leads of this one's kind a member may get now, up to `most`."""
    if mismatch(lead, member) is not None or not member.is_active or not member.is_enabled:
        return 0
    caps = _caps(lead, member).values()
    return max(0, min([most, *(cap - received for cap, received in caps if cap is not None)]))


def to_qualify(lead: Lead, member: Member) -> dict[str, Any] | None:
    """Give the smallest changes of facts with which a member may get a lead; None if its row is for another store."""
    if mismatch(lead, member) is WhyNot.OTHER_STORE:
        return None
    facts: dict[str, Any] = {}
    if mismatch(lead, member) is WhyNot.OTHER_BUSINESS_LINE:
        facts["business_line_id"] = lead.business_line_id
    facts |= {name: True for name in ("is_active", "is_enabled") if not getattr(member, name)}
    return facts | caps_for(lead, member, member.after([lead]))


def lift_caps(lead: Lead, member: Member) -> Member:
    """Give the member without those of its caps that a lead of this type counts towards."""
    none: dict[str, Any] = dict.fromkeys(_caps(lead, member))
    return replace(member, **none)


def caps_for(lead: Lead, before: Member, after: Member) -> dict[str, int]:
    """Give those caps that a lead of this type counts towards and that are too low for what a member has after it."""
    received = _caps(lead, after)
    caps = {name: cap for name, (cap, _) in _caps(lead, before).items()}
    return {name: received[name][1] for name, cap in caps.items() if cap is not None and cap < received[name][1]}


def _caps(lead: Lead, member: Member) -> dict[str, tuple[int | None, int]]:
    """The caps by name that a lead of this type counts towards, each with what was received of it."""
    of_type = "max_existing_per_lot" if lead.lead_type == "E" else "max_new_per_lot"
    return {
        "max_load": (member.max_load, member.open_load),
        "max_daily_leads": (member.max_daily_leads, member.day_count),
        of_type: _in_lot(lead, member),
    }


def _in_lot(lead: Lead, member: Member) -> tuple[int | None, int]:
    """The cap on leads of this type in a lot, and what was received of it."""
    if lead.lead_type == "E":
        return member.max_existing_per_lot, member.lot_existing
    return member.max_new_per_lot, member.lot_new


def kinds(members: Iterable[Member]) -> Callable[[Lead], Kind]:
    """Give what tells leads of one store apart: who may get one of a kind may get every one of it, if it has room.

    The kind is the business line and, only where a member has a cap on either, the lead's type.
    """
    if any(m.max_existing_per_lot is not None or m.max_new_per_lot is not None for m in members):
        return lambda lead: (lead.business_line_id, lead.lead_type)
    return lambda lead: (lead.business_line_id, None)


def reason(lead: Lead, members: Iterable[Member]) -> str:
    """Say why nobody may get a lead: the reason among all members' that gives most hope."""
    found = {why for member in members if (why := why_not(lead, member)) is not None}
    return max(found, key=BY_HOPE.index).value if found else Unassigned.NO_MEMBERS.value


def for_store(members: Sequence[Member], store_code: str | None) -> Sequence[Member]:
    """Give the members that count for a store: an agent's row for the store replaces the row for all."""
    if not Roster.of(members).has_stores:
        return members
    own = {member.agent_id for member in members if member.store_code is not None and member.store_code == store_code}
    return [m for m in members if m.store_code == store_code or (m.store_code is None and m.agent_id not in own)]
