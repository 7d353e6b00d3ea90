"""A route's past taken by another policy, beside the way it went. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from services.assigner.deciding import decide_by
from services.assigner.eligibility import standing
from services.assigner.facts import Lead, Member
from services.assigner.policies import Policy
from services.assigner.policies.params import Params
from services.cli.decisions.history import Decision, Version
from services.cli.decisions.replay import Replay, rows_given


@dataclass
class Course:
    """One way that leads may go: who has which, how many each has open, who was given how many."""

    replay: Replay = field(default_factory=Replay)
    owners: dict[int, int] = field(default_factory=dict)
    open: Counter[int] = field(default_factory=Counter)
    #: Per lead that waits, why, as this course has it.
    reasons: dict[int, str] = field(default_factory=dict)
    #: Since the comparison began.
    received: Counter[int] = field(default_factory=Counter)
    ever: set[int] = field(default_factory=set)
    caps_hit: int = 0

    def give(self, version: Version, decision: Decision, members: Sequence[Member], given: Mapping[int, int]) -> None:
        """Give leads to agents by a decision whose members these were."""
        self.caps_hit += _hits(version, decision, members, given)
        self.replay.move(version, decision, given)
        self.owners |= given
        self.open.update(given.values())
        self.received.update(given.values())
        self.ever |= given.keys()

    def release(self, lead_id: int, *, was_open: bool) -> None:
        """Take a lead back from whoever has it."""
        if (agent_id := self.owners.pop(lead_id, None)) is not None and was_open:
            self.open[agent_id] -= 1

    def begin(self) -> None:
        """Count from here on."""
        self.received.clear()
        self.ever.clear()
        self.caps_hit = 0


class WhatIf:
    """History, and another policy over the same leads, in the same batches, on the same days.

    Loads move by its own assignments and by the closes that are on record. From where it first decides otherwise, what
    it leaves waiting is offered again with each later batch: when history looked again says nothing any more.
    """

    def __init__(self, choose: Callable[[Version], tuple[Policy, Params]]) -> None:
        self.was = Course()
        self.would = Course()
        #: Leads that were decided on since the comparison began.
        self.seen: set[int] = set()
        self._choose = choose
        #: Left waiting by the other policy.
        self._waiting: dict[int, Lead] = {}
        self._differs = False
        self._closed: set[int] = set()
        self._version: Version | None = None
        #: With which counts members begin, where the other policy has them begin otherwise.
        self._starts: dict[int, int] | None = None

    def follow(self, version: Version, decision: Decision) -> None:
        """Take a decision before the comparison begins: both ways are one."""
        self._enter(version)
        for course in (self.was, self.would):
            self._take_back(course, decision)
            course.give(version, decision, (), decision.given)
        self._note(self.was, decision.choices)
        self._note(self.would, decision.choices)

    def take(self, version: Version, decision: Decision, texts: Mapping[int, str]) -> None:
        """Take a decision as it was, and let the other policy take it."""
        self._enter(version)
        if not self.seen:
            self.was.begin()
            self.would.begin()
        self.seen |= decision.choices.keys()
        taken = [lead_id for lead_id in decision.stores if lead_id in self.was.owners]
        for lead_id in taken:
            self.was.release(lead_id, was_open=lead_id not in self._closed)
            self.would.release(lead_id, was_open=lead_id not in self._closed)
        self._closed.difference_update(taken)
        met = self.was.replay.members(version, decision)
        if decision.is_by_policy:
            self._decide(version, decision, met, texts)
        else:
            self._by_hand(version, decision)
        self.was.give(version, decision, met, decision.given)
        self._note(self.was, decision.choices)

    def close(self, lead_id: int) -> None:
        """A lead's work ended: whoever has it has a place more."""
        self._waiting.pop(lead_id, None)
        if lead_id not in self._closed:
            self._closed.add(lead_id)
            for course in (self.was, self.would):
                if (agent_id := course.owners.get(lead_id)) is not None:
                    course.open[agent_id] -= 1

    def reopen(self, lead_id: int) -> None:
        """A lead's work goes on with whoever has it."""
        if lead_id in self._closed:
            self._closed.remove(lead_id)
            for course in (self.was, self.would):
                if (agent_id := course.owners.get(lead_id)) is not None:
                    course.open[agent_id] += 1

    def _decide(self, version: Version, decision: Decision, met: Sequence[Member], texts: Mapping[int, str]) -> None:
        policy, params = self._choose(version)
        members = self._members(version, decision, met)
        offered = self._offered(decision, members, texts)
        route = structs.replace(version.route, policy=policy.name)
        decided = decide_by(policy, params, route, offered, members, decision.moment)
        given = {each.lead.id: each.member.agent_id for each in decided.assigned}
        stores = {lead.id: lead.store_code for lead in offered}
        self.would.give(version, _with_stores(decision, stores), members, given)
        self._note(self.would, {int(key): choice for key, choice in decided.choices.items()})
        self._differs = self._differs or given != decision.given
        for lead_id in given:
            self._waiting.pop(lead_id, None)
        self._waiting |= {each.lead.id: structs.replace(each.lead, reason=each.reason) for each in decided.waiting}

    def _by_hand(self, version: Version, decision: Decision) -> None:
        """What people gave, they give here too."""
        given = decision.given
        for lead_id in given:
            self._waiting.pop(lead_id, None)
            self.would.release(lead_id, was_open=True)
        self.would.give(version, decision, (), given)

    def _offered(self, decision: Decision, members: Sequence[Member], texts: Mapping[int, str]) -> list[Lead]:
        """Give the leads that the other policy is asked about: the batch's, and before them those that it left."""
        left = self._waiting if self._differs and any(standing(member) is None for member in members) else {}
        batch = [lead for lead in decision.leads(texts) if lead.id not in self.would.owners and lead.id not in left]
        return [*left.values(), *(self._as_left(lead) for lead in batch)]

    def _as_left(self, lead: Lead) -> Lead:
        """Give a lead with the reason why it waits; if the other policy had one of its own, with that."""
        own = self.would.reasons.get(lead.id)
        return lead if own is None or own == self.was.reasons.get(lead.id) else structs.replace(lead, reason=own)

    def _members(self, version: Version, decision: Decision, met: Sequence[Member]) -> list[Member]:
        """Give the members as the other policy meets them: history's, moved by what went otherwise."""
        rows = self.would.replay.members(version, decision)
        return [self._member(row, was, decision) for row, was in zip(rows, met, strict=True)]

    def _member(self, row: Member, was: Member, decision: Decision) -> Member:
        agent_id = row.agent_id
        moved = self.would.replay.received[agent_id] - self.was.replay.received[agent_id]
        load = 0
        if row.max_load is not None:
            before = self.was.open[agent_id]
            known = decision.loads.get(agent_id, min(before, row.max_load - 1))
            load = max(0, known + self.would.open[agent_id] - before)
        return structs.replace(
            row,
            agent_count=was.agent_count + moved if was.agent_count else row.assigned_count,
            start_count=row.start_count if self._starts is None else self._starts.get(agent_id, 0),
            open_load=load,
        )

    def _enter(self, version: Version) -> None:
        """When a version begins, members begin as the other policy has them begin."""
        if self._version is version:
            return
        before, self._version = self._version, version
        policy, params = self._choose(version)
        if policy.name == version.route.policy:
            self._starts = None
        else:
            received = self.would.replay.received
            self._starts = begins(policy, params, before, version, received, self._starts or {})

    def _take_back(self, course: Course, decision: Decision) -> None:
        for lead_id in decision.stores:
            course.release(lead_id, was_open=lead_id not in self._closed)

    def _note(self, course: Course, choices: Mapping[int, int | str]) -> None:
        course.reasons |= {lead_id: choice for lead_id, choice in choices.items() if isinstance(choice, str)}


