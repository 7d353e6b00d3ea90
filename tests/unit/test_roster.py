"""The members as one: what is known of all of them, and what receiving changes."""

from __future__ import annotations

import pytest

from services.assigner.roster import Roster
from tests.assigning import a_lead, a_member

ROWS = [a_member(2), a_member(1, store_code="S", max_load=5), a_member(1)]


def test_it_is_the_rows_in_their_order() -> None:
    roster = Roster.of(ROWS)

    assert (list(roster), len(roster), roster[1], roster[:2]) == (ROWS, 3, ROWS[1], ROWS[:2])
    assert Roster.of(roster) is roster
    assert (roster.has_stores, roster.has_limits) == (True, True)
    assert (Roster([]).has_stores, Roster([a_member(1)]).has_limits) == (False, False)
    assert roster.row(1) is ROWS[1]
    with pytest.raises(KeyError):
        roster.row(3)


def test_an_agents_rows_share_all_but_the_rows_own_counts() -> None:
    before = Roster(ROWS)
    after = before.after({1: (ROWS[2], [a_lead(1), a_lead(2)])}, None)

    assert list(before) == ROWS
    assert [(row.assigned_count, row.open_load, row.day_count) for row in after] == [(0, 0, 0), (2, 2, 0), (2, 2, 2)]
    assert after.row(2) is ROWS[0]
    assert (after.has_stores, after.has_limits) == (True, True)
