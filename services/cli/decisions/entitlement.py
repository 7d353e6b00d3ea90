"""What each member of a route was entitled to, and why it missed what it missed. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import sqrt

from msgspec.structs import replace

from services.assigner.eligibility import Kind, WhyNot, for_store, kinds, why_not
from services.assigner.facts import Lead, Member
from services.cli.decisions.history import Decision, Version
from services.cli.decisions.replay import Replay

#: Whose weights are their shares; under all others shares are equal.
WEIGHTED = frozenset({"weighted_random", "smooth_weighted"})


class Cause(StrEnum):
    """Why a member missed its share of a lead."""

    NOT_ELIGIBLE = "not eligible"
    CAPPED = "capped"
    INACTIVE = "inactive"
    JOINED_LATER = "joined later"


CAUSES: Mapping[WhyNot, Cause] = {
    WhyNot.INACTIVE: Cause.INACTIVE,
    WhyNot.DISABLED: Cause.INACTIVE,
    WhyNot.OTHER_BUSINESS_LINE: Cause.NOT_ELIGIBLE,
    WhyNot.OTHER_STORE: Cause.NOT_ELIGIBLE,
    WhyNot.FULL: Cause.CAPPED,
    WhyNot.DAILY_CAP: Cause.CAPPED,
    WhyNot.EXISTING_CAP: Cause.CAPPED,
    WhyNot.NEW_CAP: Cause.CAPPED,
}


@dataclass
class Account:
    """A member's: what its policy gave it, what it was entitled to, what it missed, what a person gave it."""

    entitled: float = 0.0
    received: int = 0
    by_hand: int = 0
    missed: dict[Cause, float] = field(default_factory=lambda: dict.fromkeys(Cause, 0.0))
    #: Of what chance may do: the sum of p·(1 - p).
    variance: float = 0.0
    #: The same for members that were eligible for the same leads, and began alike.
    signature: int = 0

    @property
    def deviation(self) -> float:
        return self.received - self.entitled

    @property
    def deviations(self) -> float:
        """How many standard deviations it is off what chance is expected to give."""
        return abs(self.deviation) / sqrt(self.variance) if self.variance > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """Leads given one after another while the same members were eligible."""

    leads: int
    eligible: Mapping[int, int]
    barred: Mapping[int, tuple[Cause, int]]


