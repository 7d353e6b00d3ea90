"""How a policy accounts for a decision: why one member got a lead, why another did not, and what that one lacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.assigner.facts import Lead, Member
from services.assigner.policies.choices import Answer


@dataclass(frozen=True, slots=True)
class Scene:
    """One lead's decision: what was decided with it, and how all stood then.

    Where leads are decided one by one it is the lead alone, with the members as the leads before it left them. A lot
    that is decided as one is there as a whole, with the members as they stood before it.
    """

    lead: Lead
    leads: Sequence[Lead]
    #: One row an agent, for the lead's store.
    members: Sequence[Member]
    params: Any
    answer: Answer
    #: Who got the lead; None if it waits.
    winner: Member | None
    #: Who might have got the lead, the winner among them, as they stood.
    eligible: Sequence[Member]
    #: Who got each of the leads.
    owners: Mapping[int, int | None]


@dataclass(frozen=True, slots=True)
class Lost:
    """Why a member did not get a lead: a code that stays, and words for people."""

    code: str
    words: str


@dataclass(frozen=True, slots=True)
class Win:
    """What makes a member win: its facts as they would have to be, and the lead's place in a lot's order, from 1."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    place: int | None = None


def ahead_of(winner: Member, member: Member) -> int:
    """Give the priority nearest to its own with which a member comes before the winner, by priority and then id."""
    return winner.priority if member.agent_id < winner.agent_id else winner.priority - 1


@dataclass(frozen=True, slots=True)
class Account:
    """A policy's own words, and its own arithmetic. The members asked about are eligible, and are not the winner."""

    won: Callable[[Scene, Member], str]
    lost: Callable[[Scene, Member], Lost]
    #: The smallest change, or why there is none. The member may be one that was made eligible only for the question.
    to_win: Callable[[Scene, Member], Win | str]
