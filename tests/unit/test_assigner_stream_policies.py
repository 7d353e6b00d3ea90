"""First fit (lead-assignment seed), chance by weight (mini-crm seed), and smooth weights."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.assigner.eligibility import why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies.first_fit import FirstFitParams, first_fit
from services.assigner.policies.smooth_weighted import SmoothWeightedParams, smooth_weighted
from services.assigner.policies.weighted_random import WeightedRandomParams, weighted_random
from tests.assigning import a_lead, a_member, chosen, received, some_leads, some_members


@pytest.mark.parametrize(
    ("members", "lines", "expected"),
    [
        ([{}, {}], [1, 1], [1, 1]),
        ([{"max_load": 1}, {}], [1, 1], [1, 2]),
        ([{"max_load": 5, "open_load": 5}, {}], [1], [2]),
        ([{"priority": 101}, {}], [1], [2]),
        ([{"business_line_id": 1}, {"business_line_id": 2}], [2, 1, 2], [2, 1, 2]),
        ([{"business_line_id": 1}], [2], [None]),
        ([{"is_active": False}, {"max_load": 1}], [1, 1], [2, None]),
        ([{"assigned_count": 99}, {"assigned_count": 0}], [1], [1]),
    ],
)
def test_the_first_in_order_with_the_line_and_room(
    members: list[dict[str, Any]], lines: list[int], expected: list[int | None]
) -> None:
    rows = [a_member(n, **facts) for n, facts in enumerate(members, 1)]
    leads = [a_lead(n, business_line_id=line) for n, line in enumerate(lines)]
    assert chosen(first_fit(leads, rows, FirstFitParams())) == expected


@given(some_leads(one_store=True), some_members(in_lot=True))
def test_first_fit_is_the_rule_word_by_word(leads: list[Lead], members: list[Member]) -> None:
    now = members
    for lead, pick in zip(leads, chosen(first_fit(leads, members, FirstFitParams())), strict=True):
        eligible = sorted((m.priority, m.agent_id) for m in now if why_not(lead, m) is None)
        assert pick == (eligible[0][1] if eligible else None)
        now = received(now, [lead], [pick])


def drawn(leads: list[Lead], *members: Member) -> list[int | None]:
    return chosen(weighted_random(leads, list(members), WeightedRandomParams()))


LEADS = [a_lead(n) for n in range(10_000)]
TEN, THIRTY, SIXTY = (a_member(n, weight=weight) for n, weight in enumerate((10, 30, 60), 1))


def test_weights_10_30_60_over_10_000_leads_are_within_3_standard_deviations() -> None:
    counts = Counter(drawn(LEADS, TEN, THIRTY, SIXTY))
    for member in (TEN, THIRTY, SIXTY):
        share = member.weight / 100
        deviation = sqrt(10_000 * share * (1 - share))
        assert abs(counts[member.agent_id] - 10_000 * share) < 3 * deviation


def test_who_leaves_moves_only_their_own_leads() -> None:
    before, after = drawn(LEADS, TEN, THIRTY, SIXTY), drawn(LEADS, TEN, THIRTY)
    assert [now for was, now in zip(before, after, strict=True) if was != 3] == [was for was in before if was != 3]
    assert set(after) == {1, 2}


def test_more_weight_takes_leads_and_gives_none() -> None:
    before = drawn(LEADS, TEN, THIRTY, SIXTY)
    after = drawn(LEADS, a_member(1, weight=20), THIRTY, SIXTY)
    moved = [now for was, now in zip(before, after, strict=True) if was != now]
    assert moved
    assert set(moved) == {1}


def test_draws_are_for_ever() -> None:
    """The algorithm's version promises it: whoever changes this needs a new one."""
    assert drawn(LEADS[:20], TEN, THIRTY, SIXTY) == [1, 2, 2, 3, 3, 2, 3, 3, 2, 2, 2, 3, 2, 2, 3, 2, 3, 2, 3, 3]


def test_at_max_load_the_others_share() -> None:
    """mini-crm's recipe: a max_load of 2, and the third waits."""
    assert drawn(LEADS[:3], a_member(max_load=2)) == [1, 1, None]
    picks = drawn(LEADS[:50], TEN, THIRTY, a_member(3, weight=60, max_load=2))
    free = drawn(LEADS[:50], TEN, THIRTY, SIXTY)
    assert Counter(picks)[3] == 2
    assert all(now == was for now, was in zip(picks, free, strict=True) if was != 3)


def smooth(leads: list[Lead], members: list[Member]) -> list[int | None]:
    return chosen(smooth_weighted(leads, members, SmoothWeightedParams()))


@pytest.mark.parametrize("weights", [(1, 1, 1, 20, 20), (10, 30, 60), (1,), (5, 5), (1, 999_999_999), (3, 0, 2)])
def test_each_is_within_one_of_its_share_at_every_step(weights: tuple[int, ...]) -> None:
    assert_within_one(list(weights), 500)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any), st.integers(1, 200))
def test_each_is_within_one_of_its_share_whatever_the_weights(weights: list[int], leads: int) -> None:
    assert_within_one(weights, leads)


def assert_within_one(weights: list[int], leads: int) -> None:
    picks = smooth(LEADS[:leads], [a_member(n, weight=weight) for n, weight in enumerate(weights)])
    total, got = sum(weights), Counter[int | None]()
    for step, pick in enumerate(picks, 1):
        got[pick] += 1
        for n, weight in enumerate(weights):
            assert abs(got[n] * total - step * weight) < total


@given(some_leads(one_store=True), some_members(in_lot=True))
def test_smooth_weighted_is_the_rule_word_by_word(leads: list[Lead], members: list[Member]) -> None:
    """Of those entitled to more than they have, the one that is first entitled to one more than that."""
    now = members
    for lead, pick in zip(leads, smooth(leads, members), strict=True):
        eligible = [member for member in now if member.weight and why_not(lead, member) is None]
        n, total = 1 + sum(m.route_count for m in eligible), sum(m.weight for m in eligible)
        released = [m for m in eligible if m.route_count * total < n * m.weight]
        best = min(released, key=lambda m: ((m.route_count + 1) / m.weight, m.agent_id), default=None)
        assert pick == (best and best.agent_id)
        now = received(now, [lead], [pick])


@given(some_leads(one_store=True), some_members())
def test_the_boundary_is_the_most_urgent_of_those_who_got_nothing(leads: list[Lead], members: list[Member]) -> None:
    answer = smooth_weighted(leads, members, SmoothWeightedParams())
    assert set(answer.boundary) == {lead.business_line_id for lead in leads}
    for lead in leads:
        rest = [m for m in members if m.weight and m.agent_id not in answer.read and why_not(lead, m) is None]
        best = min(rest, key=lambda m: ((m.route_count + 1) / m.weight, m.agent_id), default=None)
        assert answer.boundary[lead.business_line_id] == (best and (best.route_count, best.agent_id))


def test_what_one_line_gives_counts_in_the_other() -> None:
    """A member for all lines that has received in one has so much less to get in the next."""
    leads = [a_lead(1, business_line_id=1), a_lead(2, business_line_id=2)]
    assert smooth(leads, [a_member(1), a_member(2, business_line_id=2)]) == [1, 2]
