"""The whole table of states and events."""

from __future__ import annotations

from typing import Any

import pytest

from services.assigner.facts import Status
from services.assigner.lifecycle import Change, Refusal, step
from shared.events import AssignmentRequested, Event, LeadAccepted, LeadClosed, LeadReopened, LeadTaken
from tests.assigning import a_lead

PENDING, ASSIGNED, IN_PROGRESS, CLOSED = Status
NOT_THEIRS = "the lead is agent 0001's, not 0002's"


def taken(by: str | None = None) -> LeadTaken:
    return LeadTaken(lead_id="L1", agent_code=by)


def closed(by: str | None = None) -> LeadClosed:
    return LeadClosed(lead_id="L1", agent_code=by, reason="won")


def reopened(by: str | None = None) -> LeadReopened:
    return LeadReopened(lead_id="L1", agent_code=by)


@pytest.mark.parametrize(
    ("status", "event", "expected"),
    [
        (PENDING, taken(), Refusal("taken", "the lead is pending")),
        (PENDING, taken("0001"), Refusal("taken", "the lead is pending")),
        (PENDING, closed(), Change(CLOSED, "closed", "won")),
        (PENDING, closed("0002"), Change(CLOSED, "closed", "won")),
        (PENDING, reopened(), None),
        (ASSIGNED, taken(), Change(IN_PROGRESS, "taken")),
        (ASSIGNED, taken("0001"), Change(IN_PROGRESS, "taken")),
        (ASSIGNED, taken("0002"), Refusal("taken", NOT_THEIRS)),
        (ASSIGNED, closed(), Change(CLOSED, "closed", "won", -1)),
        (ASSIGNED, closed("0001"), Change(CLOSED, "closed", "won", -1)),
        (ASSIGNED, closed("0002"), Refusal("closed", NOT_THEIRS)),
        (ASSIGNED, reopened(), None),
        (IN_PROGRESS, taken(), None),
        (IN_PROGRESS, taken("0001"), None),
        (IN_PROGRESS, taken("0002"), Refusal("taken", NOT_THEIRS)),
        (IN_PROGRESS, closed(), Change(CLOSED, "closed", "won", -1)),
        (IN_PROGRESS, closed("0001"), Change(CLOSED, "closed", "won", -1)),
        (IN_PROGRESS, closed("0002"), Refusal("closed", NOT_THEIRS)),
        (IN_PROGRESS, reopened(), None),
        (CLOSED, taken(), Refusal("taken", "the lead is closed")),
        (CLOSED, taken("0002"), Refusal("taken", "the lead is closed")),
        (CLOSED, closed(), None),
        (CLOSED, closed("0002"), None),
        (CLOSED, reopened(), Change(ASSIGNED, "reopened", load=1)),
        (CLOSED, reopened("0001"), Change(ASSIGNED, "reopened", load=1)),
        (CLOSED, reopened("0002"), Refusal("reopened", NOT_THEIRS)),
    ],
)
def test_every_state_meets_every_event(status: Status, event: Event, expected: Change | Refusal | None) -> None:
    agent: dict[str, Any] = {} if status is PENDING else {"agent_id": 1, "agent_code": "0001"}
    assert step(a_lead(status=status, **agent), event) == expected


@pytest.mark.parametrize(
    ("facts", "waits_for_people", "expected"),
    [
        ({}, False, Change(PENDING, "reopened", "full")),
        ({}, True, Refusal("reopened", "full")),
        ({"agent_id": None, "agent_code": None}, False, Change(PENDING, "reopened", "reopened")),
        ({"is_duplicate": True}, False, Refusal("reopened", "the lead is another's duplicate")),
    ],
)
def test_what_cannot_go_back_to_its_agent(
    facts: dict[str, Any], waits_for_people: bool, expected: Change | Refusal
) -> None:
    lead = a_lead(**{"status": CLOSED, "agent_id": 1, "agent_code": "0001", **facts})
    assert step(lead, reopened(), barrier="full", waits_for_people=waits_for_people) == expected


@pytest.mark.parametrize("status", Status)
def test_a_placed_order_wins_in_every_state(status: Status) -> None:
    accepted = LeadAccepted(lead_id="L1", revision=1)
    lead = a_lead(status=status, is_order_placed=True, agent_id=1, agent_code="0001")
    load = -1 if status in {ASSIGNED, IN_PROGRESS} else 0

    assert step(lead, accepted) == (None if status is CLOSED else Change(CLOSED, "closed", "won", load))
    assert step(a_lead(status=status), accepted) is None


def test_other_events_change_no_assignment() -> None:
    with pytest.raises(TypeError, match=r"assignment\.requested"):
        step(a_lead(), AssignmentRequested())
