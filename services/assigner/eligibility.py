"""Who may get a lead, and why not: pure, and the only place that says so. A policy chooses among the eligible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from services.assigner.facts import Lead, Member


class WhyNot(StrEnum):
    """Why a member may not get a lead. The value is the reason stored with a lead that nobody may get."""

    INACTIVE = "agent inactive"
    DISABLED = "member disabled"
    OTHER_BUSINESS_LINE = "other business line"
    OTHER_STORE = "other store"
    FULL = "agent at capacity"
    DAILY_CAP = "daily cap reached"


class Unassigned(StrEnum):
    """Why a lead waits, where it is not for want of an eligible member."""

    NO_ROUTE = "no route matches"
    NO_MEMBERS = "route has no members"
    STORE = "store takes no part"
    LOT = "waits for its lot"


#: Of several reasons the one that will pass by itself says most: the last in this order that any member gives.
BY_HOPE = (
    WhyNot.OTHER_STORE,
    WhyNot.OTHER_BUSINESS_LINE,
    WhyNot.DISABLED,
    WhyNot.INACTIVE,
    WhyNot.DAILY_CAP,
    WhyNot.FULL,
)


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


def why_not(lead: Lead, member: Member) -> WhyNot | None:
    """Tell why a member may not get this lead now, or None if it may."""
    return mismatch(lead, member) or standing(member)


def reason(lead: Lead, members: Iterable[Member]) -> str:
    """Say why nobody may get a lead: the reason among all members' that gives most hope."""
    found = {why for member in members if (why := why_not(lead, member)) is not None}
    return max(found, key=BY_HOPE.index).value if found else Unassigned.NO_MEMBERS.value


def for_store(members: Sequence[Member], store_code: str | None) -> list[Member]:
    """Give the members that count for a store: an agent's row for the store replaces the row for all."""
    own = {member.agent_id for member in members if member.store_code is not None and member.store_code == store_code}
    return [m for m in members if m.store_code == store_code or (m.store_code is None and m.agent_id not in own)]
