"""What `config lint` warns of: a table for each rule, of what it finds and of what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from services.assigner.facts import Member
from services.cli import lintrules
from services.cli.lintrules import LintWarning, lint
from services.cli.lintsetup import RouteSetup, Setup, expected
from tests.assigning import a_member, a_route

Rule = Callable[[Setup], Iterator[LintWarning]]
SOURCES = {1: "META", 2: "PARTNER"}


def a_setup(
    members: Sequence[Member] = (a_member(1), a_member(2)),
    *,
    schedule: Sequence[str] = (),
    leads_per_day: int | None = None,
    is_enabled: bool = True,
    stores: Mapping[str, bool] | None = None,
    **route: Any,
) -> Setup:
    """One route."""
    each = RouteSetup(a_route(**{"name": "r"} | route), members, schedule, is_enabled, leads_per_day)
    return Setup([each], SOURCES, stores or {})


def said(rule: Rule, setup: Setup) -> list[str]:
    """Where and what; every warning says what to do, too."""
    found = list(rule(setup))
    assert all(warning.what_to_do for warning in found)
    return [f"{warning.where}: {warning.what}" for warning in found]


def ten(**facts: Any) -> list[Member]:
    return [a_member(agent_id, **facts) for agent_id in range(1, 11)]


def test_a_plain_configuration_has_no_warnings() -> None:
    """Two agents on one route for everything."""
    assert lint(a_setup()) == []


@pytest.mark.parametrize(
    ("member", "mode", "zeros"),
    [
        ({"max_load": 0}, "stream", "max_load: 0"),
        ({"max_daily_leads": 0}, "stream", "max_daily_leads: 0"),
        ({"max_load": 0, "max_daily_leads": 0}, "stream", "max_load: 0 and max_daily_leads: 0"),
        ({"max_existing_per_lot": 0, "max_new_per_lot": 0}, "lot", "max_existing_per_lot: 0 and max_new_per_lot: 0"),
        ({"max_load": 0, "business_line_id": 7, "store_code": "A"}, "lot", "max_load: 0"),
        ({"max_existing_per_lot": 0}, "lot", None),
        ({"max_existing_per_lot": 0, "max_new_per_lot": 0}, "stream", None),
        ({"max_load": 1, "open_load": 1}, "stream", None),
        ({"max_daily_leads": 5, "day_count": 5}, "stream", None),
        ({"max_load": 0, "is_enabled": False}, "stream", None),
        ({"max_load": 0, "is_active": False}, "stream", None),
    ],
)
def test_effective_caps_of_0(member: dict[str, Any], mode: str, zeros: str | None) -> None:
    """Limits that never let a lead through, not such as are reached at the moment."""
    found = said(lintrules.zero_caps, a_setup([a_member(1, **member)], mode=mode))
    store = " for A" if "store_code" in member else ""
    assert found == ([f"route r, member 0001 Agent 1{store}: {zeros} never lets a lead through"] if zeros else [])


@pytest.mark.parametrize(
    ("setup", "found"),
    [
        (a_setup(), []),
        (a_setup([a_member(1, is_active=False)]), ["META: its leads come to r, where", "PARTNER: its leads come to r"]),
        (a_setup([]), ["META: its leads come to r, where nobody", "PARTNER: its leads come to r, where nobody"]),
        (a_setup(source_id=1), ["PARTNER: no route takes its leads"]),
        (a_setup(is_enabled=False), ["META: no route takes its leads", "PARTNER: no route takes its leads"]),
        (a_setup([a_member(1, store_code="A")]), []),
        (a_setup([a_member(1, store_code="A")], stores={"A": False}), ["META: its leads come to r", "PARTNER: its le"]),
        (a_setup([a_member(1, business_line_id=3)], business_line_id=3), []),
        (a_setup([a_member(1, business_line_id=4)], business_line_id=3), ["META: its leads come", "PARTNER: its lead"]),
        (a_setup([a_member(1, max_new_per_lot=0)], mode="lot"), []),
    ],
)
def test_sources_without_an_eligible_agent(setup: Setup, found: list[str]) -> None:
    """Sources of whose leads nobody may get one, whatever their store and business line."""
    warnings = said(lintrules.sources_without_agents, setup)
    assert len(warnings) == len(found)
    assert all(warning.startswith(f"source {start}") for warning, start in zip(warnings, found, strict=True))


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({}, {}, ["route s: r matches the same leads and comes first: no lead comes to it"]),
        ({"priority": 200}, {}, ["route r: s matches the same leads and comes first: no lead comes to it"]),
        ({"source_id": 1}, {"source_id": 1, "priority": 9}, ["route r: s matches the same leads and comes first: no"]),
        ({"source_id": 1}, {}, []),
        ({"source_id": 1}, {"source_id": 2}, []),
        ({"source_id": 1}, {"business_line_id": 1}, []),
        ({"store_code": "B"}, {}, ["route r: its store B takes no part: no lead comes to it"]),
        ({"store_code": "A"}, {"store_code": "C"}, []),
    ],
)
def test_routes_that_never_match(first: dict[str, Any], second: dict[str, Any], found: list[str]) -> None:
    """Behind another of the same match, or of a store without leads; narrower and wider routes live side by side."""
    routes = [
        RouteSetup(a_route(id=number, name=name) if not fields else a_route(**{"id": number, "name": name} | fields))
        for number, (name, fields) in enumerate((("r", first), ("s", second)), 1)
    ]
    warnings = said(lintrules.routes_that_never_match, Setup(routes, SOURCES, {"A": True, "B": False}))
    assert len(warnings) == len(found)
    assert all(warning.startswith(start) for warning, start in zip(warnings, found, strict=True))


def test_a_disabled_route_never_matches_and_shadows_none() -> None:
    """The only warning of a route that is switched off."""
    routes = [RouteSetup(a_route(id=1, name="r"), is_enabled=False), RouteSetup(a_route(id=2, name="s"), ten())]
    assert [f"{each.where}: {each.what}" for each in lint(Setup(routes, SOURCES))] == [
        "route r: it is disabled: no lead comes to it"
    ]


@pytest.mark.parametrize(
    ("members", "route", "leads", "found"),
    [
        (ten(), {"policy": "even_split"}, 5_100, "10 × 450 a lot < 5,100 a day: lead 4,501 waits"),  # noqa: RUF001
        (ten(), {"policy": "even_split"}, 4_500, None),
        (ten(), {"policy": "even_split"}, None, None),
        (ten(), {"policy": "even_split", "schedule": ["10:00", "20:40"]}, 5_100, None),
        (ten(), {"policy": "even_split", "schedule": ["every 720 minutes"]}, 9_001, "10 × 900 a day < 9,001 a"),  # noqa: RUF001
        (ten(max_daily_leads=5), {"mode": "stream"}, 51, "10 × 5 a day < 51 a day: lead 51 waits"),  # noqa: RUF001
        ([*ten(max_daily_leads=5), a_member(11)], {"mode": "stream"}, 51, None),
        (
            [a_member(1, max_daily_leads=5), a_member(2, max_daily_leads=2)],
            {"mode": "stream"},
            9,
            "caps of 7 a day < 9 a day: lead 8 waits",
        ),
        (
            ten(max_existing_per_lot=1, max_new_per_lot=2, max_daily_leads=50),
            {"policy": "capped_lot"},
            40,
            "10 × 3 a lot < 40 a day: lead 31 waits",  # noqa: RUF001
        ),
        (ten(max_existing_per_lot=1), {"policy": "capped_lot"}, 400, None),
        ([*ten(max_daily_leads=5, is_active=False), a_member(11)], {"mode": "stream"}, 51, None),
    ],
)
def test_expected_leads_above_total_caps(
    members: list[Member], route: dict[str, Any], leads: int | None, found: str | None
) -> None:
    """Counted over a day's lots and the members that may get leads; one without a cap takes the rest."""
    setup = a_setup(members, leads_per_day=leads, **{"mode": "lot"} | route)
    warnings = said(lintrules.leads_above_caps, setup)
    assert len(warnings) == (found is not None)
    assert found is None or warnings[0].startswith(f"route r: {found}")


