"""Lowest count first (auto-assign seed, `get_fairest_cre_for_source`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from typing import Any

from services.assigner.eligibility import mismatch, standing
from services.assigner.facts import Lead, Member, place
from services.assigner.policies.choices import Answer, Choice

ALGORITHM = "fair/1"


def fair(leads: Sequence[Lead], members: Sequence[Member], params: Mapping[str, Any]) -> Answer:
    """Give each lead to the eligible member with the lowest count; ties go to the smaller agent id.

    Leads of one store, members one row an agent. `params["count"]`: `route` counts what was received on this route
    (default), `agent` what was received over all, as the seed does. Members that are eligible for the same leads end at
    most one apart, or as far as they began.
    """
    round_ = _Round(members, params)
    choices = [Choice(lead.id, round_.give(lead)) for lead in leads]
    return Answer(choices, round_.before, round_.boundary())


class _Round:
    """Members in line for each business line; who has received moves back in every line when it comes to the front."""

    def __init__(self, members: Sequence[Member], params: Mapping[str, Any]) -> None:
        self._members = {member.agent_id: member for member in members if standing(member) is None}
        self._params = params
        self._lines: dict[int | None, list[tuple[int, int]]] = {}
        self._counts: dict[int, int] = {}
        self.before: dict[int, int] = {}

    def give(self, lead: Lead) -> int | None:
        line = self._lines.get(lead.business_line_id)
        if line is None:
            line = [place(member, self._params) for member in self._members.values() if mismatch(lead, member) is None]
            heapify(line)
            self._lines[lead.business_line_id] = line
        if (front := self._front(line)) is None:
            return None
        count, agent_id = front
        self.before.setdefault(agent_id, count)
        self._counts[agent_id] = count + 1
        if (member := self._members[agent_id]).is_limited:
            self._members[agent_id] = member.after(1)
        return agent_id

    def boundary(self) -> dict[int | None, tuple[int, int] | None]:
        return {
            business_line_id: min((each for each in line if each[1] not in self.before), default=None)
            for business_line_id, line in self._lines.items()
        }

    def _front(self, line: list[tuple[int, int]]) -> tuple[int, int] | None:
        """The first in line as it stands now: a place in the line may be one from before its member received."""
        while line:
            count, agent_id = line[0]
            member = self._members[agent_id]
            if member.is_limited and standing(member) is not None:
                heappop(line)
            elif count != (now := self._counts.get(agent_id, count)):
                heapreplace(line, (now, agent_id))
            else:
                return line[0]
        return None
