"""What a replay would do to a message now: the four answers of a preview, counted by group. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.deadletters.grouping import skeleton

#: Different reasons kept for each group: one message of each is shown, the others are counted.
REASONS_MAX = 20


class Outcome(StrEnum):
    """Whether a message would go through."""

    THROUGH = "would go through"
    FAILS = "would fail again"
    DONE = "has no effect any more"
    #: Rows that it needs are held: nothing can be told without holding somebody up.
    BUSY = "could not be told"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer, and what makes it so."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a group. `example` is one of its messages."""

    outcome: str
    reason: str
    messages: int
    example: int


@dataclass(frozen=True, slots=True)
class GroupPreview:
    """What a replay would do to a group now."""

    group: str
    messages: int
    would_go_through: int
    would_fail_again: int
    has_no_effect: int
    could_not_be_told: int
    reasons: Sequence[Reason]


@dataclass(slots=True)
class Sum:
    """The verdicts on a group so far; however many messages, it stays small."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: dict[tuple[Outcome, str], Reason] = field(default_factory=dict)

    def add(self, row_id: int, verdict: Verdict) -> None:
        self.outcomes[verdict.outcome] += 1
        kind = verdict.outcome, skeleton(verdict.reason)
        if kind not in self.reasons and len(self.reasons) >= REASONS_MAX:
            kind = verdict.outcome, "other reasons"
        known = self.reasons.get(kind) or Reason(verdict.outcome.value, verdict.reason, 0, row_id)
        self.reasons[kind] = Reason(known.outcome, known.reason, known.messages + 1, known.example)

    def group(self, name: str) -> GroupPreview:
        return GroupPreview(
            group=name,
            messages=self.outcomes.total(),
            would_go_through=self.outcomes[Outcome.THROUGH],
            would_fail_again=self.outcomes[Outcome.FAILS],
            has_no_effect=self.outcomes[Outcome.DONE],
            could_not_be_told=self.outcomes[Outcome.BUSY],
            reasons=sorted(self.reasons.values(), key=lambda reason: -reason.messages),
        )
