"""The first in a fixed order (lead-assignment seed, `assign_leads_to_sellers`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.assigner.facts import Lead, Member
from services.assigner.policies.accounts import Account, Lost, Scene, Win, ahead_of
from services.assigner.policies.choices import Answer, Choice, route_counts
from services.assigner.policies.lines import Lines, Place
from services.assigner.policies.params import Params

ALGORITHM = "first_fit/1"


@dataclass(frozen=True, slots=True)
class FirstFitParams(Params):
    """Nothing of its own."""


def first_fit(leads: Sequence[Lead], members: Sequence[Member], params: FirstFitParams) -> Answer:
    """Give each lead, in their order, to the eligible member with the lowest priority; ties to the smaller agent id."""
    lines = Lines(members, place, params)
    choices = [Choice(lead.id, lines.give(lead)) for lead in leads]
    return Answer(choices, route_counts(lines.before.values()), lines=lines)


def place(member: Member, params: Params) -> Place:
    return member.priority, member.agent_id


def won(scene: Scene, winner: Member) -> str:
    return f"first in the order of {len(scene.eligible)} eligible, with priority {winner.priority}"


def lost(scene: Scene, member: Member) -> Lost:
    first, agent_id = min(place(other, scene.params) for other in scene.eligible)
    if member.priority == first:
        return Lost("later_id", f"the same priority {first}, and a larger id than {agent_id}")
    return Lost("later_in_order", f"priority {member.priority} against {first}")


def to_win(scene: Scene, member: Member) -> Win | str:
    if scene.winner is None or place(member, scene.params) < place(scene.winner, scene.params):
        return Win()
    return Win({"priority": ahead_of(scene.winner, member)})


ACCOUNT = Account(won, lost, to_win)
