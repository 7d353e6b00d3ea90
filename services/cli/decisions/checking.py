"""A route's decisions taken again, one by one, and held against what is stored. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.assigner.deciding import Decided
from services.assigner.eligibility import Unassigned
from services.cli.decisions.differences import Choice, Difference, Names, Opinions, agent
from services.cli.decisions.history import Answered, Decision, Version
from services.cli.decisions.replay import Replay, ReplayError

#: Why a lead waits that its policy was not asked about.
BARRIERS = frozenset(each.value for each in (Unassigned.STORE, Unassigned.LOT, Unassigned.STAGE, Unassigned.AGE))
#: By decision and lead, whose the assignment is where that is not as the decision is stored.
Misfits = Mapping[int, Mapping[int, int | None]]


class Check:
    """Says what differs in each decision, and goes on with what two of three agree on."""

    def __init__(self, route_id: int, names: Names, misfits: Misfits) -> None:
        self.replay = Replay()
        self.decisions = 0
        self.leads = 0
        self.assigned = 0
        #: The decisions met whose assignments are not as decided.
        self.misfits_met: set[int] = set()
        self._route = names.route(route_id)
        self._names = names
        self._misfits = misfits
        self._sequence = 0

    def reach(self, sequence: int) -> Iterator[Difference]:
        """Go on to the next number that a version or a decision is stored under; at the end, to past the route's."""
        if (first := self._sequence + 1) < sequence:
            missing = f"{first}" if first == sequence - 1 else f"{first} to {sequence - 1}"
            yield Difference("gap", f"nothing is stored under {missing} of the route's sequence", self._route)
        self._sequence = sequence

    def take(self, version: Version | None, decision: Decision, texts: Mapping[int, str]) -> Iterator[Difference]:
        """Take the next decision again; `version` is the one in force by the sequence."""
        self.decisions += 1
        self.leads += len(decision.choices)
        self.assigned += len(decision.given)
        if decision.id in self._misfits:
            self.misfits_met.add(decision.id)
        if version is None or version.number != decision.version:
            number = version.number if version else "none"
            yield self._of(decision, "version", f"is stored under version {decision.version}; in force was {number}")
        if version is None:
            return
        expected: Mapping[int, Choice] = decision.choices
        try:
            again = self._again(version, decision, texts)
        except ReplayError as error:
            yield self._of(decision, "rule", str(error))
        else:
            expected = _expected(decision, again)
            if decision.is_by_policy:
                yield from self._what_was_read(decision, again)
        given = decision.given
        if expected != decision.choices or decision.id in self._misfits:
            opinions = self._opinions(decision, expected)
            yield from self._at_odds(decision, opinions)
            given = {lead_id: who for lead_id, each in opinions.items() if (who := each.truth) is not None}
        self.replay.move(version, decision, given)

    def _again(self, version: Version, decision: Decision, texts: Mapping[int, str]) -> Decided:
        if decision.is_by_policy or decision.is_manual:
            return self.replay.again(version, decision, texts)
        return Decided(decision.algorithm)

    def _opinions(self, decision: Decision, expected: Mapping[int, Choice]) -> dict[int, Opinions]:
        rows = self._misfits.get(decision.id, {})
        stored = decision.choices
        return {
            lead_id: Opinions(stored.get(lead_id), expected.get(lead_id), rows.get(lead_id, agent(stored.get(lead_id))))
            for lead_id in sorted(stored.keys() | expected.keys() | rows.keys())
        }

    def _at_odds(self, decision: Decision, opinions: Mapping[int, Opinions]) -> Iterator[Difference]:
        for lead_id, each in opinions.items():
            if (words := each.words(self._names)) is not None:
                yield self._of(decision, each.what, words, lead_id)

    def _what_was_read(self, decision: Decision, again: Decided) -> Iterator[Difference]:
        answers = again.facts["answers"]
        if len(answers) != len(decision.answers):
            words = f"asked its rule about {len(decision.answers)} stores; taken again it is {len(answers)}"
            yield self._of(decision, "answers", words)
            return
        for stored, now in zip(decision.answers, answers, strict=True):
            yield from self._counters(decision, stored, now["read"])
            yield from self._boundaries(decision, stored.boundary, now["boundary"])

    def _counters(self, decision: Decision, stored: Answered, now: Mapping[int, int]) -> Iterator[Difference]:
        was = {int(agent_id): count for agent_id, count in stored.read.items()}
        if was == now:
            return
        for agent_id in sorted(was.keys() | now.keys()):
            if was.get(agent_id) != now.get(agent_id):
                words = f"read {_count(was.get(agent_id))} for {self._names.agent(agent_id)}"
                yield self._of(decision, "read", f"{words}; taken again it is {_count(now.get(agent_id))}")

    def _boundaries(
        self, decision: Decision, stored: Sequence[Sequence[Any]], now: Sequence[Sequence[Any]]
    ) -> Iterator[Difference]:
        was, is_now = _places(stored), _places(now)
        for line in was | is_now:
            if was.get(line) != is_now.get(line):
                words = f"names {self._names.place(was.get(line))} as the best who got nothing"
                again = f"taken again it is {self._names.place(is_now.get(line))}"
                yield self._of(decision, "boundary", f"{words}; {again}")

    def _of(self, decision: Decision, what: str, words: str, lead_id: int | None = None) -> Difference:
        return Difference(what, words, self._route, decision.id, lead_id)


def _expected(decision: Decision, again: Decided) -> dict[int, Choice]:
    """Give what comes out again. Of leads that nobody was asked about, only that they wait can be right."""
    found: dict[int, Choice] = {int(lead_id): choice for lead_id, choice in again.choices.items()}
    for lead_id, choice in decision.choices.items():
        if lead_id not in found and isinstance(choice, str) and (choice in BARRIERS or not decision.is_by_policy):
            found[lead_id] = choice
    return found


def _places(boundary: Sequence[Sequence[Any]]) -> dict[int | None, tuple[int, int] | None]:
    return {line: (place[0], place[1]) if place is not None else None for line, place in boundary}


def _count(count: int | None) -> str:
    return "no count" if count is None else f"{count:,}"
