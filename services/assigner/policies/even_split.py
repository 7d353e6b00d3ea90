"""Equal shares of a lot up to a ceiling (agent-funnel seed, `sp_assign_wafunnel_to_agents`)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from msgspec import structs

from services.assigner.eligibility import Kind, caps_for, kinds, room, why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies.accounts import Account, Lost, Scene, Win
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
    answer = split(sorted(leads, key=turn), members, params)
    by_lead = {choice.lead_id: choice for choice in answer.choices}
    return replace(answer, choices=[by_lead[lead.id] for lead in leads])


def split(leads: Sequence[Lead], members: Sequence[Member], params: EvenSplitParams) -> Answer:
    """Do the same with the leads in the order given."""
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
    """Leads of one kind together, in their order; those that the fewest may get first."""
    kind = kinds(members)
    groups: dict[Kind, list[Lead]] = defaultdict(list)
    for lead in leads:
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


def won(scene: Scene, winner: Member) -> str:
    group = _group(scene, scene.members)
    places = _block(group, scene.owners, winner)
    at = group.index(scene.lead) + 1
    return f"place {at} of {len(group)} in the order, in its block of {len(places)} from place {places[0] + 1}"


def lost(scene: Scene, member: Member) -> Lost:
    group = _group(scene, scene.members)
    places = _block(group, scene.owners, member)
    at = group.index(scene.lead) + 1
    if not places:
        return _why_no_block(scene, member)
    return Lost("other_block", f"its block is of places {places[0] + 1} to {places[-1] + 1}, the lead's is {at}")


def to_win(scene: Scene, member: Member) -> Win | str:
    """Have a block, with higher caps if need be, and let the lead stand at its nearer end."""
    tried = partial(_with_room, scene, member)
    places, caps = tried(0)
    if not places:
        places, caps = tried(bisect_left(range(len(scene.leads)), True, key=lambda more: bool(tried(more)[0])))
    if not places:
        return _why_no_block(scene, member).words
    at = _group(scene, scene.members).index(scene.lead)
    nearest = min(places, key=lambda place: abs(place - at))
    return Win(caps, nearest + 1 if nearest != at else None)


def _with_room(scene: Scene, member: Member, more: int) -> tuple[list[int], Mapping[str, int]]:
    """Split again with room for that many more leads: the member's places, from 0, and the caps that it needs then."""
    caps = caps_for(scene.lead, member, _after(scene, scene.owners, member).after([scene.lead] * more))
    raised: dict[str, Any] = {**caps}
    changed = structs.replace(member, **raised)
    members = [changed if other.agent_id == member.agent_id else other for other in scene.members]
    answer = scene.answer if members == list(scene.members) else even_split(scene.leads, members, scene.params)
    owners = {choice.lead_id: choice.agent_id for choice in answer.choices}
    needed = caps_for(scene.lead, member, _after(scene, owners, member))
    return _block(_group(scene, members), owners, member), needed


def moved(leads: Sequence[Lead], members: Sequence[Member], lead: Lead, place: int) -> list[Lead]:
    """Give the order that the leads have with one of them at another place, from 1, among those of its kind."""
    kind = kinds(members)
    others = sorted((other for other in leads if other.id != lead.id), key=turn)
    alike = [at for at, other in enumerate(others) if kind(other) == kind(lead)]
    at = alike[place - 1] if place <= len(alike) else len(others)
    return [*others[:at], lead, *others[at:]]


def _group(scene: Scene, members: Sequence[Member]) -> list[Lead]:
    """The leads of the lead's kind, in their order."""
    kind = kinds(members)
    return sorted((lead for lead in scene.leads if kind(lead) == kind(scene.lead)), key=turn)


def _block(group: Sequence[Lead], owners: Mapping[int, int | None], member: Member) -> list[int]:
    return [at for at, lead in enumerate(group) if owners[lead.id] == member.agent_id]


def _after(scene: Scene, owners: Mapping[int, int | None], member: Member) -> Member:
    return member.after([lead for lead in scene.leads if owners[lead.id] == member.agent_id])


def _why_no_block(scene: Scene, member: Member) -> Lost:
    ceiling = scene.params.ceiling
    after = _after(scene, scene.owners, member)
    if after.lot_count >= ceiling:
        return Lost("at_ceiling", f"has the lot's ceiling of {ceiling} already")
    if (why := why_not(scene.lead, after)) is not None:
        return Lost(why.code, f"{why.value} with leads of other kinds")
    return Lost("no_block", "the leads were used up before its turn")


ACCOUNT = Account(won, lost, to_win)
