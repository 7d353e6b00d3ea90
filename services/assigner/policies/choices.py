"""What a policy answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Choice:
    """A lead's agent; None if nobody may get it, with a reason where that is the policy's own."""

    lead_id: int
    agent_id: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A choice for every lead, in their order; the counters that decided; and what proves that all others lost."""

    choices: Sequence[Choice]
    #: Per agent chosen: the counter before.
    read: Mapping[int, int] = field(default_factory=dict)
    #: Per business line of the leads: the best eligible that was not chosen, as (count, agent id). All who got a lead
    #: of that line stood before it, every other eligible member stands behind it. None: nobody eligible was left.
    boundary: Mapping[int | None, tuple[int, int] | None] = field(default_factory=dict)