class Entitlement:
    """Shares each lead that a policy gave among those who were eligible for it; `agent_ids`: the members of today."""

    def __init__(self, policy: str, members: Collection[Member]) -> None:
        self.accounts: dict[int, Account] = defaultdict(Account)
        self.is_weighted = policy in WEIGHTED
        self._policy = policy
        self._today = {member.agent_id: self._weight(member) for member in members}
        self._version = 0
        self._members: frozenset[int] = frozenset()
        self._runs = 0
        self._since: Counter[int] = Counter()
        self._among: Mapping[int, int] | None = None
        #: The most that one was off its weight's share while the same members were eligible, from a version's start.
        self.furthest = 0.0
        #: The most that anybody received in one decision.
        self.most_at_once = 0

    def take(self, version: Version, decision: Decision, replay: Replay) -> None:
        """Take a decision that is about to be counted in the replay."""
        self._enter(version, replay)
        given = Counter(decision.given.values())
        if not decision.is_by_policy:
            for agent_id, leads in given.items():
                account = self.accounts[agent_id]
                account.by_hand += leads
                account.signature = hash((account.signature, "by hand", decision.id))
            self._among = None
            return
        self.most_at_once = max(self.most_at_once, *given.values(), 0)
        for run in self._runs_of(version, decision, replay):
            self._share(run)
        for agent_id, leads in given.items():
            self.accounts[agent_id].received += leads
        self._since.update(given)
        if self._among:
            self._measure(self._among)

    def _enter(self, version: Version, replay: Replay) -> None:
        """A policy is held to its promise from when it began; who had received as much by then began alike."""
        if self._version == version.number:
            return
        if version.route.policy != self._policy or not self._version:
            for agent_id in self._today:
                begun = replay.received[agent_id] + int(version.starts.get(str(agent_id), 0))
                self.accounts[agent_id].signature = hash(("begun with", begun))
        self._version = version.number
        self._members = frozenset(row.agent_id for row in version.members)
        self._since.clear()
        self._among = {}

    def _runs_of(self, version: Version, decision: Decision, replay: Replay) -> Iterator[Run]:
        members = list(replay.members(version, decision))
        leads = iter(decision.leads({}))
        for answer in decision.answers:
            rows = {row.agent_id: row for row in for_store(members, answer.store_code)}
            yield from self._runs_of_answer(decision, [next(leads) for _ in answer.leads], rows)
            members = [_as_left(each, rows) for each in members]

    def _runs_of_answer(self, decision: Decision, leads: Sequence[Lead], rows: dict[int, Member]) -> Iterator[Run]:
        kind = kinds(rows.values())
        open_runs: dict[Kind, tuple[Lead, int]] = {}
        for lead in leads:
            if (agent_id := decision.given.get(lead.id)) is None:
                continue
            first, number = open_runs.get(kind(lead), (lead, 0))
            open_runs[kind(lead)] = first, number + 1
            row = rows.get(agent_id)
            if row is None:
                continue
            after = row.after([lead])
            if any(why_not(each, row) != why_not(each, after) for each, _ in open_runs.values()):
                yield from (self._run(each, count, rows) for each, count in open_runs.values())
                open_runs.clear()
            rows[agent_id] = after
        yield from (self._run(each, count, rows) for each, count in open_runs.values())

    def _run(self, lead: Lead, number: int, rows: Mapping[int, Member]) -> Run:
        eligible: dict[int, int] = {}
        barred: dict[int, tuple[Cause, int]] = {}
        for agent_id, row in rows.items():
            if (why := why_not(lead, row)) is None:
                eligible[agent_id] = self._weight(row)
            else:
                barred[agent_id] = CAUSES[why], self._weight(row)
        return Run(number, eligible, barred)

    def _share(self, run: Run) -> None:
        self._runs += 1
        whole = sum(run.eligible.values())
        for agent_id, weight in run.eligible.items():
            share = weight / whole if whole else 0.0
            self.accounts[agent_id].entitled += run.leads * share
            self.accounts[agent_id].variance += run.leads * share * (1 - share)
        everybody = whole + sum(weight for _, weight in run.barred.values())
        for agent_id, (cause, weight) in run.barred.items():
            self._miss(agent_id, cause, run.leads * weight / everybody if everybody else 0.0)
        for agent_id, weight in self._today.items():
            if agent_id not in run.eligible and agent_id not in run.barred:
                cause = Cause.NOT_ELIGIBLE if agent_id in self._members else Cause.JOINED_LATER
                self._miss(agent_id, cause, run.leads * weight / (everybody + weight) if weight else 0.0)
        if self._among == {}:
            self._among = run.eligible
        elif self._among != run.eligible:
            self._among = None

    def _miss(self, agent_id: int, cause: Cause, leads: float) -> None:
        account = self.accounts[agent_id]
        account.missed[cause] += leads
        account.signature = hash((account.signature, self._runs))

    def _measure(self, among: Mapping[int, int]) -> None:
        number, whole = sum(self._since[agent_id] for agent_id in among), sum(among.values())
        if whole:
            off = (abs(self._since[agent_id] - number * weight / whole) for agent_id, weight in among.items())
            self.furthest = max(self.furthest, *off, 0.0)

    def _weight(self, row: Member) -> int:
        return row.weight if self.is_weighted else 1


def _as_left(member: Member, rows: Mapping[int, Member]) -> Member:
    """Give a row as an answer left it: its agent's rows share all but the row's own counts."""
    row = rows.get(member.agent_id)
    if row is None:
        return member
    if row.store_code == member.store_code:
        return row
    return replace(member, assigned_count=row.assigned_count, agent_count=row.agent_count, open_load=row.open_load)
