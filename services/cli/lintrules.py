"""What is odd about a configuration that could be applied: one pure function a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from services.assigner import policies
from services.assigner.eligibility import room, standing
from services.assigner.facts import Member, Route
from services.assigner.policies import PolicyError
from services.assigner.policies.even_split import EvenSplitParams
from services.assigner.policies.fair import FairParams, place
from services.cli.lintsetup import RouteSetup, Setup, a_lead

#: From so many leads on, the start of one who begins at 0 beside the others is a flood.
MANY: Final = 20
_DAY_MINUTES: Final = 24 * 60
_LIMITS: Final = ("max_load", "max_daily_leads", "max_existing_per_lot", "max_new_per_lot")
_BY_WEIGHT: Final = frozenset({"weighted_random", "smooth_weighted"})


@dataclass(frozen=True, slots=True)
class LintWarning:
    """Something that is allowed and hardly meant: where, what it leads to, and what to do about it."""

    rule: str
    where: str
    what: str
    what_to_do: str


def unusable_policies(setup: Setup) -> Iterator[LintWarning]:
    """A route whose policy, mode and parameters do not go together gives nobody a lead."""
    for each in setup.enabled:
        try:
            policies.of(each.route)
        except PolicyError as error:
            yield LintWarning("unusable policy", _route(each), f"{error}: its leads wait", "correct it and apply again")


def zero_caps(setup: Setup) -> Iterator[LintWarning]:
    """A member whose limits never let a lead through."""
    for each in setup.enabled:
        for member in each.fresh:
            if not (member.is_active and member.is_enabled) or any(_rooms(member)):
                continue
            zeros = " and ".join(f"{name}: 0" for name in _LIMITS if getattr(member, name) == 0)
            yield LintWarning(
                "effective cap of 0",
                f"{_route(each)}, member {_member(member)}",
                f"{zeros} never lets a lead through",
                "raise it, leave it out (no limit), or write enabled: false",
            )


def sources_without_agents(setup: Setup) -> Iterator[LintWarning]:
    """A source of whose leads nobody may get one, whatever their store and business line."""
    stores = {None} | {each.route.store_code for each in setup.enabled}
    stores |= {member.store_code for each in setup.enabled for member in each.members}
    lines = {None} | {each.route.business_line_id for each in setup.enabled}
    lines |= {member.business_line_id for each in setup.enabled for member in each.members}
    kinds = [(store, line) for store, line in product(stores, lines) if not setup.is_idle(store)]
    for source_id, name in setup.sources.items():
        leads = [
            a_lead(source_id, store, line, is_new_customer=is_new) for store, line in kinds for is_new in (True, False)
        ]
        takers = [(lead, taker) for lead in leads if (taker := setup.taker(lead)) is not None]
        if any(taker.eligible(lead) for lead, taker in takers):
            continue
        routes = ", ".join(sorted({taker.route.name for _, taker in takers}))
        what = f"its leads come to {routes}, where nobody may get one" if takers else "no route takes its leads"
        yield LintWarning(
            "source without an eligible agent",
            f"source {name}",
            what,
            "add members, or switch some on" if takers else "add a route for it, or one without a source",
        )


def routes_that_never_match(setup: Setup) -> Iterator[LintWarning]:
    """A route that is disabled, whose store takes no part, or before which another always comes."""
    for each in setup.routes:
        route = each.route
        if not each.is_enabled:
            yield _never(each, "it is disabled", "write enabled: true, or remove it with --prune")
        elif setup.is_idle(route.store_code):
            yield _never(each, f"its store {route.store_code} takes no part", "write assign_leads: true at the store")
        elif shadow := _shadow(setup, each):
            yield _never(
                each,
                f"{shadow.route.name} matches the same leads and comes first",
                "give one of them another match, or this one a lower priority number",
            )


def leads_above_caps(setup: Setup) -> Iterator[LintWarning]:
    """More leads are expected on a day than all members' caps together let through."""
    for each in setup.enabled:
        lots = _lots_a_day(each)
        members = [member for member in each.fresh if standing(member) is None]
        caps = [_cap_a_day(each.route, member, lots) for member in members]
        known = [cap for cap in caps if cap is not None]
        if not caps or each.leads_per_day is None or len(known) < len(caps) or sum(known) >= each.leads_per_day:
            continue
        unit = "a lot" if each.route.mode == "lot" and lots == 1 else "a day"
        each_cap = f"{len(caps)} × {known[0]:,}"  # noqa: RUF001  # times, as people write it
        total = f"{each_cap if len(set(known)) == 1 else f'caps of {sum(known):,}'} {unit}"
        yield LintWarning(
            "expected leads above total caps",
            _route(each),
            f"{total} < {each.leads_per_day:,} a day: lead {sum(known) + 1:,} waits",
            "raise caps, add members" + (", or run more lots a day" if each.route.mode == "lot" else ""),
        )


