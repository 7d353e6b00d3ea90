"""A batch's decision: every lead once, reasons that are true, and facts that are enough to decide again."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.assigner.deciding import Decided, decide
from services.assigner.eligibility import for_store, why_not
from services.assigner.facts import Lead, Member, Route
from services.assigner.policies.fair import FairParams, place
from tests.assigning import NOW, a_lead, a_member, a_route, some_leads, some_members

PARAMS = st.sampled_from([{}, {"count": "agent"}])


@settings(max_examples=50)
@given(some_leads(), some_members(rows_for_stores=True), PARAMS, st.sampled_from(["stream", "lot"]))
def test_every_lead_is_in_exactly_one_of_both(
    leads: list[Lead], members: list[Member], params: dict[str, Any], mode: str
) -> None:
    leads = [replace(lead, store_takes_part=lead.id % 4 > 0) for lead in leads]
    decided = decide(a_route(params=params, mode=mode), leads, members, NOW)

    assigned, waiting = [each.lead.id for each in decided.assigned], [each.lead.id for each in decided.waiting]
    assert sorted(assigned + waiting) == [lead.id for lead in leads]
    assert set(decided.choices) == {str(lead.id) for lead in leads}
    assert mode == "stream" or not assigned
    assert all(each.lead.store_takes_part for each in decided.assigned)
    assert all(each.reason for each in decided.waiting)


@settings(max_examples=50)
@given(some_leads(), some_members(rows_for_stores=True), PARAMS)
def test_no_cap_is_passed_over_all_stores_and_counts_add_up(
    leads: list[Lead], members: list[Member], params: dict[str, Any]
) -> None:
    decided = decide(a_route(params=params), leads, members, NOW)

    counts = {member.agent_id: place(member, FairParams(**params))[0] for member in members}
    received: dict[int, list[Lead]] = defaultdict(list)
    for each in decided.assigned:
        agent_id = each.member.agent_id
        (row,) = (row for row in for_store(members, each.lead.store_code) if row.agent_id == agent_id)
        assert why_not(each.lead, row.after(received[agent_id])) is None
        assert each.count_before == counts[agent_id] + len(received[agent_id])
        received[agent_id].append(each.lead)
    assert list(decided.members) == [member.after(received[member.agent_id]) for member in members]


@settings(max_examples=50)
@given(some_leads(), some_members(rows_for_stores=True), PARAMS)
def test_who_waits_waits_for_a_reason_that_is_true(
    leads: list[Lead], members: list[Member], params: dict[str, Any]
) -> None:
    decided = decide(a_route(params=params), leads, members, NOW)

    for each in decided.waiting:
        rows = for_store(decided.members, each.lead.store_code)
        reasons = [why_not(each.lead, row) for row in rows or decided.members]
        assert None not in reasons
        assert each.reason in reasons or (not members and each.reason == "route has no members")


@settings(max_examples=50)
@given(some_leads(), some_members(rows_for_stores=True), PARAMS)
def test_facts_are_enough_to_decide_again(leads: list[Lead], members: list[Member], params: dict[str, Any]) -> None:
    """With what a route's version holds and the facts, as JSON gives them back, the answer is the same."""
    route = a_route(params=params)
    decided = decide(route, leads, members, NOW)

    assert again(route, members, json.loads(json.dumps(decided.facts))) == {
        key: choice for key, choice in decided.choices.items() if isinstance(choice, int)
    }


FAR_BEHIND = 1_000


def again(route: Route, members: list[Member], facts: dict[str, Any]) -> dict[str, int]:
    """What `decisions verify` will do: counters from the facts; who is in none of them stands behind all boundaries."""
    found: dict[str, int] = {}
    for answer in facts["answers"]:
        counts = {agent_id: count for _, at in answer["boundary"] if at is not None for count, agent_id in [at]}
        counts |= {int(agent_id): count for agent_id, count in answer["read"].items()}
        limited = {int(agent_id): counters for agent_id, counters in answer["limited"].items()}
        known = []
        for member in members:
            load, day = limited.get(member.agent_id, (0, 0))
            count = counts.get(member.agent_id, FAR_BEHIND)
            facts_of = {"open_load": load, "day_count": day}
            facts_of |= {"assigned_count": count, "agent_count": count, "start_count": 0}
            known.append(replace(member, **facts_of))
        leads = [a_lead(key, store_code=store, business_line_id=line) for key, store, line in answer["leads"]]
        decided = decide(route, leads, known, datetime.fromisoformat(facts["now"]))
        found |= {str(each.lead.id): each.member.agent_id for each in decided.assigned}
    return found


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
    decided = decide(a_route(zone=ZoneInfo(zone)), [a_lead()], [a_member(max_daily_leads=0)], now)
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
    decided: Decided = decide(a_route(mode=mode), [a_lead(**lead)], rows, NOW)
    (waiting,) = decided.waiting
    assert (waiting.reason, waiting.retry_at) == (expected, None)
    assert waiting.is_news
    assert not replace(waiting, lead=replace(waiting.lead, reason=expected)).is_news


def test_leads_of_different_stores_go_by_their_own_rows() -> None:
    members = [a_member(1), a_member(1, store_code="S", is_enabled=False), a_member(2, assigned_count=9)]
    leads = [a_lead(1, store_code="S"), a_lead(2, store_code="T"), a_lead(3)]

    assert decide(a_route(), leads, members, NOW).choices == {"1": 2, "2": 1, "3": 1}


def test_an_unknown_policy_fails_loudly() -> None:
    with pytest.raises(KeyError, match="guesswork"):
        decide(a_route(policy="guesswork"), [a_lead()], [], NOW)
