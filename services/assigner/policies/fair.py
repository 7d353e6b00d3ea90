"""Lowest count first (auto-assign seed, `get_fairest_cre_for_source`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from services.assigner.facts import Lead, Member
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
    lines = Lines(members, partial(place, params=params))
    choices = [Choice(lead.id, lines.give(lead)) for lead in leads]
    read = {agent_id: place(member, params)[0] for agent_id, member in lines.before.items()}
    return Answer(choices, read, lines.boundary())


def place(member: Member, params: FairParams) -> Place:
    """Where a member stands in line: who has received less comes first, then the smaller id."""
    count = member.agent_count if params.count == "agent" else member.assigned_count
    return count + member.start_count, member.agent_id
