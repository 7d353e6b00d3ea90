"""What the monitor shows of a look, at 80 columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from services.cli.monitor.looks import Look, Queue, Took, rates
from services.cli.monitor.screen import screen
from services.cli.replicas import Replica
from services.cli.standings import line
from tests.assigning import a_member, a_route

NOW = datetime(2026, 1, 5, 15, 10, tzinfo=UTC)
COUNTS = {"leads": 1_200, "assigned": 1_100, "sheets": 1_050, "mails": 1_000, "waiting": 100, "dead": 0}


def a_look(**facts: Any) -> Look:
    known: dict[str, Any] = {
        "at": NOW,
        "counts": COUNTS,
        "last_24_h": {"assigned": 90, "taken": 12, "closed": 7},
        "queues": [Queue("ingest", 5_000, 0), Queue("assigner", 0, 2), Queue("retry", 3, 0)],
        "broker_problem": None,
        "replicas": [],
        "took": Took(500, 0.04, 1.5),
        "lines": [line(a_route(), [a_member(n, assigned_count=n) for n in range(1, 41)])],
        "configuration": [
            {"route": "stores", "source": "STORES", "store": "A1", "line": None, "policy": "capped_lot", "mode": "lot",
             "params": {"max_age_days": 45}, "schedule": ["20:40"], "zone": "UTC", "in_use": True, "members": 2}
        ],
        "new": [{"at": NOW, "lead": "L1", "source": "META", "agent": "0001", "method": "fair_distribution",
                 "before": 3, "after": 4}],
        "newest_id": 7,
    }  # fmt: skip
    return Look(**known | facts)


def drawn(look: Look, *, height: int = 24, problem: str | None = None) -> str:
    console = Console(file=StringIO(), width=80, height=height)
    console.print(screen(look, ZoneInfo("Asia/Kolkata"), height=height, problem=problem))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_look_fits_80_columns_and_says_it_all() -> None:
    """Queues, counts, who is next, the spread, the newest assignments, the configuration."""
    text = drawn(a_look(rates={"leads": 60.0}))

    assert max(len(row) for row in text.splitlines()) <= 80
    for words in (
        "2026-01-05 20:40:00 +0530",
        "5,000",
        "min 1  max 40  average 20.5  variance 133.2",
        "next 0001: lowest count, then agent id",
        "Agent 3",
        "… and 37 more",
        "3 → 4",
        "STORES/A1",
        "max_age_days 45",
        "lot 20:40",
        "1.50 s",
    ):
        assert words in text


def test_a_high_screen_shows_more_members() -> None:
    """As many as it has room for."""
    assert "… and" not in drawn(a_look(), height=90)


@pytest.mark.parametrize("count", [0, 12])
def test_what_is_new_is_counted_since_the_look_before(count: int) -> None:
    """Also when nothing is."""
    assert f"{count} new assignments" in drawn(a_look(new_count=count, new=[]))


def test_what_is_away_is_said() -> None:
    """The broker, and the database, whose last look is still shown."""
    text = drawn(a_look(queues=[], broker_problem="the broker does not answer: gone"), problem="PostgreSQL is away")

    assert "the broker does not answer: gone" in text
    assert "PostgreSQL is away" in text


def test_rates_are_per_minute() -> None:
    """Of what only rises; none at the first look."""
    before = a_look(counts=COUNTS | {"leads": 1_100})

    assert rates(before, NOW + timedelta(seconds=30), COUNTS) == {"leads": 200, "assigned": 0, "sheets": 0, "mails": 0}
    assert rates(None, NOW, COUNTS) == {}


def test_what_replicas_say_is_said() -> None:
    """Of those that are well nothing."""
    well = Replica("ingest", "host", 1, NOW, 1.0, [])
    waits = Replica("notifier", "host", 2, NOW, 1.0, ["notifier: waiting for smtp to answer"])

    text = drawn(a_look(replicas=[well, waits]))

    assert "notifier, host (2): waiting for smtp to answer" in text
    assert "ingest, host" not in text
