"""One after another up to their caps, the newest leads first (leads-assignment seed §4.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from services.assigner.eligibility import Kind, kinds, why_not
from services.assigner.facts import Lead, Member
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
