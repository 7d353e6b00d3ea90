"""The policies for lots: by priority up to caps (leads-assignment seed), and equal shares (agent-funnel seed)."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.assigner.facts import Lead
from services.assigner.policies.capped_lot import CappedLotParams, capped_lot
from services.assigner.policies.even_split import OVER_CEILING, EvenSplitParams, even_split
from tests.assigning import NOW, a_lead, a_member, chosen, received


def lot(types: str) -> list[Lead]:
    """A lead for each letter, the first the newest: N for a new customer, E for an existing one."""
    return [
        a_lead(n, customer_type="New customer" if kind == "N" else "Existing", created_at=NOW - timedelta(hours=n))
        for n, kind in enumerate(types, 1)
    ]


def picks_of(types: str, *members: dict[str, Any]) -> list[int | None]:
    rows = [a_member(n, **facts) for n, facts in enumerate(members, 1)]
    return chosen(capped_lot(lot(types), rows, CappedLotParams()))


SEEDS_CAPS = {"max_existing_per_lot": 1, "max_new_per_lot": 1, "max_daily_leads": 2}


@pytest.mark.parametrize(
    ("types", "members", "expected"),
    [
        ("NENE", [SEEDS_CAPS], [1, 1, None, None]),
        ("NNNE", [SEEDS_CAPS], [1, None, None, 1]),
        ("NENE", [SEEDS_CAPS, SEEDS_CAPS], [1, 1, 2, 2]),
        ("NENE", [SEEDS_CAPS | {"day_count": 1}, SEEDS_CAPS], [1, 2, 2, None]),
        ("NENE", [SEEDS_CAPS | {"day_count": 2}], [None] * 4),
        ("NENE", [SEEDS_CAPS | {"lot_existing": 1}], [1, None, None, None]),
        ("EENN", [{"max_existing_per_lot": 1}], [1, None, 1, 1]),
        ("EENN", [{"max_new_per_lot": 0}, {}], [1, 1, 2, 2]),
        ("EENN", [{"max_daily_leads": 3}], [1, 1, 1, None]),
        ("EENN", [{"max_load": 3, "open_load": 2}], [1, None, None, None]),
        ("EN", [{}], [1, 1]),
        ("EN", [{"priority": 2}, {"priority": 1, "max_daily_leads": 1}], [2, 1]),
        ("EN", [{"priority": 1, "is_enabled": False}, {"priority": 2}], [2, 2]),
    ],
)
def test_each_takes_the_newest_up_to_its_caps(
    types: str, members: list[dict[str, Any]], expected: list[int | None]
) -> None:
    assert picks_of(types, *members) == expected


def test_of_two_as_new_the_one_that_came_in_first_is_taken() -> None:
    leads = [a_lead(2), a_lead(1), a_lead(3, created_at=NOW + timedelta(seconds=1))]
    assert chosen(capped_lot(leads, [a_member(max_daily_leads=2)], CappedLotParams())) == [None, 1, 1]


def test_a_members_business_line_is_no_obstacle_to_who_comes_later() -> None:
    leads = [a_lead(n, business_line_id=n) for n in (1, 2)]
    members = [a_member(1, business_line_id=2), a_member(2)]
    assert chosen(capped_lot(leads, members, CappedLotParams())) == [2, 1]


def shares(leads: int, *rows: dict[str, Any], ceiling: int = 450) -> list[int]:
    members = [a_member(n, **facts) for n, facts in enumerate(rows, 1)]
    picks = Counter(chosen(even_split([a_lead(n) for n in range(leads)], members, EvenSplitParams(ceiling=ceiling))))
    return [picks[n] for n in range(1, len(rows) + 1)]


@pytest.mark.parametrize(
    ("leads", "members", "ceiling", "expected"),
    [
        (0, [{}], 450, [0]),
        (10, [{}, {}, {}], 450, [4, 4, 2]),
        (9, [{}, {}, {}], 450, [3, 3, 3]),
        (2, [{}, {}, {}], 450, [1, 1, 0]),
        (10, [{}, {}], 3, [3, 3]),
        (10, [{"max_load": 1}, {}, {}], 450, [1, 5, 4]),
        (10, [{"max_daily_leads": 3, "day_count": 1}, {"max_load": 3}, {}], 450, [2, 3, 5]),
        (10, [{"max_load": 1}, {}, {}], 4, [1, 4, 4]),
        (10, [{"is_active": False}, {}, {}], 450, [0, 5, 5]),
        (4, [{"lot_new": 3}, {}], 450, [1, 3]),
        (4, [{"lot_new": 3}, {}], 3, [0, 3]),
        (900, [{}], 450, [450]),
    ],
)
def test_shares_are_even_as_far_as_there_is_room(
    leads: int, members: list[dict[str, Any]], ceiling: int, expected: list[int]
) -> None:
    assert shares(leads, *members, ceiling=ceiling) == expected


@given(st.integers(0, 60), st.lists(st.none() | st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 12))
def test_nobody_has_more_than_one_who_has_room_left_but_for_the_last_block(
    leads: int, rooms: list[int | None], ceiling: int
) -> None:
    got = shares(leads, *({"max_load": room} for room in rooms), ceiling=ceiling)
    most = [ceiling if room is None else min(room, ceiling) for room in rooms]
    level = max(got)
    assert sum(got) == min(leads, sum(most))
    below = [n for n, share in enumerate(got) if share < min(most[n], level)]
    after_last = [n for n, share in enumerate(got) if share > 0][-1:]
    assert all(n >= after_last[0] for n in below)
    assert level == 0 or sum(min(room, level - 1) for room in most) < leads


def test_blocks_follow_the_order_of_agents_and_of_leads_age() -> None:
    leads = [a_lead(n, created_at=NOW - timedelta(hours=hours)) for n, hours in enumerate([1, 5, 3, 4, 2])]
    assert chosen(even_split(leads, [a_member(9), a_member(4)], EvenSplitParams())) == [9, 4, 4, 4, 9]


def test_the_seeds_ceiling_and_the_next_days_lot() -> None:
    """10 agents, 5,100 leads: 450 each; the 600 newest wait, and come first the next day, before all older ones."""
    leads = [a_lead(n, created_at=NOW + timedelta(minutes=n)) for n in range(5_100)]
    members = [a_member(n) for n in range(1, 11)]
    answer = even_split(leads, members, EvenSplitParams())

    assert Counter(chosen(answer)) == {None: 600} | dict.fromkeys(range(1, 11), 450)
    assert chosen(answer)[:4_500] == [n for n in range(1, 11) for _ in range(450)]
    assert {choice.reason for choice in answer.choices if choice.agent_id is None} == {OVER_CEILING}

    left = [replace(lead, reason=OVER_CEILING) for lead in leads[4_500:]]
    older = [a_lead(n, created_at=NOW - timedelta(days=1)) for n in range(6_000, 12_000)]
    picks = chosen(even_split([*older, *left], members, EvenSplitParams()))
    assert Counter(picks)[None] == 2_100
    assert picks[len(older) :] == [1] * 450 + [2] * 150
    assert received(members, leads, chosen(answer))[0].lot_count == 450


def test_a_line_that_few_may_get_is_split_first() -> None:
    leads = [a_lead(n, business_line_id=1) for n in range(4)] + [a_lead(n, business_line_id=2) for n in range(4, 8)]
    members = [a_member(1), a_member(2, business_line_id=1)]
    assert chosen(even_split(leads, members, EvenSplitParams())) == [2] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("member", "reason"), [({}, OVER_CEILING), ({"max_load": 1}, None), ({"max_daily_leads": 0}, None)]
)
def test_the_ceiling_is_the_reason_only_where_it_is(member: dict[str, Any], reason: str | None) -> None:
    answer = even_split([a_lead(n) for n in range(3)], [a_member(**member)], EvenSplitParams(ceiling=1))
    assert answer.choices[-1].reason == reason
