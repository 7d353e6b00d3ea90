"""Which route a lead is on: most match fields set, then priority, then id."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.assigner.facts import Lead, Routes
from tests.assigning import a_lead, a_route, optional

LEAD = a_lead(source_id=1, store_code="S", business_line_id=2)


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([], None),
        ([{"source_id": 2}], None),
        ([{"store_code": "T"}], None),
        ([{"business_line_id": 1}], None),
        ([{}], 1),
        ([{}, {"source_id": 1}], 2),
        ([{"priority": 1}, {"source_id": 1, "priority": 999}], 2),
        ([{"source_id": 1, "store_code": "S"}, {"source_id": 1, "store_code": "S", "business_line_id": 2}], 2),
        ([{"source_id": 1, "store_code": "S"}, {"source_id": 1, "store_code": "T", "business_line_id": 2}], 1),
        ([{"source_id": 1, "priority": 5}, {"store_code": "S", "priority": 4}], 2),
        ([{"source_id": 1}, {"store_code": "S"}], 1),
    ],
)
def test_the_best_route_that_matches(routes: list[dict[str, Any]], expected: int | None) -> None:
    known = [a_route(id=n, **facts) for n, facts in enumerate(routes, 1)]
    for order in permutations(known):
        found = Routes({route.id: route for route in order}).match(LEAD)
        assert (found.id if found else None) == expected


def test_a_lead_without_a_store_is_on_no_route_of_a_store() -> None:
    assert Routes({1: a_route(store_code="S")}).match(a_lead()) is None


def test_what_was_matched_is_matched_again_by_the_routes_as_they_are() -> None:
    routes = Routes({1: a_route(store_code="S")}, "as of then")
    for lead, found in ((LEAD, 1), (a_lead(), None)):
        assert [(route.id if (route := routes.match(lead)) else None) for _ in range(2)] == [found, found]

    later = routes.at(1, 7)

    assert later.as_of == "as of then"
    assert (route := later.match(LEAD)) is not None
    assert route is later[1]
    assert route.sequence == 7


fields = st.fixed_dictionaries(
    {
        "source_id": optional(st.integers(1, 2)),
        "store_code": optional(st.sampled_from("ST")),
        "business_line_id": optional(st.integers(1, 2)),
    }
)


@given(st.lists(st.tuples(fields, st.integers(1, 3)), max_size=8), fields)
def test_no_route_that_matches_is_better(routes: list[tuple[dict[str, Any], int]], facts: dict[str, Any]) -> None:
    lead: Lead = a_lead(**facts | {"source_id": facts["source_id"] or 1})
    known = {n: a_route(id=n, priority=priority, **each) for n, (each, priority) in enumerate(routes, 1)}
    found = Routes(known).match(lead)

    matching = [
        (-sum(value is not None for value in each.values()), priority, n)
        for n, (each, priority) in enumerate(routes, 1)
        if all(value in {None, getattr(lead, name)} for name, value in each.items())
    ]
    assert (found.id if found else None) == (min(matching)[2] if matching else None)


@pytest.mark.parametrize(
    ("written", "kind"), [("New Customer", "N"), ("NEW", "N"), ("Existing", "E"), ("", "E"), (None, "E")]
)
def test_a_lead_is_new_or_existing(written: str | None, kind: str) -> None:
    """Whatever begins with "new" is N, all else E."""
    assert a_lead(customer_type=written).lead_type == kind
