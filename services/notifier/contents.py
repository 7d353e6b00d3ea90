"""What each kind of mail says: facts, and the words' values that its templates are given. Pure.

Templates get text that stays on its line, whatever the facts hold, and never None: a template cannot be broken by a
customer's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, assert_never

from services.notifier.lines import moment, one_line

_LEADS_LISTED = 200
#: The kinds of mail: each has the templates KIND.subject.txt, KIND.preview.txt, KIND.txt and KIND.html.
KINDS: Final = ("sheet", "store", "summary")

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MailedLead:
    """A lead as the mail lists it."""

    lead_assignment_code: str
    customer_name: str | None
    mobile_number: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """Where a sheet lies that is too large to be attached; until when the link opens it, in the zone of the mail."""

    file_name: str
    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SheetContent:
    """A mail about one sheet, to its agent or to its store. `zone` is that of the dates and times."""

    agent_code: str | None
    agent_name: str | None
    route: str | None
    store_code: str | None
    page_group_code: str | None
    lead_count: int
    batch_date: date | None
    zone: str | None
    leads: tuple[MailedLead, ...]
    assigned_at: datetime | None = None
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreSheet:
    """A sheet as the mail to a store lists it."""

    agent_code: str | None
    agent_name: str | None
    page_group_code: str | None
    lead_count: int


@dataclass(frozen=True, slots=True)
class StoreContent:
    """A mail with the sheets that a lot has made for one store, or with some of them: part so many of so many."""

    store_code: str | None
    store_name: str | None
    route: str | None
    batch_date: date | None
    requested_at: datetime | None
    zone: str | None
    sheets: tuple[StoreSheet, ...]
    part: int = 1
    parts: int = 1
    #: Its sheets turned up after the store's mail.
    is_late: bool = False
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """How many leads of a lot an agent got at a store."""

    store_code: str | None
    agent_code: str
    agent_name: str
    leads: int


@dataclass(frozen=True, slots=True)
class SummaryContent:
    """A mail about a whole lot, to the operators. `unassigned`: reasons and how many leads wait for each."""

    lot_id: int
    route: str
    batch_date: date
    requested_at: datetime
    zone: str
    triggered_by: str
    run_id: str | None
    assigned: int
    unassigned: tuple[tuple[str, int], ...]
    shares: tuple[Share, ...]
    sheets: int
    links: tuple[Link, ...] = ()


Content = SheetContent | StoreContent | SummaryContent


def kind_of(content: Content) -> str:
    """The kind of mail, as its templates are named."""
    match content:
        case SheetContent():
            return "sheet"
        case StoreContent():
            return "store"
        case SummaryContent():
            return "summary"
    assert_never(content)


def values_of(content: Content, attached: int) -> Values:
    """What the templates are given; `attached`: how many sheets come with the mail."""
    match content:
        case SheetContent():
            values = _of_sheet(content)
        case StoreContent():
            values = _of_store(content)
        case SummaryContent():
            values = _of_summary(content)
        case _:
            assert_never(content)
    links = [
        {"file": one_line(each.file_name), "url": each.url, "expires": moment(each.expires_at, None)}
        for each in content.links
    ]
    return {**values, "attached": attached, "links": links}


def _of_sheet(content: SheetContent) -> dict[str, Any]:
    listed = content.leads[:_LEADS_LISTED]
    return {
        "count": content.lead_count,
        "agent": _joined(content.agent_code, content.agent_name),
        "agent_code": one_line(content.agent_code),
        "agent_name": one_line(content.agent_name),
        "store": one_line(content.store_code),
        "route": one_line(content.route),
        "page_group": one_line(content.page_group_code),
        "batch_date": _day(content.batch_date, content.zone),
        "assigned_at": moment(content.assigned_at, content.zone),
        "leads": [
            {
                "code": one_line(each.lead_assignment_code),
                "customer": one_line(each.customer_name),
                "mobile": one_line(each.mobile_number),
            }
            for each in listed
        ],
        "more": max(content.lead_count - len(listed), 0) if content.leads else 0,
    }


def _of_store(content: StoreContent) -> dict[str, Any]:
    return {
        "count": sum(each.lead_count for each in content.sheets),
        "store": one_line(content.store_code),
        "store_name": one_line(content.store_name),
        "route": one_line(content.route),
        "batch_date": _day(content.batch_date, content.zone),
        "requested_at": moment(content.requested_at, content.zone),
        "sheets": [
            {
                "agent": _joined(each.agent_code, each.agent_name),
                "page_group": one_line(each.page_group_code),
                "leads": each.lead_count,
            }
            for each in content.sheets
        ],
        "part": content.part,
        "parts": content.parts,
        "is_late": content.is_late,
    }


def _of_summary(content: SummaryContent) -> dict[str, Any]:
    return {
        "lot": content.lot_id,
        "route": one_line(content.route),
        "batch_date": _day(content.batch_date, content.zone),
        "requested_at": moment(content.requested_at, content.zone),
        "triggered_by": one_line(content.triggered_by),
        "run_id": one_line(content.run_id),
        "assigned": content.assigned,
        "unassigned": sum(leads for _, leads in content.unassigned),
        "reasons": [{"reason": one_line(reason), "leads": leads} for reason, leads in content.unassigned],
        "shares": [
            {
                "store": one_line(each.store_code),
                "agent": _joined(each.agent_code, each.agent_name),
                "leads": each.leads,
            }
            for each in content.shares
        ],
        "agents": len({each.agent_code for each in content.shares}),
        "stores": _stores(content.shares),
        "sheets": content.sheets,
    }


def _stores(shares: Iterable[Share]) -> int:
    return len({each.store_code for each in shares if each.store_code is not None})


def _joined(*parts: str | None) -> str:
    return " ".join(filter(None, map(one_line, parts)))


def _day(day: date | None, zone: str | None) -> str:
    if day is None:
        return ""
    return f"{day} ({one_line(zone)})" if zone else str(day)
