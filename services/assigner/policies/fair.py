"""Lowest count first (auto-assign seed, `get_fairest_cre_for_source`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import Any

from services.assigner.eligibility import mismatch, reason, standing
from services.assigner.facts import Lead, Member
from services.assigner.policies.choices import Answer, Choice

ALGORITHM = "fair/1"


def fair(leads: Sequence[Lead], members: Sequence[Member], params: Mapping[str, Any]) -> Answer:
    """Give each lead to the eligible member with the lowest count; ties go to the smaller agent id.

    `params["count"]`: `route` counts what was received on this route (default), `agent` what was received over all, as
    the seed does. Members that are eligible for the same leads end at most one apart from where they began.
    """
    by_agent = params.get("count", "route") == "agent"
    now = {member.agent_id: member for member in members}
    heap = [
        (member.agent_count if by_agent else member.assigned_count, member.agent_id)
        for member in members
        if standing(member) is None
    ]
    heapify(heap)
    before = dict[int, int]()
    choices = []
    for lead in leads:
        passed_over = []
        chosen: int | None = None
        while heap:
            count, agent_id = heappop(heap)
            if mismatch(lead, now[agent_id]) is not None:
                passed_over.append((count, agent_id))
                continue
            chosen = agent_id
            before.setdefault(agent_id, count)
            now[agent_id] = _with_one_more(now[agent_id])
            if standing(now[agent_id]) is None:
                heappush(heap, (count + 1, agent_id))
            break
        for entry in passed_over:
            heappush(heap, entry)
        choices.append(Choice(lead.id, chosen, None if chosen is not None else reason(lead, now.values())))
    unchosen = [entry for entry in heap if entry[1] not in before]
    return Answer(choices, before, min(unchosen, default=None))


def _with_one_more(member: Member) -> Member:
    return replace(
        member,
        assigned_count=member.assigned_count + 1,
        agent_count=member.agent_count + 1,
        day_count=member.day_count + 1,
        open_load=member.open_load + 1,
    )
