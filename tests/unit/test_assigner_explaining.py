"""Why a lead went where it went, and what would have had to be otherwise."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from services.assigner.eligibility import kinds
from services.assigner.explaining import Candidate, Change, Explanation, again, apply, explain, set_scene
from services.assigner.facts import Lead, Member
from services.assigner.policies import POLICIES, Policy
from services.assigner.policies.accounts import Scene
from services.assigner.policies.even_split import turn
from services.assigner.policies.params import Params, read_params
from tests.assigning import NOW, a_lead, a_member, some_leads, some_members

every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
few = settings(max_examples=25)  # six policies run each


def params_of(policy: Policy) -> Params:
    return read_params(policy.params, {"ceiling": 3} if policy.name == "even_split" else {})


def explained(
    name: str, leads: list[Lead], rows: list[dict[str, Any]], lead_id: int = 1, **params: Any
) -> tuple[Explanation, dict[int, Candidate]]:
    policy = POLICIES[name]
    members = [a_member(n, **facts) for n, facts in enumerate(rows, 1)]
    found = explain(policy.algorithm, policy.params(**params), leads, members, lead_id)
    return found, {candidate.agent_id: candidate for candidate in found.candidates}


def one_smaller(change: Change, scene: Scene) -> list[Change]:
    """The change with one of its numbers a step nearer to what is, or one of its switches left as it is."""
    (member,) = (member for member in scene.members if member.agent_id == change.agent_id)
    smaller = []
    for name, value in change.facts.items():
        was = getattr(member, name)
        is_number = name not in {"is_active", "is_enabled", "business_line_id"}
        nearer = value - (1 if value > was else -1) if is_number else was
        smaller.append(replace(change, facts={**change.facts, name: nearer}))
    if change.place is not None:
        kind = kinds(scene.members)
        alike = [lead.id for lead in sorted(scene.leads, key=turn) if kind(lead) == kind(scene.lead)]
        is_at = alike.index(scene.lead.id) + 1
        nearer = change.place + (1 if change.place < is_at else -1)
        smaller.append(replace(change, place=nearer if nearer != is_at else None))
    return smaller


@every_policy
@few
@given(leads=some_leads(one_store=True), members=some_members(in_lot=True), data=st.data())
def test_every_change_comes_true_and_none_could_be_smaller(
    policy: Policy, leads: list[Lead], members: list[Member], data: st.DataObject
) -> None:
    for lead in leads[-1:] and [data.draw(st.sampled_from(leads))]:
        scene = set_scene(policy, params_of(policy), leads, members, lead.id)
        for candidate in explain(policy.algorithm, params_of(policy), leads, members, lead.id).candidates:
            if (change := candidate.change) is None:
                assert candidate.no_change
                continue
            assert again(policy, scene, change) == candidate.agent_id
            for smaller in one_smaller(change, scene):
                assert again(policy, scene, smaller) != candidate.agent_id


@every_policy
@few
@given(leads=some_leads(one_store=True), members=some_members(in_lot=True))
def test_it_tells_of_everybody_and_what_was_decided(policy: Policy, leads: list[Lead], members: list[Member]) -> None:
    params = params_of(policy)
    for choice in policy.choose(leads, members, params).choices:
        found = explain(policy.algorithm, params, leads, members, choice.lead_id)

        assert (found.lead_id, found.agent_id) == (choice.lead_id, choice.agent_id)
        others = sorted(member.agent_id for member in members if member.agent_id != choice.agent_id)
        assert [candidate.agent_id for candidate in found.candidates] == others
        assert all(candidate.code and candidate.words for candidate in found.candidates)
        assert all((each.change is None) != (each.no_change is None) for each in found.candidates)
        assert json.loads(json.dumps(asdict(found)))["candidates"] == [
            json.loads(json.dumps(asdict(candidate))) for candidate in found.candidates
        ]


@few
@given(leads=some_leads(one_store=True), members=some_members(), data=st.data())
def test_where_counts_decide_everybody_could_have_won_unless_none_can_count_less(
    leads: list[Lead], members: list[Member], data: st.DataObject
) -> None:
    policy = POLICIES["fair"]
    for lead in leads[-1:] and [data.draw(st.sampled_from(leads))]:
        scene = set_scene(policy, policy.params(), leads, members, lead.id)
        for candidate in explain(policy.algorithm, policy.params(), leads, members, lead.id).candidates:
            if candidate.no_change and candidate.no_change != "its row is for another store":
                assert scene.winner is not None
                assert scene.winner.route_count == 0
                assert scene.winner.agent_id < candidate.agent_id


@pytest.mark.parametrize("name", ["first_fit", "weighted_random", "smooth_weighted", "capped_lot"])
@few
@given(leads=some_leads(one_store=True), members=some_members(in_lot=True), data=st.data())
def test_under_other_policies_everybody_could_have_won(
    name: str, leads: list[Lead], members: list[Member], data: st.DataObject
) -> None:
    policy = POLICIES[name]
    for lead in leads[-1:] and [data.draw(st.sampled_from(leads))]:
        for candidate in explain(policy.algorithm, policy.params(), leads, members, lead.id).candidates:
            assert candidate.change is not None or candidate.no_change == "its row is for another store"


BARRED = [
    ({"is_active": False}, "inactive", {"is_active": True}),
    ({"is_enabled": False}, "disabled", {"is_enabled": True}),
    ({"max_load": 2, "open_load": 3}, "full", {"max_load": 4}),
    ({"max_daily_leads": 2, "day_count": 2}, "daily_cap", {"max_daily_leads": 3}),
    ({"max_existing_per_lot": 1, "lot_existing": 1}, "existing_cap", {"max_existing_per_lot": 2}),
    ({"business_line_id": 2}, "other_business_line", {"business_line_id": 1}),
    ({"is_active": False, "max_load": 0}, "inactive", {"is_active": True, "max_load": 1}),
]


@every_policy
@pytest.mark.parametrize(("facts", "code", "change"), BARRED)
def test_who_might_not_get_it_is_told_what_to_change(
    policy: Policy, facts: dict[str, Any], code: str, change: dict[str, Any]
) -> None:
    found, candidates = explained(policy.name, [a_lead(business_line_id=1)], [facts])
    assert found.agent_id is None
    assert found.why == candidates[1].words
    assert candidates[1].code == code
    assert candidates[1].change is not None
    assert (candidates[1].change.facts, candidates[1].change.place) == (change, None)


def test_nothing_helps_whose_row_is_for_another_store() -> None:
    _, candidates = explained("fair", [a_lead(store_code="S")], [{}, {"store_code": "T"}])
    assert (candidates[2].code, candidates[2].no_change) == ("other_store", "its row is for another store")


def test_fair() -> None:
    counts = [{"assigned_count": 14}, {"assigned_count": 12}, {"assigned_count": 12}, {"start_count": 20}]
    found, candidates = explained("fair", [a_lead()], counts)
    assert (found.agent_id, found.why) == (2, "lowest count 12 of 4 eligible, smallest id of 2")
    assert {n: (each.code, each.change and each.change.facts) for n, each in candidates.items()} == {
        1: ("higher_count", {"assigned_count": 12}),
        3: ("later_id", {"assigned_count": 11}),
        4: ("higher_count", {"start_count": 11}),
    }
    assert candidates[1].words == "count 14 against 12"
    assert candidates[1].change is not None
    assert candidates[1].change.in_words() == "assigned_count 12 instead of 14"


def test_what_came_before_it_in_the_batch_is_as_it_was() -> None:
    """The second lead goes to the second agent, because the first has one by then."""
    found, candidates = explained("fair", [a_lead(1), a_lead(2)], [{}, {}, {"assigned_count": 5}], 2)
    assert found.agent_id == 2
    assert candidates[1].words == "count 1 against 0"
    assert candidates[1].change is not None
    assert candidates[1].change.facts == {"assigned_count": 0}
    assert candidates[3].no_change == "nobody counts less than 0, and ties go to the smaller id"


def test_first_fit() -> None:
    found, candidates = explained("first_fit", [a_lead()], [{"priority": 7}, {"priority": 5}, {"priority": 5}])
    assert (found.agent_id, found.why) == (2, "first in the order of 3 eligible, with priority 5")
    assert [(each.code, each.change and each.change.facts) for each in candidates.values()] == [
        ("later_in_order", {"priority": 5}),
        ("later_id", {"priority": 4}),
    ]


def test_weighted_random() -> None:
    found, candidates = explained("weighted_random", [a_lead()], [{"weight": 10}, {"weight": 90}, {"weight": 0}])
    assert found.agent_id == 2
    assert found.why.startswith("weight 90 of 100, hash 0.")
    assert [each.code for each in candidates.values()] == ["lost_draw", "no_weight"]
    assert all(each.change is not None and each.change.facts["weight"] > 0 for each in candidates.values())


def test_smooth_weighted() -> None:
    rows = [{"weight": 1, "assigned_count": 1}, {"weight": 1, "assigned_count": 1}, {"weight": 2, "assigned_count": 1}]
    found, candidates = explained("smooth_weighted", [a_lead()], [*rows, {"weight": 0}])
    assert found.agent_id == 3
    assert found.why.startswith("has 1, with this lead is entitled to 2.00 (weight 2 of 4)")
    assert [(each.code, each.change and each.change.facts) for each in candidates.values()] == [
        ("not_released", {"weight": 2}),
        ("not_released", {"weight": 2}),
        ("no_weight", {"weight": 2}),
    ]


def lot(count: int) -> list[Lead]:
    """The first is the newest."""
    return [a_lead(n, created_at=NOW - timedelta(hours=n)) for n in range(1, count + 1)]


def test_capped_lot() -> None:
    rows = [{"priority": 1, "max_existing_per_lot": 2}, {"priority": 2, "max_daily_leads": 2}, {"max_daily_leads": 1}]
    found, candidates = explained("capped_lot", lot(5), rows, 4)
    assert (found.agent_id, found.why) == (2, "number 2 of 2 that it took at its turn, with priority 2, newest first")
    assert [(each.code, each.change and each.change.facts) for each in candidates.values()] == [
        ("existing_cap", {"max_existing_per_lot": 4}),
        ("later_turn", {"priority": 1, "max_daily_leads": 2}),
    ]


def test_even_split() -> None:
    leads = [structs.replace(lead, created_at=NOW) for lead in lot(7)]
    found, candidates = explained("even_split", leads, [{}, {}, {}, {"max_load": 0}], 5, ceiling=2)
    assert (found.agent_id, found.why) == (3, "place 5 of 7 in the order, in its block of 2 from place 5")
    assert [(each.code, each.change and (each.change.facts, each.change.place)) for each in candidates.values()] == [
        ("other_block", ({}, 2)),
        ("other_block", ({}, 4)),
        ("full", ({"max_load": 1}, 7)),
    ]
    assert candidates[1].words == "its block is of places 1 to 2, the lead's is 5"


def test_who_has_its_ceiling_or_comes_after_the_last_lead_could_not_have_it() -> None:
    _, candidates = explained("even_split", lot(2), [{}, {"lot_new": 2}, {}, {}], ceiling=2)
    assert (candidates[2].code, candidates[2].no_change) == ("at_ceiling", "has the lot's ceiling of 2 already")
    assert (candidates[4].code, candidates[4].no_change) == ("no_block", "the leads were used up before its turn")


def test_only_those_asked_for_are_explained() -> None:
    members = [a_member(n) for n in range(1, 5)]
    policy = POLICIES["fair"]
    found = explain(policy.algorithm, policy.params(), [a_lead()], members, 1, agent_ids={3})
    assert [candidate.agent_id for candidate in found.candidates] == [3]


def test_apply_changes_one_member_and_leaves_the_rest() -> None:
    members = [a_member(1), a_member(2, assigned_count=4)]
    assert apply(Change(2, {"assigned_count": 1}, None, {}), members) == [a_member(1), a_member(2, assigned_count=1)]


def test_business_lines_are_told_by_their_names_where_these_are_known() -> None:
    change = Change(2, {"business_line_id": 4, "max_load": 3}, None, {"business_line_id": 2, "max_load": 2})
    assert change.in_words() == "business_line_id 4 instead of 2, max_load 3 instead of 2"
    assert change.in_words({2: "Cars"}) == "business line 4 instead of Cars, max_load 3 instead of 2"
