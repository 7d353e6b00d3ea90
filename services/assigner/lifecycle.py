"""What may become of an assignment: pending → assigned → in progress → closed. Pure; the whole table is one test."""

from __future__ import annotations

from dataclasses import dataclass

from services.assigner.facts import Lead, Status
from shared.events import Event, LeadClosed, LeadReopened, LeadTaken

DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Change:
    """The assignment becomes this. `load`: what its agent's open load changes by."""

    status: Status
    method: str
    reason: str | None = None
    load: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing changes but the record: somebody wanted what is not theirs to do."""

    method: str
    reason: str


def step(lead: Lead, event: Event, *, has_place: bool = False) -> Change | Refusal | None:
    """Say what an event changes; None if it is as the event wants already.

    `has_place`: the lead's agent may take it on again; asked for `lead.reopened` only.
    """
    match event:
        case LeadTaken(agent_code=by):
            return _taken(lead, by)
        case LeadClosed(agent_code=by, reason=reason):
            return _closed(lead, by, reason)
        case LeadReopened():
            return _reopened(lead, has_place=has_place)
    raise TypeError(f"{event.type} changes no assignment")


def _taken(lead: Lead, by: str | None) -> Change | Refusal | None:
    if lead.status in {Status.PENDING, Status.CLOSED}:
        return Refusal("taken", f"the lead is {lead.status.name.lower()}")
    if by is not None and by != lead.agent_code:
        return Refusal("taken", f"the lead is agent {lead.agent_code}'s, not {by}'s")
    return None if lead.status is Status.IN_PROGRESS else Change(Status.IN_PROGRESS, "taken")


def _closed(lead: Lead, by: str | None, reason: str) -> Change | Refusal | None:
    if lead.status is Status.CLOSED:
        return None
    if by is not None and lead.agent_code is not None and by != lead.agent_code:
        return Refusal("closed", f"the lead is agent {lead.agent_code}'s, not {by}'s")
    return Change(Status.CLOSED, "closed", reason, load=0 if lead.status is Status.PENDING else -1)


def _reopened(lead: Lead, *, has_place: bool) -> Change | Refusal | None:
    if lead.status is not Status.CLOSED:
        return None
    if lead.is_duplicate:
        return Refusal("reopened", "the lead is another's duplicate")
    if lead.agent_id is not None and has_place:
        return Change(Status.ASSIGNED, "reopened", load=1)
    return Change(Status.PENDING, "reopened", "no place with its agent")
