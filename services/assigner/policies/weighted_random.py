"""By chance, in proportion to weights (mini-crm seed, "Weighted Random Selection").

Weighted rendezvous hashing: the draw is arithmetic on the algorithm, the lead and the agent. So anybody can repeat it,
batch mates do not matter, and a change among the members moves only the leads of who comes or goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import log

from msgspec.structs import replace

from services.assigner.eligibility import why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies.accounts import Account, Lost, Scene, Win
from services.assigner.policies.choices import Answer, route_counts
from services.assigner.policies.params import Params
from services.assigner.policies.weights import Pools

ALGORITHM = "weighted_random/1"


@dataclass(frozen=True, slots=True)
class WeightedRandomParams(Params):
    """Nothing of its own."""


def weighted_random(leads: Sequence[Lead], members: Sequence[Member], params: WeightedRandomParams) -> Answer:
    """Give each lead to an eligible member, with a chance of its weight in the weights of all that are eligible.

    A lead's pick changes only if the picked member can get it no longer. Cost per lead grows with the members.
    """
    pools = Pools(members, _Pool)
    choices = [pools.give(lead) for lead in leads]
    return Answer(choices, route_counts(pools.before.values()))


class _Pool:
    def __init__(self, lead: Lead, members: Sequence[Member]) -> None:
        self._lead = lead
        self._members = {member.agent_id: member for member in members}

    def pick(self, lead: Lead) -> Member | None:
        return min(self._members.values(), key=Draw(lead).place, default=None)

    def update(self, member: Member) -> None:
        if member.agent_id not in self._members:
            return
        if why_not(self._lead, member) is None:
            self._members[member.agent_id] = member
        else:
            del self._members[member.agent_id]


class Draw:
    """A lead's draw. Each member arrives at a time of its own, its weight being its rate: the first gets the lead."""

    def __init__(self, lead: Lead) -> None:
        self._hash = blake2b(f"{ALGORITHM} {lead.lead_id} ".encode(), digest_size=8)

    def chance(self, agent_id: int) -> float:
        """Give a number between 0 and 1, both excluded, that is even over leads and agents."""
        digest = self._hash.copy()
        digest.update(b"%d" % agent_id)
        # 52 bits and a half: what a float holds exactly, and never a logarithm of 0.
        return ((int.from_bytes(digest.digest(), "big") >> 12) + 0.5) / (1 << 52)

    def place(self, member: Member) -> tuple[float, int]:
        """Give when a member arrives, and its id, should two arrive at once."""
        return -log(self.chance(member.agent_id)) / member.weight, member.agent_id


def won(scene: Scene, winner: Member) -> str:
    total = sum(member.weight for member in scene.eligible)
    return f"weight {winner.weight} of {total}, hash {Draw(scene.lead).chance(winner.agent_id):.6f}: first to arrive"


def lost(scene: Scene, member: Member) -> Lost:
    if member.weight == 0:
        return Lost("no_weight", "weight 0")
    total = sum(other.weight for other in scene.eligible)
    chance = Draw(scene.lead).chance(member.agent_id)
    return Lost("lost_draw", f"weight {member.weight} of {total}, hash {chance:.6f}: arrived later")


def to_win(scene: Scene, member: Member) -> Win | str:
    """Weigh enough to arrive before the winner."""
    draw = Draw(scene.lead)
    weight = max(member.weight, 1)
    if scene.winner is not None:
        first = draw.place(scene.winner)
        weight = max(weight, int(draw.place(replace(member, weight=1))[0] / first[0]) - 1)
        while draw.place(replace(member, weight=weight)) > first:
            weight += 1
    return Win({"weight": weight} if weight != member.weight else {})


ACCOUNT = Account(won, lost, to_win)
