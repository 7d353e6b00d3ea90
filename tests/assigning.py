"""Leads, members and routes for tests of what is pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from services.assigner.facts import Lead, Member, Route, Status
from services.assigner.policies.choices import Answer

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def a_lead(key: int = 1, **facts: Any) -> Lead:
    known: dict[str, Any] = {
        "id": key,
        "lead_id": f"L{key}",
        "assignment_id": key,
        "status": Status.PENDING,
        "route_id": None,
        "agent_id": None,
        "agent_code": None,
        "reason": None,
        "retry_at": None,
        "sheet_key": None,
        "revision": 1,
        "source_id": 1,
        "source": "META",
        "store_code": None,
        "store_name": None,
        "store_takes_part": True,
        "business_line_id": None,
        "customer_type": None,
        "customer_name": None,
        "mobile_number": None,
        "address": None,
        "final_source": None,
        "created_at": NOW,
        "pickup_date": None,
        "pickup_created_date": None,
        "run_date": None,
        "is_order_placed": False,
        "is_duplicate": False,
    }
    return Lead(**known | facts)


def a_member(agent_id: int = 1, **facts: Any) -> Member:
    return Member(agent_id=agent_id, agent_code=f"{agent_id:04}", agent_name=f"Agent {agent_id}", **facts)


def a_route(**facts: Any) -> Route:
    known: dict[str, Any] = {
        "id": 1,
        "name": "all",
        "source_id": None,
        "store_code": None,
        "business_line_id": None,
        "priority": 100,
        "policy": "fair",
        "mode": "stream",
        "zone": ZoneInfo("Asia/Kolkata"),
    }
    return Route(**known | facts)


def chosen(answer: Answer) -> list[int | None]:
    return [choice.agent_id for choice in answer.choices]


def received(members: Sequence[Member], leads: Sequence[Lead], picks: Sequence[int | None]) -> list[Member]:
    """The members after each lead has gone to whom it was given."""
    given = list(zip(leads, picks, strict=True))
    return [member.after([lead for lead, pick in given if pick == member.agent_id]) for member in members]


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), values)


lines = optional(st.integers(1, 2))
stores = optional(st.sampled_from("ST"))


@st.composite
def some_leads(draw: st.DrawFn, *, one_store: bool = False) -> list[Lead]:
    store = draw(stores)
    count = draw(st.integers(0, 12))
    return [
        a_lead(
            key,
            business_line_id=draw(lines),
            store_code=store if one_store else draw(stores),
            customer_type=draw(st.sampled_from(["New", None])),
            created_at=NOW + draw(st.integers(0, 3)) * timedelta(hours=1),
        )
        for key in range(1, count + 1)
    ]


@st.composite
def some_members(draw: st.DrawFn, *, rows_for_stores: bool = False, in_lot: bool = False) -> list[Member]:
    """Members with any counters, limits and states; one row an agent, or one for a store besides."""
    members = []
    for agent_id in draw(st.lists(st.integers(1, 8), unique=True, max_size=7)):
        agent = {
            "business_line_id": draw(lines),
            "is_active": draw(st.integers(0, 9)) > 0,
            "max_load": draw(optional(st.integers(0, 6))),
            "assigned_count": draw(st.integers(0, 5)),
            "day_count": draw(st.integers(0, 3)),
            "agent_count": draw(st.integers(0, 5)),
            "open_load": draw(st.integers(0, 4)),
            "start_count": draw(st.integers(0, 2)),
            "weight": draw(st.integers(0, 4)),
            "priority": draw(st.sampled_from([1, 100, 100])),
        }
        if in_lot:
            agent |= {
                "max_existing_per_lot": draw(optional(st.integers(0, 3))),
                "max_new_per_lot": draw(optional(st.integers(0, 3))),
                "lot_existing": draw(st.integers(0, 2)),
                "lot_new": draw(st.integers(0, 2)),
            }
        places = draw(st.sampled_from([[None], ["S"], [None, "S"], [None, "S", "T"]])) if rows_for_stores else [None]
        members += [
            a_member(
                agent_id,
                **agent,
                store_code=place,
                is_enabled=draw(st.integers(0, 9)) > 0,
                max_daily_leads=draw(optional(st.integers(0, 5))),
            )
            for place in places
        ]
    return members
