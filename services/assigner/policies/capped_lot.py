"""One after another up to their caps, the newest leads first (leads-assignment seed §4.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from services.assigner.eligibility import Kind, caps_for, kinds, lift_caps, why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies.accounts import Account, Lost, Scene, Win, ahead_of
from services.assigner.policies.choices import Answer, Choice, route_counts
from services.assigner.policies.params import Params

ALGORITHM = "capped_lot/1"


@dataclass(frozen=True, slots=True)
class CappedLotParams(Params):
    """Nothing of its own."""


def capped_lot(leads: Sequence[Lead], members: Sequence[Member], params: CappedLotParams) -> Answer:
    """Let each member, by priority and then id, take the newest leads that it may get until its caps.

    A full cap on existing customers' leads passes those over and no others, and so for new ones. The order in which
    leads are given does not matter.
    """
    piles = _piles(leads, members)
    owners: dict[int, int] = {}
    before = []
    for member in sorted(members, key=turn):
        if taken := _take(piles, member):
            owners |= dict.fromkeys(taken, member.agent_id)
            before.append(member)
    return Answer([Choice(lead.id, owners.get(lead.id)) for lead in leads], route_counts(before))


def turn(member: Member) -> tuple[int, int]:
    return member.priority, member.agent_id


def newest(lead: Lead) -> tuple[float, int]:
    """The smallest is taken first: the newest, and of two as new the one that came in first."""
    return -lead.created_at.timestamp(), lead.id


def _piles(leads: Sequence[Lead], members: Sequence[Member]) -> list[list[Lead]]:
    """One pile for each kind of lead, the newest on top, that is last."""
    kind = kinds(members)
    piles: dict[Kind, list[Lead]] = defaultdict(list)
    for lead in sorted(leads, key=newest, reverse=True):
        piles[kind(lead)].append(lead)
    return list(piles.values())


def _take(piles: Sequence[list[Lead]], member: Member) -> list[int]:
    taken = []
    while open_piles := [pile for pile in piles if pile and why_not(pile[-1], member) is None]:
        lead = min(open_piles, key=lambda pile: newest(pile[-1])).pop()
        taken.append(lead.id)
        member = member.after([lead])
    return taken


def won(scene: Scene, winner: Member) -> str:
    taken = [lead for lead in sorted(scene.leads, key=newest) if scene.owners[lead.id] == winner.agent_id]
    at = taken.index(scene.lead) + 1
    return f"number {at} of {len(taken)} that it took at its turn, with priority {winner.priority}, newest first"


def lost(scene: Scene, member: Member) -> Lost:
    if scene.winner is not None and turn(scene.winner) < turn(member):
        mine, first = turn(member), turn(scene.winner)
        words = (
            f"priority {mine[0]} against {first[0]}" if mine[0] != first[0] else "the same priority, and a larger id"
        )
        return Lost("later_turn", f"its turn came after: {words}")
    after = member.after([lead for lead in scene.leads if scene.owners[lead.id] == member.agent_id])
    why = why_not(scene.lead, after)
    assert why is not None, "whose turn came and who was not full has taken it"
    return Lost(why.code, f"{why} before the lead's turn")


def to_win(scene: Scene, member: Member) -> Win | str:
    """Have the turn before the winner, and room for the lead after all newer ones that the member then takes first."""
    facts: dict[str, Any] = {}
    if scene.winner is not None and turn(scene.winner) < turn(member):
        facts["priority"] = ahead_of(scene.winner, member)
    return Win(facts | _caps_to_reach(scene, replace(member, **facts)))


def _caps_to_reach(scene: Scene, member: Member) -> dict[str, int]:
    """Caps that are too low for all that the member takes up to the lead: what they would have to be."""
    lifted = lift_caps(scene.lead, member)
    turns = {other.agent_id: turn(other) for other in scene.members if other.agent_id != member.agent_id}
    for lead in sorted(scene.leads, key=newest):
        is_left = turns.get(scene.owners[lead.id] or 0, turn(member)) >= turn(member)
        if is_left and newest(lead) <= newest(scene.lead) and why_not(lead, lifted) is None:
            lifted = lifted.after([lead])
    return caps_for(scene.lead, member, lifted)


ACCOUNT = Account(won, lost, to_win)
