"""Lowest count first (auto-assign seed, `get_fairest_cre_for_source`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.assigner.facts import Lead, Member
from services.assigner.policies.accounts import Account, Lost, Scene, Win
from services.assigner.policies.choices import Answer, Choice
from services.assigner.policies.lines import Lines, Place
from services.assigner.policies.params import Params

ALGORITHM = "fair/1"


@dataclass(frozen=True, slots=True)
class FairParams(Params):
    """`count`: `route` counts what was received on this route, `agent` what was received over all, as the seed does."""

    count: Literal["route", "agent"] = "route"


def fair(leads: Sequence[Lead], members: Sequence[Member], params: FairParams) -> Answer:
    """Give each lead, in their order, to the eligible member with the lowest count; ties go to the smaller agent id.

    Members that are eligible for the same leads end at most one apart, or as far as they began.
    """
    lines = Lines(members, place, params)
    choices = [Choice(lead.id, lines.give(lead)) for lead in leads]
    read = {agent_id: place(member, params)[0] for agent_id, member in lines.before.items()}
    return Answer(choices, read, lines.boundary(), lines)


def place(member: Member, params: FairParams) -> Place:
    """Where a member stands in line: who has received less comes first, then the smaller id."""
    count = member.agent_count if params.count == "agent" else member.assigned_count
    return count + member.start_count, member.agent_id


def won(scene: Scene, winner: Member) -> str:
    count, _ = place(winner, scene.params)
    ties = sum(place(member, scene.params)[0] == count for member in scene.eligible) - 1
    return f"lowest count {count} of {len(scene.eligible)} eligible" + (f", smallest id of {ties + 1}" if ties else "")


def lost(scene: Scene, member: Member) -> Lost:
    count, _ = place(member, scene.params)
    lowest = min(place(other, scene.params)[0] for other in scene.eligible)
    if count == lowest:
        return Lost("later_id", f"the same count {count}, and a larger id")
    return Lost("higher_count", f"count {count} against {lowest}")


def to_win(scene: Scene, member: Member) -> Win | str:
    """Count less than the winner, or as much where the member's id is smaller."""
    if scene.winner is None:
        return Win()
    lowest, agent_id = place(scene.winner, scene.params)
    most = lowest if member.agent_id < agent_id else lowest - 1
    if most < 0:
        return f"nobody counts less than {lowest}, and ties go to the smaller id"
    return Win(_lowered(member, place(member, scene.params)[0] - most, scene.params))


def _lowered(member: Member, by: int, params: FairParams) -> dict[str, int]:
    """What was received comes down first, then what the member started with."""
    if by <= 0:
        return {}
    name = "agent_count" if params.count == "agent" else "assigned_count"
    received: int = getattr(member, name)
    facts = {name: max(received - by, 0), "start_count": member.start_count - max(by - received, 0)}
    return {name: value for name, value in facts.items() if value != getattr(member, name)}


ACCOUNT = Account(won, lost, to_win)
