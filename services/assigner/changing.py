"""Changes assignments that exist: begins, ends, reopens work; frees and takes agents' places; wakes who waits for one.

No route is locked. What a close frees is seen by whoever decides after it; who decided before it has the route's lock,
and the wake that follows waits for that lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from msgspec.structs import replace
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner import lifecycle
from services.assigner.facts import Lead, Status
from services.assigner.lifecycle import Refusal
from services.assigner.pieces import Lifecycle
from services.assigner.queries import assignments
from services.assigner.queries.assignments import begin_anew
from services.assigner.queries.counters import Agent, hold_agents, move_agents
from services.assigner.queries.leads import leads_by_id, lock_assignments
from services.assigner.queries.records import Record, add_records, add_refusals
from services.assigner.queries.routes import now, read_routes, routes_of_agents
from shared.events import (
    AssignmentRequested,
    Event,
    LeadAccepted,
    LeadAssigned,
    LeadReopened,
    LeadTaken,
    LeadUnassigned,
)
from shared.messaging.envelope import Message


async def change(tx: AsyncConnection, piece: Lifecycle) -> Sequence[Event]:
    """Apply each event to its lead's assignment, or record why not."""
    await lock_assignments(tx, list(piece.messages))
    leads = await leads_by_id(tx, list(piece.messages))
    routes = await read_routes(tx)
    for_people = frozenset(route.id for route in routes.values() if not route.retry_pending)
    desk = _Desk(await hold_agents(tx, _agents(piece, leads)), for_people)
    records = [record for lead in leads if (record := desk.step(lead, piece.messages[lead.id])) is not None]
    if refused := [record for record in records if record.refused_event is not None]:
        await add_refusals(tx, refused)
    changed = [record for record in records if record.refused_event is None]
    return await _changed(tx, desk, changed) if changed else []


async def _changed(tx: AsyncConnection, desk: _Desk, changed: Sequence[Record]) -> Sequence[Event]:
    """Write the changes, and give what they tell."""
    at = await now(tx)
    await move_agents(tx, desk.moves)
    await assignments.change(tx, [record for record in changed if record.status is not Status.PENDING], at)
    again = {r.lead.id: (r.lead.assignment_id, r.reason) for r in changed if r.status is Status.PENDING}
    begun = await begin_anew(tx, again, at) if again else {}
    records = [replace(record, assignment_id=begun.get(record.lead.id)) for record in changed]
    revisions = await add_records(tx, records, requested_by=None)
    wakes = await routes_of_agents(tx, desk.freed) if desk.freed else []
    return [
        *(AssignmentRequested(route=name, requested_by="a place came free") for name in wakes),
        *_pending_again([record for record in changed if record.status is Status.PENDING], revisions),
        *await _assigned_again(tx, [record for record in changed if record.status is Status.ASSIGNED], revisions, at),
    ]


def _agents(piece: Lifecycle, leads: Sequence[Lead]) -> list[int]:
    """Whose places are freed or taken."""
    return sorted(
        {
            lead.agent_id
            for lead in leads
            if lead.agent_id is not None and not isinstance(piece.messages[lead.id].event, LeadTaken)
        }
    )


@dataclass(slots=True)
class _Desk:
    """Agents' open loads while a batch of events passes."""

    agents: Mapping[int, Agent]
    #: Routes whose leads wait for a person.
    for_people: frozenset[int]
    moves: dict[int, int] = field(default_factory=dict)

    def step(self, lead: Lead, message: Message) -> Record | None:
        """Give the record of what an event does to a lead; None if it does nothing."""
        event = message.event
        agent = self.agents.get(lead.agent_id) if lead.agent_id is not None else None
        barrier = self._barrier(agent) if agent is not None and isinstance(event, LeadReopened) else None
        waits_for_people = lead.route_id in self.for_people
        done = lifecycle.step(lead, event, barrier=barrier, waits_for_people=waits_for_people)
        if done is None:
            return None
        if isinstance(done, Refusal):
            method = f"{done.method} refused"
            return Record(lead, lead.status, method, lead.agent_id, done.reason, refused_event=_identity(message))
        agent_id = None if done.status is Status.PENDING else lead.agent_id
        record = Record(lead, done.status, done.method, agent_id, done.reason)
        if agent is None or not done.load:
            return record
        before = self._load(agent)
        self.moves[agent.id] = self.moves.get(agent.id, 0) + done.load
        return replace(record, open_before=before, open_after=before + done.load)

    @property
    def freed(self) -> list[int]:
        """Agents who had no place, and have one now."""
        return [
            agent.id
            for agent in self.agents.values()
            if agent.max_load is not None and self._load(agent) < agent.max_load <= agent.open_load
        ]

    def _load(self, agent: Agent) -> int:
        return agent.open_load + self.moves.get(agent.id, 0)

    def _barrier(self, agent: Agent) -> str | None:
        if not agent.is_active:
            return "its agent is inactive"
        if agent.max_load is not None and self._load(agent) >= agent.max_load:
            return "no place with its agent"
        return None


def _identity(message: Message) -> str:
    """What all deliveries of an event have in common: its id, or the content of one that came without."""
    if "event_id" in message.event.model_fields_set:
        return message.event.event_id
    return sha256(message.event.type.encode() + message.delivery.body).hexdigest()


def _pending_again(records: Sequence[Record], revisions: Mapping[int, int]) -> list[Event]:
    """A lead that is pending again is told as such, and looked at again."""
    unassigned = [
        LeadUnassigned(
            lead_id=record.lead.lead_id,
            revision=revisions[record.lead.id],
            reason=record.reason or "",
            previous_sheet_key=record.lead.sheet_key,
        )
        for record in records
    ]
    return [*unassigned, *look_again([record.lead for record in records])]


async def _assigned_again(
    tx: AsyncConnection, records: Sequence[Record], revisions: Mapping[int, int], now: datetime
) -> list[Event]:
    """A lead that is its agent's again is told as it was then."""
    if not records:
        return []
    standing = await assignments.standing(tx, [record.lead.assignment_id for record in records])
    return [
        LeadAssigned(
            lead_id=record.lead.lead_id,
            revision=revisions[record.lead.id],
            occurred_at=now,
            source=record.lead.source,
            store_code=record.lead.store_code,
            **standing[record.lead.assignment_id],
        )
        for record in records
    ]


def look_again(leads: Sequence[Lead]) -> list[Event]:
    """Ingest's word for it, with ingest's revision: listeners know it as a repeat."""
    return [LeadAccepted(lead_id=lead.lead_id, revision=lead.revision) for lead in leads]