def begins(
    policy: Policy,
    params: Params,
    before: Version | None,
    version: Version,
    received: Mapping[int, int],
    starts: Mapping[int, int],
) -> dict[int, int]:
    """Give with which counts members begin in a version under a policy that the route did not have.

    A weighted rule begins anew; under `fair` who joins stands beside the others, as the parameter `newcomers` says.
    """
    active = _active(version)
    if policy.name == "smooth_weighted":
        return {agent_id: -received.get(agent_id, 0) for agent_id in active}
    if policy.name != "fair" or before is None or params.newcomers == "zero":
        return dict(starts)
    places = {agent_id: received.get(agent_id, 0) + starts.get(agent_id, 0) for agent_id in active}
    old = [places[agent_id] for agent_id in active & _active(before)]
    if not old:
        return dict(starts)
    beside = round(sum(old) / len(old)) if params.newcomers == "average" else min(old)
    joined = {agent_id for agent_id in active - _active(before) if places[agent_id] < beside}
    return dict(starts) | {agent_id: beside - received.get(agent_id, 0) for agent_id in joined}


def _active(version: Version) -> set[int]:
    return {row.agent_id for row in version.members if row.is_active and row.is_enabled}


def _with_stores(decision: Decision, stores: Mapping[int, str | None]) -> Decision:
    """Give the decision with the stores of leads that came to it late."""
    if stores.keys() <= decision.stores.keys():
        return decision
    late: list[dict[str, Any]] = [
        {"store": store, "leads": [[lead_id, None]], "read": {}, "boundary": []} for lead_id, store in stores.items()
    ]
    return replace(decision, facts={**decision.facts, "answers": late})


def _hits(version: Version, decision: Decision, members: Sequence[Member], given: Mapping[int, int]) -> int:
    """Count the limits that members reached in a decision: on open leads, on leads a day."""
    rows = Counter(rows_given(version, decision.stores, given))
    agents = Counter(given.values())
    hits = 0
    for member in members:
        if member.max_load is not None and member.agent_id in agents:
            hits += member.open_load < member.max_load <= member.open_load + agents[member.agent_id]
        if member.max_daily_leads is not None and (got := rows[member.agent_id, member.store_code or ""]):
            hits += member.day_count < member.max_daily_leads <= member.day_count + got
    return hits
