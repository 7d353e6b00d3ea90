"""A short chaos run: one seed, every kind of fault, every check."""

from __future__ import annotations

import pytest

from tests.chaos.running import Plan, run
from tests.stack import Stack

SHORT_S = 16.0
KILLS = 8


@pytest.mark.timeout(900)
async def test_everything_is_killed_and_nothing_is_lost_or_done_twice(stack: Stack, chaos_leads: int) -> None:
    """Each service, the broker and the database die under load; afterwards every check finds nothing."""
    report = await run(stack, Plan(seed=1, leads=chaos_leads, duration_s=SHORT_S, kills=KILLS), print)

    print(report)
    assert report.findings == ()
    assert report.kills == KILLS
    assert {"broker", "database"} <= report.kills_by_victim.keys()
    assert report.unacked_at_kills > 0
