"""Members in line for leads: for policies where an order of the members alone decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from typing import Any

from services.assigner.eligibility import Kind, kinds, mismatch, standing, why_not
from services.assigner.facts import Lead, Member
from services.assigner.roster import Roster

#: Where a member stands: the smallest is the first in line. The second is the agent's id, so that no two are equal.
Place = tuple[int, int]


class Lines:
    """One line for each kind of lead; who has received moves back in every line when it comes to the front.

    Holds as long as receiving never moves a member forward and never makes it eligible.
    """

    def __init__(self, members: Sequence[Member], place: Callable[[Member, Any], Place], params: Any) -> None:
        """Line members up by their `place`, which `params` has a say in, or go on from how a roster has them."""
        self.order = place, params
        #: Who has received, as it was before.
        self.before: dict[int, Member] = {}
        self._lines: dict[Kind, list[Place]] = {}
        known = members.lines if isinstance(members, Roster) else None
        if known is not None and known.order == self.order:
            self._now, self._kind, self._known = known.handover()
        else:
            self._now, self._kind, self._known = {member.agent_id: member for member in members}, kinds(members), {}

    def handover(self) -> tuple[dict[int, Member], Callable[[Lead], Kind], Mapping[Kind, Sequence[Place]]]:
        """Give the members as they are now, what tells kinds apart, and all lines. Nothing is given from here then."""
        return dict(self._now), self._kind, {**self._known, **self._lines}

    def give(self, lead: Lead) -> int | None:
        """Give the lead to the first in line who may get it, or to nobody."""
        front = self._front(self._line(lead), lambda member: why_not(lead, member) is not None)
        if front is None:
            return None
        self.before.setdefault(front.agent_id, front)
        self._now[front.agent_id] = front.after([lead])
        return front.agent_id

    def boundary(self) -> Mapping[int | None, Place | None]:
        """Per business line of the leads given so far: the first in line of those who have received nothing."""
        found: dict[int | None, Place | None] = {}
        for (business_line_id, _), line in self._lines.items():
            rest = [found.get(business_line_id), self._first_without(line)]
            found[business_line_id] = min((place for place in rest if place is not None), default=None)
        return found

    def _first_without(self, line: list[Place]) -> Place | None:
        """The first in line of those who have received nothing: whoever else is before it is taken out of a copy."""
        first = self._front(list(line), lambda member: member.agent_id in self.before or standing(member) is not None)
        return None if first is None else self._place(first)

    def _line(self, lead: Lead) -> list[Place]:
        kind = self._kind(lead)
        if kind not in self._lines:
            self._lines[kind] = list(self._known[kind]) if kind in self._known else self._lined_up(lead)
        return self._lines[kind]

    def _lined_up(self, lead: Lead) -> list[Place]:
        line = [self._place(member) for member in self._now.values() if mismatch(lead, member) is None]
        heapify(line)
        return line

    def _place(self, member: Member) -> Place:
        place, params = self.order
        return place(member, params)

    def _front(self, line: list[Place], is_out: Callable[[Member], bool]) -> Member | None:
        """The first in line as it stands now: a place in the line may be one from before its member received."""
        while line:
            member = self._now[line[0][1]]
            if is_out(member):
                heappop(line)
            elif line[0] != (now := self._place(member)):
                heapreplace(line, now)
            else:
                return member
        return None
