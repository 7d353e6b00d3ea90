"""Who is next: the line that is shown is the order in which the policy itself gives leads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.assigner.eligibility import for_store
from services.assigner.facts import Member
from services.assigner.policies import of
from services.cli.standings import line
from tests.assigning import a_lead, a_member, a_route, some_members


def places(policy: str, *members: Member, **route: Any) -> list[tuple[str, int | None, str | None]]:
    found = line(a_route(policy=policy, **route), members)
    return [(each.agent, each.place, each.why_not) for each in found.members]


@pytest.mark.parametrize(
    ("policy", "route"),
    [("fair", {}), ("fair", {"params": {"count": "agent"}}), ("first_fit", {}), ("smooth_weighted", {})],
)
@given(some_members())
def test_who_is_next_gets_the_next_lead(policy: str, route: dict[str, Any], members: list[Member]) -> None:
    """As the policy itself gives it, whatever the counters say; nobody is next where nobody gets it."""
    members = [replace(member, business_line_id=None, priority=member.agent_count) for member in members]
    its_route = a_route(policy=policy, **route)
    chosen, params = of(its_route)

    (choice,) = chosen.choose([a_lead()], for_store(members, None), params).choices

    codes = {member.agent_id: member.agent_code for member in members}
    assert line(its_route, members).next == (None if choice.agent_id is None else codes[choice.agent_id])


@given(st.permutations([a_member(n, assigned_count=n % 3, weight=n, priority=n % 2) for n in range(1, 6)]))
def test_the_order_of_members_does_not_matter(members: list[Member]) -> None:
    """For any policy."""
    for policy in ("fair", "first_fit", "smooth_weighted", "weighted_random"):
        assert places(policy, *members) == places(policy, *sorted(members, key=lambda member: member.agent_id))


def test_lots_by_priority_and_in_blocks() -> None:
    """Lot policies put members in line by what they go by, not by counts."""
    members = [a_member(1, priority=2, assigned_count=0), a_member(2, priority=1, assigned_count=9)]

    assert [agent for agent, _, _ in places("capped_lot", *members, mode="lot")] == ["0002", "0001"]
    assert [agent for agent, _, _ in places("even_split", *members, mode="lot")] == ["0001", "0002"]


def test_who_may_get_nothing_stands_last_and_it_says_why() -> None:
    """The figures are of the others."""
    members = [
        a_member(1, is_active=False),
        a_member(2, max_load=3, open_load=3),
        a_member(3, weight=0),
        a_member(4, assigned_count=7),
        a_member(5, assigned_count=2, start_count=1),
    ]

    found = line(a_route(policy="weighted_random"), members)

    assert [(each.agent, each.why_not) for each in found.members if each.place is None] == [
        ("0001", "agent inactive"),
        ("0002", "agent at capacity"),
        ("0003", "weight 0"),
    ]
    assert (found.least, found.most, found.average, found.variance) == (3, 7, 5.0, 4.0)


@pytest.mark.parametrize(
    ("route", "words"),
    [({"policy": "fair", "params": {"count": "all"}}, "nobody"), ({"policy": "luck"}, "nobody")],
)
def test_settings_that_are_wrong_let_nobody_be_next(route: dict[str, Any], words: str) -> None:
    """And each member says what is wrong."""
    found = line(a_route(**route), [a_member()])

    assert found.next is None
    assert words in found.why
    assert "the route's" in str(found.members[0].why_not)
