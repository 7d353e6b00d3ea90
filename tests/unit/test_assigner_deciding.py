"""A batch's decision: every lead once, reasons that are true, and facts that are enough to decide again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from services.assigner import policies
from services.assigner.deciding import Decided, Moment, decide, decide_by_hand, today
from services.assigner.eligibility import for_store, why_not
from services.assigner.facts import Lead, Member, Route
from services.assigner.policies import POLICIES
from tests.assigning import NOW, a_lead, a_member, a_route, some_leads, some_members

AT = Moment(NOW, NOW.date())
IN_LOT = replace(AT, is_lot=True)
#: Every policy in every mode that it works in, `fair` with both of its counts.
ROUTES = [
    a_route(policy=policy.name, mode=mode, params=params)
    for policy in POLICIES.values()
    for mode in sorted(policy.modes)
    for params in ([{}, {"count": "agent"}] if policy.name == "fair" else [{}])
]
routes = st.sampled_from(ROUTES)
leads_of_stores = some_leads()
members_of_stores = some_members(rows_for_stores=True, in_lot=True)


def at(route: Route) -> Moment:
    return IN_LOT if route.mode == "lot" else AT


def rows_on(route: Route, members: Sequence[Member]) -> list[Member]:
    """The members as they are read: caps of lots count in lots."""
    return list(members) if route.mode == "lot" else [member.without_lot_caps() for member in members]


@settings(max_examples=100)
@given(leads_of_stores, members_of_stores, routes, st.booleans())
def test_every_lead_is_in_exactly_one_of_both(
    leads: list[Lead], members: list[Member], route: Route, is_lot: bool
) -> None:
    leads = [structs.replace(lead, store_takes_part=lead.id % 4 > 0) for lead in leads]
    decided = decide(route, leads, members, replace(AT, is_lot=is_lot))

    assigned, waiting = [each.lead.id for each in decided.assigned], [each.lead.id for each in decided.waiting]
    assert sorted(assigned + waiting) == [lead.id for lead in leads]
    assert set(decided.choices) == {str(lead.id) for lead in leads}
    assert route.mode == "stream" or is_lot or not assigned
    assert all(each.lead.store_takes_part for each in decided.assigned)
    assert all(each.reason for each in decided.waiting)


@settings(max_examples=200)
@given(leads_of_stores, members_of_stores, routes)
def test_no_cap_is_passed_over_all_stores_and_counts_add_up(
    leads: list[Lead], members: list[Member], route: Route
) -> None:
    rows = rows_on(route, members)
    decided = decide(route, leads, rows, at(route))

    for each in decided.assigned:
        agent_id = each.member.agent_id
        (row,) = (row for row in for_store(rows, each.lead.store_code) if row.agent_id == agent_id)
        assert row.store_code == each.member.store_code
        assert each.count_before == (row.agent_count if route.counts_all_routes else row.assigned_count)
        if route.policy not in {"capped_lot", "even_split"}:  # these give in an order of their own
            assert why_not(each.lead, row) is None
        rows = [m.after([each.lead], by_this_row=m is row) if m.agent_id == agent_id else m for m in rows]
    assert list(decided.members) == rows
    for before, after in zip(rows_on(route, members), rows, strict=True):
        for cap, was, now in (
            (after.max_load, before.open_load, after.open_load),
            (after.max_daily_leads, before.day_count, after.day_count),
            (after.max_existing_per_lot, before.lot_existing, after.lot_existing),
            (after.max_new_per_lot, before.lot_new, after.lot_new),
        ):
            assert cap is None or now <= max(cap, was)


@settings(max_examples=100)
@given(leads_of_stores, members_of_stores, routes)
def test_who_waits_waits_for_a_reason_that_is_true(leads: list[Lead], members: list[Member], route: Route) -> None:
    decided = decide(route, leads, rows_on(route, members), at(route))

    for each in decided.waiting:
        rows = for_store(decided.members, each.lead.store_code)
        reasons = {why_not(each.lead, row) for row in rows or decided.members}
        if route.policy in {"weighted_random", "smooth_weighted"} and None in reasons:
            assert {row.weight for row in rows if why_not(each.lead, row) is None} == {0}
            assert each.reason in reasons | {"no eligible member has a weight"}
        else:
            assert None not in reasons
            assert each.reason in reasons or (not members and each.reason == "route has no members")


@settings(max_examples=200)
@given(leads_of_stores, members_of_stores, routes)
def test_facts_are_enough_to_decide_again(leads: list[Lead], members: list[Member], route: Route) -> None:
    """With what the route's version and history hold, and the facts as JSON gives them back, the answer is the same."""
    members = [structs.replace(member, lot_existing=0, lot_new=0) for member in rows_on(route, members)]
    decided = decide(route, leads, members, at(route))

    assert again(route, members, json.loads(json.dumps(decided.facts))) == {
        key: choice for key, choice in decided.choices.items() if isinstance(choice, int)
    }


