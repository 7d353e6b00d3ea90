"""How a replay goes on: first 1, then 5, 20, 100, then the rest; no further when too many fail again. Pure.

Each step waits until all that was sent has come to an end. Who goes on after an interruption trusts what is through
already; after a stop nothing is trusted: what stopped it may still be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

STEPS = (1, 5, 20, 100)
_ENDS = tuple(accumulate(STEPS))
#: Share of the settled that may have failed again.
FAILED_AT_MOST = 0.1
#: After the steps so many may be on their way: more would hide how the last ones fare.
UNDER_WAY_AT_MOST = 2_000


@dataclass(frozen=True, slots=True)
class Tally:
    """Where a replay stands: messages to be sent, on their way, and what this run has seen of the others."""

    waiting: int
    under_way: int = 0
    through: int = 0
    failed: int = 0
    #: Through before this run, and trusted.
    trusted: int = 0

    @property
    def position(self) -> int:
        """How many have been sent so far, as far as they count for the steps."""
        return self.trusted + self.through + self.failed + self.under_way

    @property
    def fails(self) -> bool:
        """Whether more than a tenth of those that are settled failed again."""
        return self.failed > FAILED_AT_MOST * (self.trusted + self.through + self.failed)


@dataclass(frozen=True, slots=True)
class Send:
    """Send so many at most. `is_step`: all at once, then wait; else at the rate."""

    messages: int
    is_step: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again when something may have settled."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Too many failed again: send no more."""


@dataclass(frozen=True, slots=True)
class Done:
    """Everything was sent and has come to an end."""


Move = Send | Wait | Stop | Done


def next_move(tally: Tally) -> Move:
    """Say what a replay does next."""
    if tally.fails:
        return Stop()
    if tally.waiting == 0:
        return Wait() if tally.under_way else Done()
    end = next((end for end in _ENDS if tally.position < end), None)
    if tally.position in (0, *_ENDS) and tally.under_way:
        return Wait()
    if end is not None:
        return Send(end - tally.position, is_step=True)
    room = UNDER_WAY_AT_MOST - tally.under_way
    return Send(room, is_step=False) if room > 0 else Wait()
