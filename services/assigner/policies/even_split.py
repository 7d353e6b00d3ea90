"""Equal shares of a lot up to a ceiling (agent-funnel seed, `sp_assign_wafunnel_to_agents`)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.assigner.eligibility import Kind, kinds, room, why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies.choices import Answer, Choice, route_counts
from services.assigner.policies.params import Days, Params, Positive

ALGORITHM = "even_split/1"
OVER_CEILING = "over the lot's ceiling"


@dataclass(frozen=True, slots=True)
class EvenSplitParams(Params):
    """`ceiling`: the most that a member gets in a lot. The other defaults are the seed's rules."""

    ceiling: Positive = 450
    stage_below: Positive | None = 4
    max_age_days: Days | None = 45
    raise_stage: bool = True
    ends_unbegun: bool = True


def even_split(leads: Sequence[Lead], members: Sequence[Member], params: EvenSplitParams) -> Answer:
    """Give each member, by id, the next block of leads: as many as all others, or as it has room for.

    Leads left over last time come first, then the oldest. Blocks are of leads divided by members, rounded up, so the
    last one may be shorter; where a member has less room the others' grow, up to the ceiling. What is over it waits.
    Kinds of leads are split one after another, those that the fewest members may get first; who has received of one
    kind gets that much less of the next. The order in which leads are given does not matter.
    """
    now = {member.agent_id: member for member in sorted(members, key=lambda member: member.agent_id)}
    owners: dict[int, int] = {}
    reasons: dict[int, str] = {}
    for group in _groups(leads, members):
        for member, block in _blocks(group, list(now.values()), params.ceiling):
            now[member.agent_id] = member.after(block)
            owners |= dict.fromkeys((lead.id for lead in block), member.agent_id)
        if any(why_not(group[0], m) is None and m.lot_count >= params.ceiling for m in now.values()):
            reasons |= dict.fromkeys((lead.id for lead in group if lead.id not in owners), OVER_CEILING)
    before = (member for member in members if now[member.agent_id] is not member)
    return Answer([Choice(lead.id, owners.get(lead.id), reasons.get(lead.id)) for lead in leads], route_counts(before))


def turn(lead: Lead) -> tuple[bool, datetime, int]:
    """The smallest is given first: who was left over last time, then the oldest."""
    return lead.reason != OVER_CEILING, lead.created_at, lead.id


def _groups(leads: Sequence[Lead], members: Sequence[Member]) -> list[list[Lead]]:
    """Leads of one kind together, in their turn; those that the fewest may get first."""
    kind = kinds(members)
    groups: dict[Kind, list[Lead]] = defaultdict(list)
    for lead in sorted(leads, key=turn):
        groups[kind(lead)].append(lead)
    scarce = {key: sum(why_not(group[0], member) is None for member in members) for key, group in groups.items()}
    return [groups[key] for key in sorted(groups, key=lambda key: (scarce[key], key[0] or 0, key[1] or ""))]


def _blocks(group: Sequence[Lead], members: Sequence[Member], ceiling: int) -> Iterator[tuple[Member, Sequence[Lead]]]:
    rooms = [room(group[0], member, ceiling - member.lot_count) for member in members]

    def sizes(level: int) -> Iterator[int]:
        """How many each gets so that nobody has more than the level from this lot."""
        return (max(0, min(free, level - member.lot_count)) for member, free in zip(members, rooms, strict=True))

    level = bisect_left(range(ceiling), len(group), key=lambda level: sum(sizes(level)))
    start = 0
    for member, size in zip(members, sizes(level), strict=True):
        if block := group[start : start + size]:
            yield member, block
        start += size