FAR_BEHIND = 1_000


def again(route: Route, members: Sequence[Member], facts: dict[str, Any]) -> dict[str, int]:
    """Decide again as a check does. What the history of this route does not tell comes from the facts alone.

    Open loads: of who was chosen or full; all others had room, and were not chosen for another reason. Counts over all
    routes: of who was chosen; all others stand behind the boundary.
    """
    loads = {int(agent_id): load for agent_id, load in facts["loads"].items()}
    members = [structs.replace(member, open_load=loads.get(member.agent_id, -FAR_BEHIND)) for member in members]
    policy, params = policies.of(route)
    found: dict[str, int] = {}
    for answer in facts["answers"]:
        rows = for_store(members, answer["store"])
        if route.counts_all_routes:
            rows = [structs.replace(row, agent_count=_count(answer, row.agent_id), start_count=0) for row in rows]
        given = [_lead(answer["store"], *each) for each in answer["leads"]]
        choices = policy.choose(given, rows, params).choices
        for lead, choice in zip(given, choices, strict=True):
            if choice.agent_id is not None:
                found[str(lead.id)] = choice.agent_id
                (row,) = (row for row in rows if row.agent_id == choice.agent_id)
                members = [
                    m.after([lead], by_this_row=m.store_code == row.store_code) if m.agent_id == row.agent_id else m
                    for m in members
                ]
    return found


def _count(answer: dict[str, Any], agent_id: int) -> int:
    counts: dict[int, int] = {at[1]: at[0] for _, at in answer["boundary"] if at is not None}
    counts |= {int(key): count for key, count in answer["read"].items()}
    return counts.get(agent_id, FAR_BEHIND)


def _lead(store: str | None, key: int, line: int | None, *of_lot: Any) -> Lead:
    if not of_lot:
        return a_lead(key, store_code=store, business_line_id=line)
    lead_type, created_at, reason = of_lot
    return a_lead(
        key,
        store_code=store,
        business_line_id=line,
        customer_type="New" if lead_type == "N" else None,
        created_at=datetime.fromisoformat(created_at),
        reason=reason,
    )


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("Asia/Kolkata", datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 18, 30, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2026, 1, 1, 18, 29, tzinfo=UTC), datetime(2026, 1, 1, 18, 30, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2026, 1, 1, 18, 30, tzinfo=UTC), datetime(2026, 1, 2, 18, 30, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        ("America/Los_Angeles", datetime(2026, 1, 1, 0, tzinfo=UTC), datetime(2026, 1, 1, 8, tzinfo=UTC)),
    ],
)
def test_a_daily_cap_passes_at_the_next_midnight_of_the_zone(zone: str, now: datetime, expected: datetime) -> None:
    route = a_route(zone=ZoneInfo(zone))
    decided = decide(route, [a_lead()], [a_member(max_daily_leads=0)], Moment(now, today(route, now)))
    (waiting,) = decided.waiting
    assert waiting.reason == "daily cap reached"
    assert waiting.retry_at is not None
    assert waiting.retry_at.astimezone(UTC) == expected


@pytest.mark.parametrize(
    ("lead", "members", "mode", "expected"),
    [
        ({}, [], "stream", "route has no members"),
        ({"store_code": "S"}, [{"store_code": "T"}], "stream", "other store"),
        ({"store_takes_part": False}, [{}], "stream", "store takes no part"),
        ({"store_takes_part": False}, [{}], "lot", "store takes no part"),
        ({}, [{}], "lot", "waits for its lot"),
        ({"business_line_id": 1}, [{"business_line_id": 2}], "stream", "other business line"),
        ({}, [{"max_load": 0}], "stream", "agent at capacity"),
    ],
)
def test_why_a_lead_waits(lead: dict[str, Any], members: list[dict[str, Any]], mode: str, expected: str) -> None:
    rows = [a_member(n, **facts) for n, facts in enumerate(members, 1)]
    decided: Decided = decide(a_route(mode=mode), [a_lead(**lead)], rows, AT)
    (waiting,) = decided.waiting
    assert (waiting.reason, waiting.retry_at) == (expected, None)
    assert waiting.is_news
    assert not structs.replace(waiting, lead=structs.replace(waiting.lead, reason=expected)).is_news


