"""What the assigner knows when it decides: leads, members, routes. Plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from enum import IntEnum
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace


class Status(IntEnum):
    """A row of `assignment_statuses`."""

    PENDING = 1
    ASSIGNED = 2
    IN_PROGRESS = 3
    CLOSED = 4


#: By value: a lookup costs a tenth of the class's call.
STATUSES = {status.value: status for status in Status}


class Glance(Struct, frozen=True):
    """What says where a lead belongs and whether it is to be assigned, before any lock."""

    id: int
    lead_id: str
    assignment_id: int
    status: Status
    route_id: int | None
    source_id: int
    store_code: str | None
    business_line_id: int | None
    is_order_placed: bool
    is_duplicate: bool

    @property
    def is_waiting(self) -> bool:
        """It is to be assigned: pending, with nothing that is about to close it."""
        return self.status is Status.PENDING and self.is_wanted

    @property
    def is_wanted(self) -> bool:
        """It may be given to somebody: its order is not placed, and it is no duplicate."""
        return not self.is_order_placed and not self.is_duplicate

    @property
    def is_held(self) -> bool:
        """An agent has it, and has not ended the work."""
        return self.status in {Status.ASSIGNED, Status.IN_PROGRESS}


class Lead(Glance, frozen=True):
    """A lead and its current assignment, as read under the locks."""

    agent_id: int | None
    agent_code: str | None
    reason: str | None
    retry_at: datetime | None
    sheet_key: str | None
    #: The lead's own, as ingest counts it.
    revision: int
    source: str
    store_name: str | None
    #: False once somebody has set the store and said that it takes no part.
    store_takes_part: bool
    customer_type: str | None
    customer_name: str | None
    mobile_number: str | None
    address: str | None
    final_source: str | None
    created_at: datetime
    pickup_date: date | None
    pickup_created_date: date | None
    run_date: date | None
    stage: int = 1
    #: Who had it until this decision, and on which sheet.
    previous_agent_code: str | None = None
    previous_sheet_key: str | None = None

    @property
    def lead_type(self) -> str:
        """N for a new customer, E for an existing one (leads-assignment seed §2.6)."""
        return "N" if (self.customer_type or "").casefold().startswith("new") else "E"

    def lead_date(self, zone: ZoneInfo) -> date:
        """The date on the sheet: the first of pickup, pickup created, run, created (that seed's §4.1.4)."""
        return self.pickup_date or self.pickup_created_date or self.run_date or self.created_at.astimezone(zone).date()


class Member(Struct, frozen=True):
    """An agent on a route, with counters as read. Limits that are None are no limits."""

    agent_id: int
    agent_code: str
    agent_name: str
    email: str | None = None
    crm_user_id: str | None = None
    business_line_id: int | None = None
    is_active: bool = True
    max_load: int | None = None
    store_code: str | None = None
    weight: int = 1
    priority: int = 100
    max_existing_per_lot: int | None = None
    max_new_per_lot: int | None = None
    max_daily_leads: int | None = None
    is_enabled: bool = True
    #: Received on this route in all; what is added to it where counts decide; received by this row on the day.
    assigned_count: int = 0
    start_count: int = 0
    day_count: int = 0
    #: Received over all routes, and open now over all routes.
    agent_count: int = 0
    open_load: int = 0
    #: Received by this row in the lot that is being decided.
    lot_existing: int = 0
    lot_new: int = 0

    @property
    def route_count(self) -> int:
        """What decides where this route's own leads count."""
        return self.assigned_count + self.start_count

    @property
    def lot_count(self) -> int:
        return self.lot_existing + self.lot_new

    def after(self, leads: Collection[Lead], *, by_this_row: bool = True) -> Member:
        """Give the member as it is after its agent received some leads, by this row of its or by another."""
        own = len(leads) if by_this_row else 0
        existing = sum(lead.lead_type == "E" for lead in leads) if by_this_row else 0
        return replace(
            self,
            assigned_count=self.assigned_count + len(leads),
            day_count=self.day_count + own,
            agent_count=self.agent_count + len(leads),
            open_load=self.open_load + len(leads),
            lot_existing=self.lot_existing + existing,
            lot_new=self.lot_new + own - existing,
        )

    def without_lot_caps(self) -> Member:
        """Give the member as it counts where there are no lots."""
        if self.max_existing_per_lot is None and self.max_new_per_lot is None:
            return self
        return replace(self, max_existing_per_lot=None, max_new_per_lot=None)


class Route(Struct, frozen=True):
    """Which leads go to which agents, and how. A match field that is None matches all."""

    id: int
    name: str
    source_id: int | None
    store_code: str | None
    business_line_id: int | None
    priority: int
    policy: str
    mode: str
    zone: ZoneInfo
    params: Mapping[str, Any] = {}
    retry_pending: bool = True
    version: int = 1
    sequence: int = 0

    def matches(self, lead: Glance) -> bool:
        return (
            self.source_id in {None, lead.source_id}
            and self.store_code in {None, lead.store_code}
            and self.business_line_id in {None, lead.business_line_id}
        )

    @property
    def counts_all_routes(self) -> bool:
        """Whether the count that decides is over all routes, as the auto-assign seed has it, or this route's own."""
        return self.policy == "fair" and self.params.get("count") == "agent"

    @property
    def rank(self) -> tuple[int, int, int]:
        """The smaller, the better: most match fields set, then priority, then id."""
        fields = (self.source_id, self.store_code, self.business_line_id)
        return sum(value is None for value in fields), self.priority, self.id


class Routes(dict[int, Route]):
    """The enabled routes by id, and what tells this state of all routes from every other."""

    def __init__(self, routes: Mapping[int, Route], as_of: str = "") -> None:
        super().__init__(routes)
        self.as_of = as_of
        self._matched: dict[tuple[int, str | None, int | None], Route | None] = {}

    def match(self, lead: Glance) -> Route | None:
        """Give the route of a lead: the best that matches, also when nobody on it is eligible."""
        kind = lead.source_id, lead.store_code, lead.business_line_id
        if kind not in self._matched:
            matching = [route for route in self.values() if route.matches(lead)]
            self._matched[kind] = min(matching, key=lambda route: route.rank, default=None)
        return self._matched[kind]

    def at(self, route_id: int | None, sequence: int | None) -> Routes:
        """Give them with the sequence number that one has come to, which is no part of what `as_of` tells."""
        if route_id is None or sequence is None or route_id not in self:
            return self
        return Routes({**self, route_id: replace(self[route_id], sequence=sequence)}, self.as_of)
