"""Giving by weight: who has none never gets a lead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from services.assigner.eligibility import Kind, kinds, mismatch, why_not
from services.assigner.facts import Lead, Member
from services.assigner.policies.choices import Choice

NO_WEIGHT = "no eligible member has a weight"


class Pool(Protocol):
    """The members that have a weight and may get leads of one kind."""

    def pick(self, lead: Lead) -> Member | None:
        """Choose who gets the next lead; nobody if the pool is empty."""

    def update(self, member: Member) -> None:
        """Take note that a member, of this pool or not, has received; drop it if it may get no more."""


T = TypeVar("T", bound=Pool)


class Pools(Generic[T]):
    """One pool for each kind of lead; who receives in one is known in all."""

    def __init__(self, members: Sequence[Member], new: Callable[[Lead, Sequence[Member]], T]) -> None:
        self._all = members
        self._weighted = {member.agent_id: member for member in members if member.weight > 0}
        self._new = new
        self._kind = kinds(members)
        self._reasons: dict[Kind, str | None] = {}
        self.of: dict[Kind, T] = {}
        #: Who has received, as it was before.
        self.before: dict[int, Member] = {}

    def give(self, lead: Lead) -> Choice:
        """Give the lead to whom its pool picks."""
        kind = self._kind(lead)
        if kind not in self.of:
            eligible = [member for member in self._weighted.values() if why_not(lead, member) is None]
            self.of[kind] = self._new(lead, eligible)
            self._reasons[kind] = _reason(lead, self._all)
        if (picked := self.of[kind].pick(lead)) is None:
            return Choice(lead.id, reason=self._reasons[kind])
        self._receive(picked, lead)
        return Choice(lead.id, picked.agent_id)

    def _receive(self, member: Member, lead: Lead) -> None:
        self.before.setdefault(member.agent_id, member)
        self._weighted[member.agent_id] = after = member.after([lead])
        for pool in self.of.values():
            pool.update(after)


def _reason(lead: Lead, members: Sequence[Member]) -> str | None:
    """Say NO_WEIGHT if weight 0 alone can keep all from a lead; None where eligibility has a reason to tell."""
    if any(member.weight > 0 and mismatch(lead, member) is None for member in members):
        return None
    return NO_WEIGHT if any(why_not(lead, member) is None for member in members) else None
