"""What may become of an assignment: pending → assigned → in progress → closed. Pure; the whole table is one test."""

from __future__ import annotations

from dataclasses import dataclass

from services.assigner.facts import Lead, Status
from shared.events import Event, LeadAccepted, LeadClosed, LeadReopened, LeadTaken


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


def step(
    lead: Lead, event: Event, *, barrier: str | None = None, waits_for_people: bool = False
) -> Change | Refusal | None:
    """Say what an event changes; None if it is as the event wants already.

    `barrier`: why the lead's agent may not take it on again; asked for `lead.reopened` only. `waits_for_people`: a lead
    of its route that cannot go back to its agent stays closed.
    """
    match event:
        case LeadTaken(agent_code=by):
            return _taken(lead, by)
        case LeadClosed(agent_code=by, reason=reason):
            return _closed(lead, by, reason)
        case LeadReopened(agent_code=by):
            return _reopened(lead, by, barrier, waits_for_people=waits_for_people)
        case LeadAccepted():
            return _closed(lead, None, "won") if lead.is_order_placed else None
    raise TypeError(f"{event.type} changes no assignment")


def _taken(lead: Lead, by: str | None) -> Change | Refusal | None:
    if lead.status in {Status.PENDING, Status.CLOSED}:
        return Refusal("taken", f"the lead is {lead.status.name.lower()}")
    if _is_anothers(lead, by):
        return Refusal("taken", _whose(lead, by))
    return None if lead.status is Status.IN_PROGRESS else Change(Status.IN_PROGRESS, "taken")


def _closed(lead: Lead, by: str | None, reason: str) -> Change | Refusal | None:
    if lead.status is Status.CLOSED:
        return None
    if _is_anothers(lead, by):
        return Refusal("closed", _whose(lead, by))
    return Change(Status.CLOSED, "closed", reason, load=0 if lead.status is Status.PENDING else -1)


def _reopened(lead: Lead, by: str | None, barrier: str | None, *, waits_for_people: bool) -> Change | Refusal | None:
    if lead.status is not Status.CLOSED:
        return None
    if lead.is_duplicate or _is_anothers(lead, by):
        return Refusal("reopened", "the lead is another's duplicate" if lead.is_duplicate else _whose(lead, by))
    if lead.agent_id is None:
        return Change(Status.PENDING, "reopened", "reopened")
    if barrier is None:
        return Change(Status.ASSIGNED, "reopened", load=1)
    return Refusal("reopened", barrier) if waits_for_people else Change(Status.PENDING, "reopened", barrier)


def _is_anothers(lead: Lead, by: str | None) -> bool:
    return by is not None and lead.agent_code is not None and by != lead.agent_code


def _whose(lead: Lead, by: str | None) -> str:
    return f"the lead is agent {lead.agent_code}'s, not {by}'s"
