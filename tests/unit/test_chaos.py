"""A chaos run's schedule and load are their seed's, and contain what they promise."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos import load
from tests.chaos.checking import mail_findings
from tests.chaos.schedule import (
    BROKER,
    CHANGES,
    DATABASE,
    LOT_ROUTES,
    REPLICAS,
    SERVICES,
    Configure,
    Freeze,
    Kill,
    KillServer,
    RunLot,
    plan,
)
from tests.chaos.world import changed

seeds = st.integers(0, 10**9)


@given(seeds, st.integers(20, 600), st.integers(2, 60))
def test_a_schedule_is_its_seeds(seed: int, duration_s: int, kills: int) -> None:
    """The same seed again gives the same faults; in order of time; so many kills, of both servers too."""
    faults = plan(seed, duration_s, kills)
    assert faults == plan(seed, duration_s, kills)
    assert [each.at_s for each in faults] == sorted(each.at_s for each in faults)
    assert all(round(duration_s * 0.1, 2) <= each.at_s <= duration_s for each in faults)
    killed = [each.fault for each in faults if isinstance(each.fault, Kill | KillServer)]
    assert len(killed) == kills
    assert {each.server for each in killed if isinstance(each, KillServer)} == {BROKER, DATABASE}
    assert all(each.replica < REPLICAS for each in killed if isinstance(each, Kill))


@given(seeds)
def test_a_schedule_has_every_kind_of_fault(seed: int) -> None:
    """With enough kills every service dies; a replica is frozen, every change is made, every lot is run."""
    faults = [each.fault for each in plan(seed, 25, 8)]
    assert {each.service for each in faults if isinstance(each, Kill)} == set(SERVICES)
    assert any(isinstance(each, Freeze) for each in faults)
    assert {each.change for each in faults if isinstance(each, Configure)} == set(CHANGES)
    assert {each.route for each in faults if isinstance(each, RunLot)} == set(LOT_ROUTES)


def test_other_seeds_are_other_runs() -> None:
    assert len({plan(seed, 60, 10) for seed in range(50)}) == 50
    assert len({load.make(seed, 50, 10).messages for seed in range(50)}) == 50


@given(seeds, st.integers(1, 200))
def test_a_load_says_what_becomes_of_it(seed: int, leads: int) -> None:
    """Every lead is created; what is to be closed is closed and never reopened; the newest update counts."""
    made = load.make(seed, leads, 30)
    assert made == load.make(seed, leads, 30)
    assert [each.at_s for each in made.messages] == sorted(each.at_s for each in made.messages)
    said = [(each.event_type, json.loads(each.body)) for each in made.messages if each.message_id is None]
    assert {body["lead_id"] for kind, body in said if kind == "lead.created"} == made.leads
    reopened = {body["lead_id"] for kind, body in said if kind == "lead.reopened"}
    assert {body["lead_id"] for kind, body in said if kind == "lead.closed"} - reopened == made.closed
    for lead_id, message in made.updated.items():
        updates = [body for kind, body in said if kind == "lead.updated" and body["lead_id"] == lead_id]
        assert max(updates, key=lambda body: body["occurred_at"])["message"] == message
    assert Counter(each.body for each in made.messages if each.message_id) == Counter(made.malformed)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_has_a_file(change: str) -> None:
    assert changed(change)


M, N = ("<m>", "a@example.com"), ("<n>", "b@example.com")


@pytest.mark.parametrize(
    ("sent", "arrived", "allowed", "found"),
    [
        ({M, N}, {M: 1, N: 1}, 0, []),
        ({M, N}, {M: 1}, 0, ["<n> to b@example.com is recorded as sent and never came"]),
        ({M}, {M: 1, ("<x>", "a@example.com"): 1}, 1, ["<x> to a@example.com is nobody's"]),
        ({M}, {M: 2}, 1, []),
        ({M}, {M: 3}, 1, ["2 mails came once more than they should, 1 may: <m> to a@example.com"]),
        ({M}, {M: 1, N: 1}, 1, []),  # sent, its notifier killed, and void when it came again
        ({M}, {M: 1, N: 1}, 0, ["1 mails came once more than they should, 0 may: "]),
    ],
)
def test_mails_are_held_against_what_is_recorded(
    sent: set[tuple[str, str]], arrived: dict[tuple[str, str], int], allowed: int, found: list[str]
) -> None:
    assert mail_findings(sent, {"<m>", "<n>"}, Counter(arrived), allowed) == found
