"""What holds for every policy, whatever its rule."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.assigner.eligibility import why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies import ALGORITHMS, CURRENT, POLICIES, Policy
from services.assigner.policies.params import Params, read_params
from tests.assigning import a_lead, a_member, chosen, received, some_leads, some_members

every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
few = settings(max_examples=40)  # six policies run each
leads_of_one_store, members_of_a_lot = some_leads(one_store=True), some_members(in_lot=True)


def params_of(policy: Policy, ceiling: int = 3) -> Params:
    """Small enough a ceiling to be reached."""
    return read_params(policy.params, {"ceiling": ceiling} if policy.name == "even_split" else {})


@every_policy
@few
@given(leads=leads_of_one_store, members=members_of_a_lot)
def test_no_cap_is_passed_and_nobody_gets_what_they_may_not(
    policy: Policy, leads: list[Lead], members: list[Member]
) -> None:
    """Also lots' caps, and each type against its own."""
    picks = chosen(policy.choose(leads, members, params_of(policy)))

    now = {member.agent_id: member for member in members}
    for lead, agent_id in zip(leads, picks, strict=True):
        if agent_id is not None:
            assert why_not(lead, now[agent_id]) is None
            now[agent_id] = now[agent_id].after([lead])


@every_policy
@few
@given(leads=leads_of_one_store, members=members_of_a_lot)
def test_every_lead_is_answered_in_order_and_waits_only_if_nobody_may_get_it(
    policy: Policy, leads: list[Lead], members: list[Member]
) -> None:
    """Who may get it after the batch and has not: is out for a reason of the policy's own, which the choice gives."""
    answer = policy.choose(leads, members, params_of(policy))

    assert [choice.lead_id for choice in answer.choices] == [lead.id for lead in leads]
    after = received(members, leads, chosen(answer))
    for lead, choice in zip(leads, answer.choices, strict=True):
        free = [member for member in after if why_not(lead, member) is None]
        if choice.agent_id is not None:
            assert choice.reason is None
        elif policy.name == "even_split":
            assert all(member.lot_count >= 3 for member in free)
            assert (choice.reason is not None) == bool(free)
        elif "weight" in policy.name:
            assert all(member.weight == 0 for member in free)
            assert choice.reason is None or free
        else:
            assert (free, choice.reason) == ([], None)


@every_policy
@few
@given(leads=leads_of_one_store, members=members_of_a_lot, rng=st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(
    policy: Policy, leads: list[Lead], members: list[Member], rng: random.Random
) -> None:
    params = params_of(policy)
    assert policy.choose(leads, rng.sample(members, len(members)), params) == policy.choose(leads, members, params)


@every_policy
@few
@given(leads=leads_of_one_store, members=members_of_a_lot)
def test_what_it_says_it_read_are_the_counts_of_the_chosen_before(
    policy: Policy, leads: list[Lead], members: list[Member]
) -> None:
    answer = policy.choose(leads, members, params_of(policy))
    counts = {member.agent_id: member.assigned_count + member.start_count for member in members}
    assert answer.read == {agent_id: counts[agent_id] for agent_id in chosen(answer) if agent_id is not None}


@pytest.mark.parametrize("name", ["capped_lot", "even_split"])
@few
@given(leads=leads_of_one_store, members=members_of_a_lot, rng=st.randoms(use_true_random=False))
def test_a_lot_does_not_depend_on_the_order_of_its_leads(
    name: str, leads: list[Lead], members: list[Member], rng: random.Random
) -> None:
    policy = POLICIES[name]
    params = params_of(policy)
    shuffled = rng.sample(leads, len(leads))
    by_id = {choice.lead_id: choice for choice in policy.choose(shuffled, members, params).choices}
    assert [by_id[lead.id] for lead in leads] == policy.choose(leads, members, params).choices


@pytest.mark.parametrize("name", [policy.name for policy in POLICIES.values() if "stream" in policy.modes])
@few
@given(leads=leads_of_one_store, members=some_members(), sizes=st.lists(st.integers(1, 5), max_size=12))
def test_a_stream_is_the_same_in_any_batches(
    name: str, leads: list[Lead], members: list[Member], sizes: list[int]
) -> None:
    policy = POLICIES[name]
    params = params_of(policy)
    picks: list[int | None] = []
    now, rest = members, leads
    for size in [*sizes, len(leads)]:
        batch, rest = rest[:size], rest[size:]
        answer = policy.choose(batch, now, params)
        picks += chosen(answer)
        now = received(now, batch, chosen(answer))
    assert picks == chosen(policy.choose(leads, members, params))


@every_policy
@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        ({"max_load": 2}, 2),
        ({"max_load": 3, "open_load": 1}, 2),
        ({"max_daily_leads": 2}, 2),
        ({"max_daily_leads": 2, "day_count": 2}, 0),
        ({"max_existing_per_lot": 1}, 4),
        ({"max_new_per_lot": 2}, 5),
        ({"max_existing_per_lot": 1, "max_new_per_lot": 1}, 2),
        ({"max_existing_per_lot": 1, "max_new_per_lot": 1, "lot_new": 1}, 1),
        ({"max_existing_per_lot": 0}, 3),
        ({}, 6),
        ({"is_active": False}, 0),
        ({"is_enabled": False}, 0),
        ({"business_line_id": 2}, 0),
    ],
)
def test_a_single_member_gets_what_it_may(policy: Policy, caps: dict[str, int], expected: int) -> None:
    leads = [a_lead(n, business_line_id=1, customer_type="New" if n % 2 else None) for n in range(6)]
    picks = chosen(policy.choose(leads, [a_member(7, **caps)], params_of(policy, ceiling=450)))
    assert Counter(picks)[7] == expected


@every_policy
def test_nothing_comes_of_nothing(policy: Policy) -> None:
    assert chosen(policy.choose([], [a_member()], params_of(policy))) == []
    assert chosen(policy.choose([a_lead()], [], params_of(policy))) == [None]


@pytest.mark.parametrize("name", ["weighted_random", "smooth_weighted"])
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([{"weight": 0}], "no eligible member has a weight"),
        ([{"weight": 0}, {"weight": 1, "business_line_id": 2}], "no eligible member has a weight"),
        ([{"weight": 0}, {"weight": 1, "max_load": 0}], None),
        ([{"weight": 0, "is_active": False}], None),
        ([], None),
    ],
)
def test_where_weight_0_alone_keeps_a_lead_waiting_the_policy_says_so(
    name: str, members: list[dict[str, int]], expected: str | None
) -> None:
    policy = POLICIES[name]
    rows = [a_member(n, **facts) for n, facts in enumerate(members, 1)]
    (choice,) = policy.choose([a_lead(business_line_id=1)], rows, policy.params()).choices
    assert (choice.agent_id, choice.reason) == (None, expected)


@pytest.mark.parametrize("name", ["weighted_random", "smooth_weighted"])
@few
@given(leads=leads_of_one_store, members=some_members())
def test_weight_0_never_gets_any(name: str, leads: list[Lead], members: list[Member]) -> None:
    members = [replace(member, weight=member.agent_id % 2) for member in members]
    assert all(pick is None or pick % 2 for pick in chosen(POLICIES[name].choose(leads, members, Params())))


def test_routes_and_decisions_find_their_policies() -> None:
    assert {name: f"{name}/1" for name in POLICIES} == CURRENT
    assert {name: ALGORITHMS[algorithm] for name, algorithm in CURRENT.items()} == dict(POLICIES)
    assert {policy.name for policy in POLICIES.values() if policy.modes == {"lot"}} == {"capped_lot", "even_split"}