@pytest.mark.parametrize(
    ("params", "counts", "found"),
    [
        ({"newcomers": "zero"}, [300, 310], "newcomers: zero, and the lowest count is 300: whoever joins gets the "),
        ({"newcomers": "zero"}, [300, 310, 0], "the next 300 leads all go to 0003 Agent 3"),
        ({"newcomers": "zero"}, [300, 0, 0], "the next 600 leads all go to 0002 Agent 2, 0003 Agent 3"),
        ({"newcomers": "zero"}, [19, 0], None),
        ({"newcomers": "zero"}, [0, 0], None),
        ({"newcomers": "average"}, [300, 0], None),
        ({}, [300, 0], None),
    ],
)
def test_newcomers_who_would_be_flooded(params: dict[str, Any], counts: list[int], found: str | None) -> None:
    """Only where newcomers begin at 0 and the others are far."""
    members = [a_member(agent_id, assigned_count=count) for agent_id, count in enumerate(counts, 1)]
    warnings = said(lintrules.flooded_newcomers, a_setup(members, params=params))
    assert len(warnings) == (found is not None)
    assert found is None or warnings[0].startswith(f"route r: {found}")


@pytest.mark.parametrize(
    ("rule", "mode", "schedule", "is_found"),
    [
        (lintrules.lots_without_schedule, "lot", [], True),
        (lintrules.lots_without_schedule, "lot", ["20:40"], False),
        (lintrules.lots_without_schedule, "stream", [], False),
        (lintrules.scheduled_streams, "stream", ["20:40"], True),
        (lintrules.scheduled_streams, "lot", ["20:40"], False),
        (lintrules.scheduled_streams, "stream", [], False),
    ],
)
def test_lots_and_schedules_go_together(rule: Rule, mode: str, schedule: list[str], is_found: bool) -> None:
    """A lot route has one, a stream route has none."""
    assert bool(said(rule, a_setup(mode=mode, schedule=schedule))) == is_found