def flooded_newcomers(setup: Setup) -> Iterator[LintWarning]:
    """Whoever begins at 0 beside high counts gets every lead until they are level."""
    for each in setup.enabled:
        params = _params(each.route)
        if not isinstance(params, FairParams) or params.newcomers != "zero":
            continue
        members = {member.agent_id: member for member in each.fresh if standing(member) is None}.values()
        lowest = min((place(member, params)[0] for member in members if member.assigned_count), default=0)
        if lowest < MANY:
            continue
        new = [member for member in members if place(member, params)[0] + MANY <= lowest]
        behind = sum(lowest - place(member, params)[0] for member in new)
        yield LintWarning(
            "newcomers flooded",
            _route(each),
            f"the next {behind:,} leads all go to {', '.join(map(_member, new))}"
            if new
            else f"newcomers: zero, and the lowest count is {lowest:,}: whoever joins gets the next {lowest:,} leads",
            "write newcomers: lowest or newcomers: average, and let who is new join again",
        )


def lots_without_schedule(setup: Setup) -> Iterator[LintWarning]:
    """A lot route that nobody runs."""
    for each in setup.enabled:
        if each.route.mode == "lot" and not each.schedule:
            yield LintWarning(
                "lot route without a schedule",
                _route(each),
                "its leads wait until somebody asks for a lot",
                'write schedule: "20:40", or run its lots yourself',
            )


def scheduled_streams(setup: Setup) -> Iterator[LintWarning]:
    """A schedule that nothing comes of."""
    for each in setup.enabled:
        if each.route.mode == "stream" and each.schedule:
            yield LintWarning(
                "scheduled stream route",
                _route(each),
                "it assigns leads as they come; its schedule does nothing",
                "write mode: lot, or remove the schedule",
            )


def members_of_other_stores(setup: Setup) -> Iterator[LintWarning]:
    """A member for a store that takes no part, or whose leads never come to the route."""
    for each in setup.enabled:
        for member in each.members:
            if setup.is_idle(member.store_code):
                what, to_do = "takes no part", "write assign_leads: true at the store, or remove the member"
            elif each.route.store_code is not None and member.store_code not in {None, each.route.store_code}:
                what, to_do = f"is not the route's ({each.route.store_code})", "name the route's store, or none"
            else:
                continue
            where = f"{_route(each)}, member {_member(member)}"
            yield LintWarning(
                "member for a store without leads", where, f"its store {what}: it never gets a lead", to_do
            )


def weights_all_zero(setup: Setup) -> Iterator[LintWarning]:
    """A weighted route whose members all have no weight."""
    for each in setup.enabled:
        members = [member for member in each.fresh if standing(member) is None]
        if each.route.policy in _BY_WEIGHT and members and not any(member.weight for member in members):
            yield LintWarning(
                "weights all 0",
                _route(each),
                f"a member of weight 0 gets no lead under {each.route.policy}, and there is no other",
                "give at least one member a weight",
            )


RULES: Final[tuple[Callable[[Setup], Iterator[LintWarning]], ...]] = (
    unusable_policies,
    zero_caps,
    sources_without_agents,
    routes_that_never_match,
    leads_above_caps,
    flooded_newcomers,
    lots_without_schedule,
    scheduled_streams,
    members_of_other_stores,
    weights_all_zero,
)


def lint(setup: Setup) -> list[LintWarning]:
    """All warnings, in the order of the rules."""
    return [warning for rule in RULES for warning in rule(setup)]


def _route(each: RouteSetup) -> str:
    return f"route {each.route.name}"


def _member(member: Member) -> str:
    return f"{member.agent_code} {member.agent_name}" + (f" for {member.store_code}" if member.store_code else "")


def _never(each: RouteSetup, why: str, what_to_do: str) -> LintWarning:
    return LintWarning("route that never matches", _route(each), f"{why}: no lead comes to it", what_to_do)


def _rooms(member: Member) -> Iterator[int]:
    """How many of a hundred leads of its own store and line a member may get, of either type."""
    for is_new in (True, False):
        yield room(a_lead(0, member.store_code, member.business_line_id, is_new_customer=is_new), member, 100)


def _shadow(setup: Setup, each: RouteSetup) -> RouteSetup | None:
    """The route that takes a lead of exactly this route's match, where that is another."""
    route = each.route
    # A source that no other route names stands for all: a route without a source matches any.
    lead = a_lead(route.source_id or 0, route.store_code, route.business_line_id)
    taker = setup.taker(lead)
    return None if taker is None or taker.route.id == route.id else taker


def _params(route: Route) -> object:
    try:
        return policies.of(route)[1]
    except PolicyError:
        return None


def _lots_a_day(each: RouteSetup) -> int:
    """How many lots the schedule has in a day; without one, a person is taken to run one."""
    steps = [int(text.split()[1]) for text in each.schedule if text.startswith("every ")]
    return max(1, len(each.schedule) - len(steps) + sum(-(-_DAY_MINUTES // step) for step in steps))


def _cap_a_day(route: Route, member: Member, lots: int) -> int | None:
    """The most that a member may get in a day, None without a limit. Places come free by closing, so they count not."""
    caps = [] if member.max_daily_leads is None else [member.max_daily_leads]
    if route.mode == "lot":
        if isinstance(params := _params(route), EvenSplitParams):
            caps.append(lots * params.ceiling)
        if member.max_existing_per_lot is not None and member.max_new_per_lot is not None:
            caps.append(lots * (member.max_existing_per_lot + member.max_new_per_lot))
    return min(caps, default=None)
