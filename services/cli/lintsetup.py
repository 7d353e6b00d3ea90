"""What the configuration's lint looks at: routes with their members, and how many leads come to each. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from msgspec import structs

from services.assigner.eligibility import for_store, why_not
from services.assigner.facts import Lead, Member, Route, Routes, Status

#: Source, store and business line of leads: what routes match.
Kind = tuple[int, str | None, int | None]


@dataclass(frozen=True, slots=True)
class RouteSetup:
    """A route as it is configured. The members' counters are as they are now."""

    route: Route
    members: Sequence[Member] = ()
    schedule: Sequence[str] = ()
    is_enabled: bool = True
    #: How many leads are expected; None where nobody knows.
    leads_per_day: int | None = None

    @property
    def fresh(self) -> list[Member]:
        """The members as on a day, and in a lot, in which they have received nothing, with no open leads."""
        idle = [structs.replace(member, day_count=0, open_load=0, lot_existing=0, lot_new=0) for member in self.members]
        return idle if self.route.mode == "lot" else [member.without_lot_caps() for member in idle]

    def eligible(self, lead: Lead) -> list[Member]:
        """Who may get a lead at best."""
        return [member for member in for_store(self.fresh, lead.store_code) if why_not(lead, member) is None]


@dataclass(frozen=True, slots=True)
class Setup:
    """The whole configuration, as far as it decides who gets leads."""

    routes: Sequence[RouteSetup] = ()
    #: Those that somebody has configured: sources by id, and whether a store takes part, by code.
    sources: Mapping[int, str] = field(default_factory=dict)
    stores: Mapping[str, bool] = field(default_factory=dict)

    @property
    def enabled(self) -> list[RouteSetup]:
        return [each for each in self.routes if each.is_enabled]

    def is_idle(self, store_code: str | None) -> bool:
        """Whether somebody has said that this store takes no part."""
        return store_code is not None and not self.stores.get(store_code, True)

    def taker(self, lead: Lead) -> RouteSetup | None:
        """The route that a lead comes to."""
        routes = Routes({each.route.id: each.route for each in self.enabled})
        found = routes.match(lead)
        return next((each for each in self.enabled if each.route is found), None)


def expected(setup: Setup, arrivals: Mapping[Kind, int], days: int) -> Setup:
    """Give the setup with the leads a day that each route will see if the coming days are as the last ones were."""
    per_route: Counter[int] = Counter()
    for (source_id, store_code, business_line_id), leads in arrivals.items():
        taker = setup.taker(a_lead(source_id, store_code, business_line_id))
        if taker is not None and not setup.is_idle(store_code):
            per_route[taker.route.id] += leads
    return replace(
        setup, routes=[replace(each, leads_per_day=-(-per_route[each.route.id] // days)) for each in setup.routes]
    )


def a_lead(
    source_id: int = 0,
    store_code: str | None = None,
    business_line_id: int | None = None,
    *,
    is_new_customer: bool = True,
) -> Lead:
    """Make up a lead to try routes and members with."""
    return Lead(
        id=0,
        lead_id="",
        assignment_id=0,
        status=Status.PENDING,
        route_id=None,
        agent_id=None,
        agent_code=None,
        reason=None,
        retry_at=None,
        sheet_key=None,
        revision=1,
        source_id=source_id,
        source="",
        store_code=store_code,
        store_name=None,
        store_takes_part=True,
        business_line_id=business_line_id,
        customer_type="New" if is_new_customer else None,
        customer_name=None,
        mobile_number=None,
        address=None,
        final_source=None,
        created_at=datetime(2000, 1, 1, tzinfo=UTC),
        pickup_date=None,
        pickup_created_date=None,
        run_date=None,
        is_order_placed=False,
        is_duplicate=False,
    )
