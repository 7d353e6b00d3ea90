"""Whatever a batch is, its decision as stored, and what was there before, come out again; and nothing else does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from services.assigner.deciding import Decided, Moment, decide
from services.assigner.facts import Lead, Member
from services.cli.decisions.checking import Check
from services.cli.decisions.differences import Names
from services.cli.decisions.history import Decision, Version
from tests.assigning import NOW, a_lead, a_member, lines, optional, some_leads

DAY = date(2026, 1, 1)
NAMES = Names({1: "all"}, {})
#: By mode: what a route may be.
ROUTES = st.sampled_from(
    [
        ("fair", "stream", {}),
        ("fair", "lot", {}),
        ("fair", "stream", {"count": "agent"}),
        ("first_fit", "stream", {}),
        ("weighted_random", "stream", {}),
        ("smooth_weighted", "stream", {}),
        ("capped_lot", "lot", {}),
        ("even_split", "lot", {"ceiling": 3}),
    ]
)


STORES: list[list[str | None]] = [[None], ["S"], [None, "S"]]


@st.composite
def rows(draw: st.DrawFn) -> list[Member]:
    """Members without counters, one row an agent, or one for a store besides."""
    found = []
    for agent_id in range(1, draw(st.integers(1, 6))):
        of_agent = {
            "business_line_id": draw(lines),
            "is_active": draw(st.integers(0, 9)) > 0,
            "max_load": draw(optional(st.integers(0, 6))),
        }
        found += [
            a_member(
                agent_id,
                **of_agent,
                store_code=store,
                weight=draw(st.integers(0, 3)),
                priority=draw(st.integers(1, 3)),
                max_daily_leads=draw(optional(st.integers(0, 5))),
                max_new_per_lot=draw(optional(st.integers(0, 2))),
                is_enabled=draw(st.integers(0, 9)) > 0,
            )
            for store in draw(st.sampled_from(STORES))
        ]
    return found


def version_of(
    policy: str, mode: str, params: dict[str, Any], members: list[Member], starts: dict[str, int]
) -> Version:
    counters = {"assigned_count", "start_count", "day_count", "agent_count", "open_load", "lot_existing", "lot_new"}
    told = [name for name in Member.__struct_fields__ if name not in counters]
    listed = [{name: getattr(row, name) for name in told} for row in members]
    content = {"name": "all", "priority": 1, "policy": policy, "mode": mode, "zone": "Asia/Kolkata", "params": params}
    return Version(1, 1, 1, {**content, "retry_pending": True, "members": listed}, starts)


def stored(decided: Decided, sequence: int, *, is_lot: bool) -> Decision:
    """The decision as the database gives it back."""
    facts, choices = json.loads(json.dumps([decided.facts, decided.choices]))
    kind = "lot" if is_lot else "accepted"
    by_lead = {int(lead_id): choice for lead_id, choice in choices.items()}
    return Decision(sequence, sequence, 1, decided.algorithm, kind, DAY, NOW, facts, by_lead)


@settings(max_examples=150)
@given(ROUTES, rows(), st.lists(some_leads(), min_size=1, max_size=4), st.data())
def test_a_history_comes_out_again_whatever_it_is(
    kind: tuple[str, str, dict[str, Any]], members: list[Member], batches: list[list[Lead]], data: st.DataObject
) -> None:
    policy, mode, params = kind
    elsewhere = data.draw(st.dictionaries(st.integers(1, 6), st.integers(0, 5)))
    loads = data.draw(st.dictionaries(st.integers(1, 6), st.integers(0, 5)))
    starts = data.draw(st.dictionaries(st.integers(1, 6), st.integers(-2, 3)))
    version = version_of(policy, mode, params, members, {str(agent_id): start for agent_id, start in starts.items()})
    check = Check(1, NAMES, {})
    now = [
        structs.replace(
            row,
            start_count=starts.get(row.agent_id, 0),
            agent_count=elsewhere.get(row.agent_id, 0),
            open_load=loads.get(row.agent_id, 0),
        )
        for row in members
    ]
    list(check.reach(1))
    for sequence, batch in enumerate(batches, 2):
        met = [structs.replace(row, lot_new=0, lot_existing=0) for row in now]
        met = met if mode == "lot" else [row.without_lot_caps() for row in met]
        leads = [
            structs.replace(lead, id=lead.id + 100 * sequence, customer_type=data.draw(st.sampled_from(["New", "Old"])))
            for lead in batch
        ]
        decided = decide(version.route, leads, met, Moment(NOW, DAY, is_lot=mode == "lot"))
        now = list(decided.members)

        decision = stored(decided, sequence, is_lot=mode == "lot")
        texts = {lead.id: lead.lead_id for lead in leads}
        differences = [*check.reach(sequence), *check.take(version, decision, texts)]

        assert [each.words for each in differences] == []
    assert dict(+check.replay.received) == {row.agent_id: row.assigned_count for row in now if row.assigned_count}
    assert {key: leads for (_, key), leads in check.replay.on_days.items()} == {
        (row.agent_id, row.store_code or ""): row.day_count for row in now if row.day_count
    }


def test_one_choice_that_somebody_changed_is_one_difference_and_later_ones_stay_right() -> None:
    version = version_of("fair", "stream", {}, [a_member(1), a_member(2), a_member(3)], {})
    check = Check(1, NAMES, {2: {1: 1}})
    now: list[Member] = list(version.members)
    found = [*check.reach(1)]
    for sequence in (2, 3, 4):
        decided = decide(version.route, [a_lead(sequence - 1)], now, Moment(NOW, DAY))
        now = list(decided.members)
        decision = stored(decided, sequence, is_lot=False)
        if sequence == 2:
            decision = replace(decision, choices={1: 3})
        found += [*check.reach(sequence), *check.take(version, decision, {})]

    (difference,) = found
    assert (difference.what, difference.decision_id, difference.lead_id) == ("choice", 2, 1)


def test_a_gap_is_told_once_with_its_ends() -> None:
    check = Check(1, NAMES, {})

    found = [*check.reach(1), *check.reach(2), *check.reach(5), *check.reach(6), *check.reach(8)]

    assert [each.words for each in found] == [
        "nothing is stored under 3 to 4 of the route's sequence",
        "nothing is stored under 7 of the route's sequence",
    ]
