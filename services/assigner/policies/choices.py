"""What a policy answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Choice:
    """A lead's agent, or the reason why it has none."""

    lead_id: int
    agent_id: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A choice for every lead, in their order; the counters that decided; and the boundary that all others lost to."""

    choices: Sequence[Choice]
    #: Per agent chosen: the counter before.
    read: Mapping[int, int] = field(default_factory=dict)
    #: The best that was not chosen, as (count, agent id): every other member stands behind it.
    boundary: tuple[int, int] | None = None