def test_leads_of_different_stores_go_by_their_own_rows() -> None:
    members = [a_member(1), a_member(1, store_code="S", is_enabled=False), a_member(2, assigned_count=9)]
    leads = [a_lead(1, store_code="S"), a_lead(2, store_code="T"), a_lead(3)]

    assert decide(a_route(), leads, members, AT).choices == {"1": 2, "2": 1, "3": 1}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"policy": "guesswork"}, "the route's policy 'guesswork' is not known"),
        ({"policy": "even_split"}, "the route's policy 'even_split' works in lots only"),
        ({"params": {"count": "store"}}, "the route's parameter count: must be one of route, agent, not 'store'"),
        ({"params": {"cuont": "agent"}}, "the route's parameter cuont: no such parameter; there are: "),
    ],
)
def test_on_a_route_whose_settings_are_wrong_all_wait_and_say_so(settings: dict[str, Any], reason: str) -> None:
    decided = decide(a_route(**settings), [a_lead(1), a_lead(2)], [a_member()], AT)

    assert not decided.assigned
    assert [each.lead.id for each in decided.waiting] == [1, 2]
    assert all(each.reason.startswith(reason) for each in decided.waiting)


@pytest.mark.parametrize(
    ("lead", "expected"),
    [
        ({"stage": 3}, None),
        ({"stage": 4}, "its stage is past this route's"),
        ({"pickup_date": date(2025, 11, 17)}, None),
        ({"pickup_date": date(2025, 11, 16)}, "too old for this route"),
        ({"run_date": date(2025, 11, 16), "pickup_date": date(2025, 12, 16)}, None),
    ],
)
def test_a_routes_own_barriers(lead: dict[str, Any], expected: str | None) -> None:
    route = a_route(policy="even_split", mode="lot")
    decided = decide(route, [a_lead(**lead)], [a_member()], IN_LOT)

    assert [each.reason for each in decided.waiting] == ([expected] if expected else [])


def test_a_person_gives_whatever_the_agents_limits_allow() -> None:
    """Each row's own caps and those of the agent; what others have received does not matter."""
    rows = [
        a_member(7, max_load=4, open_load=1, assigned_count=90),
        a_member(7, max_load=4, open_load=1, assigned_count=90, store_code="S", max_daily_leads=1),
    ]
    leads = [a_lead(key, store_code="S" if key < 3 else "T") for key in range(1, 6)]

    decided = decide_by_hand(a_route(), leads, rows, AT)

    assert decided.choices == {"1": 7, "2": "daily cap reached", "3": 7, "4": 7, "5": "agent at capacity"}
    assert [each.count_before for each in decided.assigned] == [90, 91, 92]
    assert decided.facts["to"] == 7
    assert decided.facts["loads"] == {7: 1}


#: Who is in both lines receives in one of them, and is asked for in the other when the next batch comes.
FROM_TWO_LINES = [[a_lead(1, business_line_id=2), a_lead(2, business_line_id=1)], [a_lead(3, business_line_id=2)]]
OF_TWO_LINES = [
    a_member(2, assigned_count=2),
    a_member(3, business_line_id=1, assigned_count=4),
    a_member(4, business_line_id=2, assigned_count=0),
]


@settings(max_examples=300)
@given(st.lists(some_leads(), min_size=2, max_size=4), some_members() | some_members(rows_for_stores=True), routes)
@example(FROM_TWO_LINES, [a_member(1, assigned_count=2), *OF_TWO_LINES], a_route(policy="fair"))
@example(FROM_TWO_LINES, [a_member(1, assigned_count=2, max_daily_leads=1), *OF_TWO_LINES], a_route(policy="fair"))
@example(FROM_TWO_LINES, [a_member(1, assigned_count=2, max_daily_leads=1), *OF_TWO_LINES[1:]], a_route(policy="fair"))
def test_batch_after_batch_is_as_if_the_members_were_read_each_time(
    batches: list[list[Lead]], members: list[Member], route: Route
) -> None:
    """What is known of all members goes from batch to batch, also past a decision that was taken back."""
    known: Sequence[Member] = rows_on(route, members)
    for leads in batches:
        decide(route, leads[1:], known, at(route))
        read = decide(route, leads, list(known), at(route))
        decided = decide(route, leads, known, at(route))
        assert decided.facts == read.facts
        assert (decided.assigned, decided.waiting) == (read.assigned, read.waiting)
        assert list(decided.members) == list(read.members)
        known = decided.members


def test_members_lined_up_for_one_policy_are_not_for_another() -> None:
    members = [a_member(1, assigned_count=5, agent_count=0), a_member(2, assigned_count=1, agent_count=1)]
    by_route, by_agent = a_route(policy="fair"), a_route(policy="fair", params={"count": "agent"})

    before = decide(by_route, [a_lead(1)], members, AT).members
    decided = decide(by_agent, [a_lead(2)], before, AT)

    assert [each.member.agent_id for each in decided.assigned] == [1]
