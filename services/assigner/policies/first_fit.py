"""The first in a fixed order (lead-assignment seed, `assign_leads_to_sellers`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.assigner.facts import Lead, Member
from services.assigner.policies.choices import Answer, Choice, route_counts
from services.assigner.policies.lines import Lines, Place
from services.assigner.policies.params import Params

ALGORITHM = "first_fit/1"


@dataclass(frozen=True, slots=True)
class FirstFitParams(Params):
    """Nothing of its own."""


def first_fit(leads: Sequence[Lead], members: Sequence[Member], params: FirstFitParams) -> Answer:
    """Give each lead, in their order, to the eligible member with the lowest priority; ties to the smaller agent id."""
    lines = Lines(members, place)
    choices = [Choice(lead.id, lines.give(lead)) for lead in leads]
    return Answer(choices, route_counts(lines.before.values()))


def place(member: Member) -> Place:
    return member.priority, member.agent_id