@pytest.mark.parametrize(
    ("member", "route", "found"),
    [
        ("B", None, "its store takes no part: it never gets a lead"),
        ("A", "C", "its store is not the route's (C): it never gets a lead"),
        ("A", "A", None),
        ("A", None, None),
        ("new", None, None),
        (None, "A", None),
    ],
)
def test_members_for_a_store_without_leads(member: str | None, route: str | None, found: str | None) -> None:
    """Of a store that somebody has set to take no part, or of another than the route's."""
    setup = a_setup([a_member(1, store_code=member)], store_code=route, stores={"A": True, "B": False, "C": True})
    where = f"route r, member 0001 Agent 1 for {member}: "
    assert said(lintrules.members_of_other_stores, setup) == ([where + found] if found else [])


@pytest.mark.parametrize(
    ("policy", "weights", "is_found"),
    [
        ("weighted_random", [0, 0], True),
        ("smooth_weighted", [0, 0], True),
        ("weighted_random", [0, 1], False),
        ("fair", [0, 0], False),
        ("weighted_random", [], False),
    ],
)
def test_weights_that_are_all_0(policy: str, weights: list[int], is_found: bool) -> None:
    """Under a policy that goes by weights."""
    members = [a_member(agent_id, weight=weight) for agent_id, weight in enumerate(weights, 1)]
    assert bool(said(lintrules.weights_all_zero, a_setup(members, policy=policy))) == is_found


@pytest.mark.parametrize(
    ("route", "found"),
    [
        ({"policy": "gone"}, "the route's policy 'gone' is not known: its leads wait"),
        ({"policy": "even_split"}, "the route's policy 'even_split' works in lots only: its leads wait"),
        ({"params": {"counts": 1}}, "the route's parameter counts: no such parameter; there are: "),
        ({}, None),
    ],
)
def test_policies_that_cannot_be_used(route: dict[str, Any], found: str | None) -> None:
    """What was put there by hand, or before a policy's parameters changed."""
    warnings = said(lintrules.unusable_policies, a_setup(**route))
    assert len(warnings) == (found is not None)
    assert found is None or warnings[0].startswith(f"route r: {found}")


def test_expected_leads_are_those_of_the_route_that_takes_them() -> None:
    """The narrower route has its own; days are rounded up; a store that takes no part has none."""
    routes = [RouteSetup(a_route(id=1, name="wide")), RouteSetup(a_route(id=2, name="narrow", source_id=1))]
    setup = Setup(routes, SOURCES, {"B": False})
    arrivals = {(1, None, None): 10, (1, "A", None): 5, (2, "A", 3): 7, (2, "B", None): 1_000}
    assert [each.leads_per_day for each in expected(setup, arrivals, 7).routes] == [1, 3]
