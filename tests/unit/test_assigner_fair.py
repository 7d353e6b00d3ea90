"""The fair policy: lowest count first, ties by agent id, and a boundary that proves it."""

from __future__ import annotations

import random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.assigner.eligibility import why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies.fair import FairParams, fair, place
from tests.assigning import a_lead, a_member, chosen, received, some_leads, some_members

PARAMS = st.sampled_from([FairParams(), FairParams(count="route"), FairParams(count="agent")])


def played(leads: list[Lead], members: list[Member], params: FairParams) -> list[int | None]:
    """The rule, word by word: for each lead, all members are asked."""
    now = {member.agent_id: member for member in members}
    picks: list[int | None] = []
    for lead in leads:
        eligible = [member for member in now.values() if why_not(lead, member) is None]
        pick = min(eligible, key=lambda member: place(member, params), default=None)
        picks.append(pick.agent_id if pick else None)
        if pick is not None:
            now[pick.agent_id] = pick.after([lead])
    return picks


@pytest.mark.parametrize(
    ("counts", "leads", "expected"),
    [
        ({}, 2, [None, None]),
        ({1: 0}, 2, [1, 1]),
        ({1: 0, 2: 0, 3: 0}, 4, [1, 2, 3, 1]),
        ({1: 2, 2: 0}, 3, [2, 2, 1]),
        ({3: 0, 1: 0}, 2, [1, 3]),
        ({1: 5, 2: 5, 3: 4}, 2, [3, 1]),
    ],
)
def test_lowest_count_first_then_the_smaller_id(counts: dict[int, int], leads: int, expected: list[int | None]) -> None:
    members = [a_member(agent_id, assigned_count=count) for agent_id, count in counts.items()]
    assert chosen(fair([a_lead(n) for n in range(leads)], members, FairParams())) == expected


def test_counts_are_of_the_route_or_of_the_agent() -> None:
    members = [a_member(1, assigned_count=0, agent_count=9), a_member(2, assigned_count=9, agent_count=0)]
    assert chosen(fair([a_lead()], members, FairParams())) == [1]
    assert chosen(fair([a_lead()], members, FairParams(count="agent"))) == [2]


@pytest.mark.parametrize("count", ["route", "agent"])
def test_what_a_newcomer_starts_with_counts_as_received(count: Literal["route", "agent"]) -> None:
    members = [a_member(1, assigned_count=5, agent_count=5), a_member(2, start_count=5), a_member(3, start_count=4)]
    answer = fair([a_lead(n) for n in range(4)], members, FairParams(count=count))
    assert chosen(answer) == [3, 1, 2, 3]
    assert answer.read == {1: 5, 2: 5, 3: 4}


@given(some_leads(one_store=True), some_members(), PARAMS)
def test_it_is_the_rule_word_by_word(leads: list[Lead], members: list[Member], params: FairParams) -> None:
    answer = fair(leads, members, params)

    assert chosen(answer) == played(leads, members, params)
    assert [choice.lead_id for choice in answer.choices] == [lead.id for lead in leads]
    assert [choice.reason for choice in answer.choices] == [None] * len(leads)


@given(some_leads(one_store=True), some_members(), PARAMS, st.randoms())
def test_the_order_of_members_does_not_matter(
    leads: list[Lead], members: list[Member], params: FairParams, rng: random.Random
) -> None:
    assert fair(leads, rng.sample(members, len(members)), params) == fair(leads, members, params)


@given(some_leads(one_store=True), some_members(), PARAMS)
def test_nobody_gets_what_they_may_not_and_no_cap_is_passed(
    leads: list[Lead], members: list[Member], params: FairParams
) -> None:
    now = {member.agent_id: member for member in members}
    for lead, agent_id in zip(leads, chosen(fair(leads, members, params)), strict=True):
        if agent_id is not None:
            assert why_not(lead, now[agent_id]) is None
            now[agent_id] = now[agent_id].after([lead])
        else:
            assert all(why_not(lead, member) is not None for member in now.values())


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9), st.lists(st.integers(1, 30), max_size=8))
def test_from_any_start_all_end_at_most_one_apart_or_as_far_as_they_began(
    counts: list[int], batches: list[int]
) -> None:
    members = [a_member(n, assigned_count=count) for n, count in enumerate(counts, 1)]
    key = 0
    for batch in batches:
        leads = [a_lead(key := key + 1) for _ in range(batch)]
        picks = chosen(fair(leads, members, FairParams()))
        members = received(members, leads, picks)
        after = [member.assigned_count for member in members]
        receivers = [m.assigned_count for m in members if m.agent_id in picks]
        assert max(receivers) - min(after) <= 1
    if sum(batches) >= sum(max(counts) - count for count in counts):
        after = [member.assigned_count for member in members]
        assert max(after) - min(after) <= 1


@given(some_leads(one_store=True), some_members(), PARAMS)
def test_the_boundary_proves_that_all_others_lost(leads: list[Lead], members: list[Member], params: FairParams) -> None:
    answer = fair(leads, members, params)
    before = {member.agent_id: member for member in members}
    counts = dict(answer.read)

    assert {agent_id: place(before[agent_id], params)[0] for agent_id in counts} == dict(answer.read)
    assert set(answer.boundary) == {lead.business_line_id for lead in leads}
    for lead, agent_id in zip(leads, chosen(answer), strict=True):
        boundary = answer.boundary[lead.business_line_id]
        for member in members:
            if member.agent_id not in answer.read and why_not(lead, member) is None:
                assert boundary is not None
                assert place(member, params) >= boundary
        if agent_id is None:
            assert boundary is None
            continue
        assert boundary is None or (counts[agent_id], agent_id) < boundary
        counts[agent_id] += 1
