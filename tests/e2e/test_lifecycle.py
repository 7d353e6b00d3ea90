"""What a CRM says about a lead that is assigned, and what that means for those that wait."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.feeding import a_lead
from tests.stack import CONSUMERS, Stack
from tests.waiting import eventually

#: No sweep helps while a test runs.
NO_SWEEP = {"LEADLINE_CHECK_INTERVAL": "3600"}
SOLO = """
sources: [META, SOLO]
agents:
  - {code: "0021", name: Solo, email: solo@example.com, max_load: 1, active: ACTIVE}
routes:
  - {name: solo, source: SOLO, members: [{agent: "0021"}]}
"""


def solo(folder: Path, *, is_active: bool) -> Path:
    file = folder / "solo.yaml"
    file.write_text(SOLO.replace("ACTIVE", str(is_active).lower()))
    return file


async def configure(stack: Stack, *, is_active: bool = True) -> None:
    """A route of one agent who takes one lead at a time."""
    file = solo(stack.folder, is_active=is_active)
    applied = await stack.run("config", "apply", str(file), "--json")
    assert applied.code == 0, applied.errors


async def stands(
    stack: Stack, lead_id: str, status: str, *, reason: str | None = None, agent: str | None = None
) -> Any:
    """The lead's current assignment, once it is so."""
    (row,) = await stack.rows(
        """SELECT assignment_statuses.name AS status, assignments.reason, agents.agent_code AS agent
           FROM assignments JOIN leads ON leads.id = assignments.lead_id LEFT JOIN agents ON agents.id = agent_id
                JOIN assignment_statuses ON assignment_statuses.id = assignment_status_id
           WHERE is_current AND leads.lead_id = $1""",
        lead_id,
    ) or [None]
    assert row is not None
    assert row["status"].casefold() == status
    assert row["reason"] == reason
    if agent is not None:
        assert row["agent"] == agent
    return row


async def is_there(stack: Stack, lead_id: str, status: str, **others: str | None) -> None:
    await eventually(lambda: stands(stack, lead_id, status, **others), within=60)


async def told(stack: Stack, queue: str, event_type: str) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in await stack.heard(queue) if message.routing_key == event_type]


async def test_a_closed_lead_lets_the_next_one_through(stack: Stack) -> None:
    """One agent with one place: the second lead waits and its CRM is told why, until the first is closed; no sweep."""
    stack.extra = NO_SWEEP
    await stack.listen("crm", ("leads", "lead.unassigned"))
    await configure(stack)
    await stack.start(*CONSUMERS, "scheduler")

    await stack.publish("lead.created", a_lead("first", source="SOLO"))
    await is_there(stack, "Lfirst", "assigned", agent="0021")
    await stack.publish("lead.created", a_lead("second", source="SOLO"))
    await is_there(stack, "Lsecond", "pending", reason="agent at capacity")
    (waits,) = await eventually(lambda: told(stack, "crm", "lead.unassigned"), within=60)
    assert (waits["lead_id"], waits["reason"]) == ("Lsecond", "agent at capacity")

    # By another agent than its own: refused, and recorded.
    await stack.publish("lead.taken", {"lead_id": "Lfirst", "agent_code": "0001"})
    await stack.publish("lead.closed", {"lead_id": "Lfirst", "agent_code": "0001"})
    refused = "assignment_records WHERE method IN ('taken refused', 'closed refused')"
    await eventually(lambda: _count(stack, refused, 2), within=60)
    await stands(stack, "Lfirst", "assigned", agent="0021")

    await stack.publish("lead.taken", {"lead_id": "Lfirst", "agent_code": "0021"})
    await is_there(stack, "Lfirst", "in progress", agent="0021")
    await stack.publish("lead.closed", {"lead_id": "Lfirst", "agent_code": "0021", "reason": "lost"})
    await is_there(stack, "Lfirst", "closed", reason="lost", agent="0021")
    await is_there(stack, "Lsecond", "assigned", agent="0021")

    await stack.publish("lead.reopened", {"lead_id": "Lfirst"})
    await is_there(stack, "Lfirst", "pending", reason="agent at capacity")
    await stack.publish("lead.closed", {"lead_id": "Lsecond", "reason": "won"})
    await is_there(stack, "Lsecond", "closed", reason="won")
    await is_there(stack, "Lfirst", "assigned", agent="0021")
    assert (
        await stack.value("SELECT open_load FROM agent_counters JOIN agents ON id = agent_id WHERE max_load = 1") == 1
    )


async def test_leads_wait_for_their_agent_and_for_a_place(stack: Stack) -> None:
    """While the only agent is inactive leads wait; `config apply` that activates it gets the first one assigned.

    `assignment.requested` for the route assigns what may go by now; a person's leaves a decision under its id.
    """
    stack.extra = NO_SWEEP
    await configure(stack, is_active=False)
    await stack.start("ingest", "assigner", "documents", "scheduler")
    await stack.publish("lead.created", *(a_lead(number, source="SOLO") for number in range(3)))
    await eventually(lambda: _count(stack, "assignments WHERE reason = 'agent inactive'", 3), within=60)

    await configure(stack, is_active=True)
    await eventually(lambda: _count(stack, "assignments WHERE reason = 'agent at capacity'", 2), within=60)
    assert await stack.count("assignments WHERE agent_id IS NOT NULL") == 1

    person = {"source": "SOLO", "requested_by": "ana", "request_id": "request-1"}
    await stack.publish("assignment.requested", person)
    await eventually(
        lambda: _count(stack, "decisions WHERE request_id = 'request-1' AND kind = 'requested'", 1), within=60
    )
    assert await stack.count("assignments WHERE agent_id IS NOT NULL") == 1
    await stack.rows("UPDATE agents SET max_load = 10 WHERE agent_code = '0021'")  # behind everybody's back
    await stack.publish("assignment.requested", {"route": "solo", "requested_by": "test"})
    await eventually(lambda: _count(stack, "assignments WHERE agent_id IS NOT NULL", 3), within=60)


async def test_a_placed_order_closes_the_lead_as_won(stack: Stack) -> None:
    """`lead.updated` with an order; the agent's place is free again, and an update for an unknown lead waits."""
    await configure(stack)
    await stack.listen("ladder", ("leads.retry", "#"))
    await stack.start("ingest", "assigner")
    await stack.publish("lead.created", a_lead(1, source="SOLO"), a_lead(2, source="SOLO"))
    await is_there(stack, "L1", "assigned", agent="0021")
    await is_there(stack, "L2", "pending", reason="agent at capacity")

    order = {"occurred_at": "2026-01-05T10:00:00+05:30", "is_order_placed": True}
    await stack.publish("lead.updated", {"lead_id": "L1", **order}, {"lead_id": "L3", **order})

    await is_there(stack, "L1", "closed", reason="won", agent="0021")
    await is_there(stack, "L2", "assigned", agent="0021")
    (early,) = await eventually(lambda: stack.heard("ladder"), within=60)
    assert early.routing_key == "5s.ingest"
    await stack.publish("lead.created", a_lead(3, source="SOLO"))
    await is_there(stack, "L3", "closed", reason="won")


async def _count(stack: Stack, what: str, count: int) -> bool:
    found = await stack.count(what)
    assert found == count, f"{found} {what}"
    return True
