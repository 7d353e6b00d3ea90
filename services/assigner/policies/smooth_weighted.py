"""In proportion to weights at every moment: earliest deadline first (Tijdeman, "The chairman assignment problem").

Of n leads a member of weight w among weights W in all is entitled to n·w/W. To stay within 1 of that, it may have its
next lead only once it is entitled to more than it has (its release), and must have it before it is entitled to one
more than that (its deadline). Earliest deadline first keeps all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace

from services.assigner.eligibility import why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies.accounts import Account, Lost, Scene, Win
from services.assigner.policies.choices import Answer, route_counts
from services.assigner.policies.params import Params
from services.assigner.policies.weights import Pools

ALGORITHM = "smooth_weighted/1"
#: Two different fractions of whole numbers differ by more than one part of this, so scaled and cut they keep their
#: order, for weights below 2**32.
SCALE = 64


@dataclass(frozen=True, slots=True)
class SmoothWeightedParams(Params):
    """Nothing of its own."""


def smooth_weighted(leads: Sequence[Lead], members: Sequence[Member], params: SmoothWeightedParams) -> Answer:
    """Give each lead, in their order, to the released member with the earliest deadline; ties to the smaller id.

    Released and weighed against each other are the members that are eligible for the lead. While these stay the same
    from the first lead on, each has received its share of all leads, give or take less than one.
    """
    pools = Pools(members, _Pool)
    choices = [pools.give(lead) for lead in leads]
    return Answer(choices, route_counts(pools.before.values()), _boundary(pools))


def released_at(member: Member) -> int:
    """How many leads a unit of weight must have been entitled to, for this member to have its next; scaled."""
    return (member.route_count << SCALE) // member.weight


def deadline(member: Member) -> int:
    """How many leads a unit of weight may have been entitled to at most when the member has its next; scaled."""
    return ((member.route_count + 1) << SCALE) // member.weight


def _boundary(pools: Pools[_Pool]) -> dict[int | None, tuple[int, int] | None]:
    """Per business line: of those who have received nothing, the one with the earliest deadline."""
    rest: dict[int | None, list[Member]] = defaultdict(list)
    for (business_line_id, _), pool in pools.of.items():
        rest[business_line_id] += pool.without(pools.before)
    best = {line: min(members, key=_urgency, default=None) for line, members in rest.items()}
    return {line: (member.route_count, member.agent_id) if member else None for line, member in best.items()}


def _urgency(member: Member) -> tuple[int, int]:
    return deadline(member), member.agent_id


class _Pool:
    """Two heaps over the members: those not yet released by their release, those released by their deadline.

    A place in a heap may be one from before its member received: it is then too early, and mended at the front.
    """

    def __init__(self, lead: Lead, members: Sequence[Member]) -> None:
        self._lead = lead
        self._members = {member.agent_id: member for member in members}
        self._weight = sum(member.weight for member in members)
        self._count = sum(member.route_count for member in members)
        self._later: list[tuple[int, int]] = []
        self._released: list[tuple[int, int]] = []
        for member in members:
            if self._is_released(member):
                self._released.append((deadline(member), member.agent_id))
            else:
                self._later.append((released_at(member), member.agent_id))
        heapify(self._later)
        heapify(self._released)

    def pick(self, lead: Lead) -> Member | None:
        self._release()
        while self._released:
            at, agent_id = self._released[0]
            if (member := self._members.get(agent_id)) is None:
                heappop(self._released)
            elif at != (now := deadline(member)):
                heapreplace(self._released, (now, agent_id))
            elif self._is_released(member):
                return member
            else:
                heappop(self._released)
                heappush(self._later, (released_at(member), agent_id))
        return None

    def update(self, member: Member) -> None:
        if (before := self._members.get(member.agent_id)) is None:
            return
        self._count += member.route_count - before.route_count
        self._members[member.agent_id] = member
        if why_not(self._lead, member) is not None:
            del self._members[member.agent_id]
            self._weight -= member.weight
            self._count -= member.route_count

    def without(self, agent_ids: Container[int]) -> Iterator[Member]:
        return (member for member in self._members.values() if member.agent_id not in agent_ids)

    def _is_released(self, member: Member) -> bool:
        """Whether, with the next lead, it is entitled to more than it has."""
        return member.route_count * self._weight < (self._count + 1) * member.weight

    def _release(self) -> None:
        while self._later:
            at, agent_id = self._later[0]
            if (member := self._members.get(agent_id)) is None:
                heappop(self._later)
            elif at != (now := released_at(member)):
                heapreplace(self._later, (now, agent_id))
            elif self._is_released(member):
                heappop(self._later)
                heappush(self._released, (deadline(member), agent_id))
            else:
                return


def won(scene: Scene, winner: Member) -> str:
    return f"{_entitled(scene, winner)}: the earliest deadline of those whose next is due"


def lost(scene: Scene, member: Member) -> Lost:
    if member.weight == 0:
        return Lost("no_weight", "weight 0")
    if member.route_count * _weight(scene) >= _nth(scene) * member.weight:
        return Lost("not_released", f"{_entitled(scene, member)}: its next is not due yet")
    return Lost("later_deadline", f"{_entitled(scene, member)}: its next is due, another's sooner")


def to_win(scene: Scene, member: Member) -> Win | str:
    """Weigh enough to be released, and for each rival to have the earlier deadline or to keep it from its release."""
    rivals = [other for other in scene.eligible if other.weight > 0 and other.agent_id != member.agent_id]
    weights = sum(rival.weight for rival in rivals)
    received = sum(rival.route_count for rival in rivals)
    count = member.route_count
    enough = [member.weight, 1, count * weights // (received + 1) + 1]
    for rival in rivals:
        is_first = member.agent_id < rival.agent_id
        sooner = ((count + 1) * rival.weight - is_first) // (rival.route_count + 1) + 1
        nth = received + count + 1
        keeps_off = ceil_of(nth * rival.weight, rival.route_count) - weights if rival.route_count > 0 else sooner
        enough.append(min(sooner, keeps_off))
    return Win({"weight": max(enough)} if max(enough) != member.weight else {})


def ceil_of(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _weight(scene: Scene) -> int:
    return sum(member.weight for member in scene.eligible)


def _nth(scene: Scene) -> int:
    """Which lead this is for those that are weighed against each other."""
    return 1 + sum(member.route_count for member in scene.eligible if member.weight > 0)


def _entitled(scene: Scene, member: Member) -> str:
    total = _weight(scene)
    share = _nth(scene) * member.weight / total
    return f"has {member.route_count}, with this lead is entitled to {share:.2f} (weight {member.weight} of {total})"


ACCOUNT = Account(won, lost, to_win)
