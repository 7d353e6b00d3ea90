"""Who may get a lead, and why not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.assigner.eligibility import BY_HOPE, Kind, WhyNot, for_store, kinds, reason, room, to_qualify, why_not
from services.assigner.facts import Lead, Member
from tests.assigning import a_lead, a_member, some_leads, some_members, stores


@pytest.mark.parametrize(
    ("lead", "member", "expected"),
    [
        ({}, {}, None),
        ({}, {"is_active": False}, WhyNot.INACTIVE),
        ({}, {"is_enabled": False}, WhyNot.DISABLED),
        ({}, {"max_load": 0}, WhyNot.FULL),
        ({}, {"max_load": 2, "open_load": 1}, None),
        ({}, {"max_load": 2, "open_load": 2}, WhyNot.FULL),
        ({}, {"max_load": 2, "open_load": 3}, WhyNot.FULL),
        ({}, {"max_daily_leads": 1, "day_count": 0}, None),
        ({}, {"max_daily_leads": 1, "day_count": 1}, WhyNot.DAILY_CAP),
        ({}, {"max_daily_leads": 0}, WhyNot.DAILY_CAP),
        ({"business_line_id": 1}, {"business_line_id": 1}, None),
        ({"business_line_id": 1}, {"business_line_id": 2}, WhyNot.OTHER_BUSINESS_LINE),
        ({"business_line_id": 1}, {}, None),
        ({}, {"business_line_id": 2}, None),
        ({"store_code": "S"}, {"store_code": "S"}, None),
        ({"store_code": "S"}, {"store_code": "T"}, WhyNot.OTHER_STORE),
        ({"store_code": "S"}, {}, None),
        ({}, {"store_code": "S"}, WhyNot.OTHER_STORE),
        ({"store_code": "S"}, {"store_code": "T", "is_active": False}, WhyNot.OTHER_STORE),
        ({}, {"max_load": 0, "max_daily_leads": 0}, WhyNot.FULL),
        ({}, {"max_existing_per_lot": 1}, None),
        ({}, {"max_existing_per_lot": 1, "lot_existing": 1}, WhyNot.EXISTING_CAP),
        ({}, {"max_new_per_lot": 0}, None),
        ({"customer_type": "New"}, {"max_new_per_lot": 2, "lot_new": 2}, WhyNot.NEW_CAP),
        ({"customer_type": "New"}, {"max_existing_per_lot": 0}, None),
        ({}, {"max_existing_per_lot": 0, "max_daily_leads": 0}, WhyNot.DAILY_CAP),
    ],
)
def test_why_not(lead: dict[str, Any], member: dict[str, Any], expected: WhyNot | None) -> None:
    assert why_not(a_lead(**lead), a_member(**member)) is expected


@given(some_leads(one_store=True), some_members(in_lot=True), st.integers(0, 9))
def test_there_is_room_for_as_many_as_may_be_received_one_by_one(
    leads: list[Lead], members: list[Member], most: int
) -> None:
    for lead in leads[:1]:
        for member in members:
            taken = 0
            while taken < most and why_not(lead, member.after([lead] * taken)) is None:
                taken += 1
            assert room(lead, member, most) == taken


@given(some_leads(one_store=True), some_members(in_lot=True))
def test_with_the_changes_that_qualify_a_member_it_may_get_the_lead(leads: list[Lead], members: list[Member]) -> None:
    for lead in leads[:1]:
        for member in members:
            facts = to_qualify(lead, member)
            assert (facts == {}) == (why_not(lead, member) is None)
            assert facts is not None
            assert why_not(lead, replace(member, **facts)) is None


@given(some_leads(one_store=True), some_members(in_lot=True))
def test_leads_of_one_kind_are_for_the_same_members(leads: list[Lead], members: list[Member]) -> None:
    kind = kinds(members)
    answers: dict[Kind, list[WhyNot | None]] = {}
    for lead in leads:
        whys = [why_not(lead, member) for member in members]
        assert answers.setdefault(kind(lead), whys) == whys


def test_every_reason_has_its_hope() -> None:
    assert set(BY_HOPE) == set(WhyNot)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([], "route has no members"),
        ([{"store_code": "T"}], "other store"),
        ([{"store_code": "T"}, {"is_active": False}], "agent inactive"),
        ([{"max_load": 0}, {"max_daily_leads": 0}, {"is_enabled": False}], "agent at capacity"),
        ([{"max_daily_leads": 0}, {"is_active": False}], "daily cap reached"),
    ],
)
def test_of_several_reasons_the_one_that_gives_most_hope(members: list[dict[str, Any]], expected: str) -> None:
    rows = [a_member(n, **facts) for n, facts in enumerate(members)]
    assert reason(a_lead(store_code="S"), rows) == expected


def test_the_row_for_the_store_replaces_the_row_for_all() -> None:
    everywhere, here, elsewhere = a_member(1), a_member(1, store_code="S", weight=3), a_member(2, store_code="T")
    members = [everywhere, here, elsewhere]

    assert for_store(members, "S") == [here]
    assert for_store(members, "T") == [everywhere, elsewhere]
    assert for_store(members, "U") == [everywhere]
    assert for_store(members, None) == [everywhere]


@given(some_members(rows_for_stores=True), stores, st.randoms())
def test_each_agent_has_one_row_for_a_store(members: list[Member], store: str | None, rng: Any) -> None:
    rows = for_store(members, store)
    ids = [row.agent_id for row in rows]

    assert len(ids) == len(set(ids))
    assert set(ids) == {member.agent_id for member in members if member.store_code in {None, store}}
    shuffled = for_store(rng.sample(members, len(members)), store)
    assert sorted(shuffled, key=lambda row: row.agent_id) == sorted(rows, key=lambda row: row.agent_id)
