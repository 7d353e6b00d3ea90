"""What a policy answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from services.assigner.facts import Member
from services.assigner.policies.lines import Lines


class Choice(Struct, frozen=True):
    """A lead's agent; None if nobody may get it, with a reason where that is the policy's own."""

    lead_id: int
    agent_id: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A choice for every lead, in the order they were given; the counters that decided; the best who got nothing."""

    choices: Sequence[Choice]
    #: Per agent chosen: the counter before.
    read: Mapping[int, int] = field(default_factory=dict)
    #: Per business line of the leads, where counts decide: the best eligible that was not chosen, as (count, agent id).
    #: None: nobody eligible was left. Under `fair` it proves that all others lost: all who got a lead of that line
    #: stood before it, every other eligible member stands behind it.
    boundary: Mapping[int | None, tuple[int, int] | None] = field(default_factory=dict)
    #: The members' lines as they are after it, where the policy has such: with these it goes on from there.
    lines: Lines | None = field(default=None, compare=False, repr=False)


def route_counts(before: Iterable[Member]) -> dict[int, int]:
    """Give what to answer as `read` for chosen members, as they were before, where the route's own leads count."""
    return {member.agent_id: member.route_count for member in before}
