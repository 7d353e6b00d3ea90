"""Why a lead went where it went: who got it and why, why each other did not, and what would have had to be otherwise.

Pure. Every change it names was tried: the policy was run with it, and the member won; with a number in it a step
smaller, and it lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from services.assigner import eligibility
from services.assigner.facts import Lead, Member
from services.assigner.policies import ALGORITHMS, Policy, even_split
from services.assigner.policies.accounts import Lost, Scene
from services.assigner.policies.choices import Answer
from services.assigner.policies.params import Params


@dataclass(frozen=True, slots=True)
class Change:
    """The smallest change that would have made a member win a lead, all that was decided before it being as it was.

    `facts`: fields of the member as they would have had to be. `place`: where in the lot's order the lead would have
    had to stand, from 1, among the leads of its kind. `was`: these fields as they are.
    """

    agent_id: int
    facts: Mapping[str, Any]
    place: int | None
    was: Mapping[str, Any]

    def in_words(self, business_lines: Mapping[int, str] | None = None) -> str:
        """Say it for people, business lines by their names where these are given."""
        lines = {"business_line_id": business_lines} if business_lines else {}
        words = [_in_words(name, value, self.was[name], lines.get(name)) for name, value in self.facts.items()]
        if self.place is not None:
            words.append(f"the lead at place {self.place} in the order")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member that did not get the lead: why not, and what would have changed it, or why nothing of its own would."""

    agent_id: int
    agent_code: str
    code: str
    words: str
    change: Change | None
    no_change: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A lead's decision for people and programs; `agent_id` is None where it waits. Becomes JSON by `asdict`."""

    lead_id: int
    algorithm: str
    agent_id: int | None
    agent_code: str | None
    why: str
    candidates: Sequence[Candidate]


def explain(
    algorithm: str,
    params: Params,
    leads: Sequence[Lead],
    members: Sequence[Member],
    lead_id: int,
    *,
    agent_ids: Collection[int] | None = None,
) -> Explanation:
    """Explain one of the leads that were decided together.

    `leads` in the order in which the policy got them, `members` as it got them. `agent_ids`: only of these say why
    not; of all, the cost grows with the square of the members. KeyError if there never was such an algorithm.
    """
    policy = ALGORITHMS[algorithm]
    scene = set_scene(policy, params, leads, members, lead_id)
    winner = scene.winner
    others = [
        member
        for member in sorted(scene.members, key=lambda member: member.agent_id)
        if member is not winner and (agent_ids is None or member.agent_id in agent_ids)
    ]
    return Explanation(
        lead_id,
        algorithm,
        winner.agent_id if winner else None,
        winner.agent_code if winner else None,
        policy.account.won(scene, winner) if winner else _why_it_waits(scene),
        tuple(_candidate(policy, scene, member) for member in others),
    )


def set_scene(policy: Policy, params: Params, leads: Sequence[Lead], members: Sequence[Member], lead_id: int) -> Scene:
    """Give one lead's decision out of its batch: `again` runs it, with a change or without."""
    (lead,) = (lead for lead in leads if lead.id == lead_id)
    if "stream" in policy.modes:
        before = leads[: leads.index(lead)]
        members = _received(members, before, policy.choose(before, members, params))
        leads = [lead]
    answer = policy.choose(leads, members, params)
    owners = {choice.lead_id: choice.agent_id for choice in answer.choices}
    winner = next((member for member in members if member.agent_id == owners[lead.id]), None)
    eligible = [member for member in members if eligibility.why_not(lead, member) is None]
    return Scene(lead, leads, members, params, answer, winner, eligible, owners)


def apply(change: Change, members: Sequence[Member]) -> list[Member]:
    """Give the members as they would be with the change; a change of the lead's place leaves them as they are."""
    return [replace(member, **change.facts) if member.agent_id == change.agent_id else member for member in members]


def again(policy: Policy, scene: Scene, change: Change) -> int | None:
    """Decide again with the change: who gets the lead then."""
    members = apply(change, scene.members)
    if change.place is None:
        answer = policy.choose(scene.leads, members, scene.params)
    else:
        order = even_split.moved(scene.leads, members, scene.lead, change.place)
        answer = even_split.split(order, members, scene.params)
    return next(choice.agent_id for choice in answer.choices if choice.lead_id == scene.lead.id)


def _received(members: Sequence[Member], leads: Sequence[Lead], answer: Answer) -> list[Member]:
    received: dict[int | None, list[Lead]] = defaultdict(list)
    for lead, choice in zip(leads, answer.choices, strict=True):
        received[choice.agent_id].append(lead)
    return [member.after(received[member.agent_id]) for member in members]


def _why_it_waits(scene: Scene) -> str:
    own = next(choice.reason for choice in scene.answer.choices if choice.lead_id == scene.lead.id)
    return own or eligibility.reason(scene.lead, _received(scene.members, scene.leads, scene.answer))


def _candidate(policy: Policy, scene: Scene, member: Member) -> Candidate:
    lost = _why_not(policy, scene, member)
    change = _change(policy, scene, member)
    if isinstance(change, str):
        return Candidate(member.agent_id, member.agent_code, lost.code, lost.words, None, change)
    return Candidate(member.agent_id, member.agent_code, lost.code, lost.words, change, None)


def _why_not(policy: Policy, scene: Scene, member: Member) -> Lost:
    why = eligibility.why_not(scene.lead, member)
    return Lost(why.code, why.value) if why is not None else policy.account.lost(scene, member)


def _change(policy: Policy, scene: Scene, member: Member) -> Change | str:
    """Make the member eligible, then the winner; tried before it is told, and every number in it a step smaller."""
    facts = eligibility.to_qualify(scene.lead, member)
    if facts is None:
        return "its row is for another store"
    win = policy.account.to_win(scene, replace(member, **facts))
    if isinstance(win, str):
        return win
    change = _changed(member, {**facts, **win.facts}, win.place)
    if again(policy, scene, change) != member.agent_id:
        return "no change of this member alone"
    while (smaller := _smaller_win(policy, scene, change, member)) is not None:
        change = smaller
    return change


def _smaller_win(policy: Policy, scene: Scene, change: Change, member: Member) -> Change | None:
    """One of its numbers may make another needless: where leads of several kinds share a lot."""
    wins = (each for each in _smaller(change, member) if again(policy, scene, each) == member.agent_id)
    return next(wins, None)


def _smaller(change: Change, member: Member) -> Iterator[Change]:
    """The change with each of its numbers in turn a step nearer to what it is, and left out once it is that."""
    for name, value in change.facts.items():
        if isinstance(value, bool) or name == "business_line_id":
            continue
        nearer = value - 1 if value > getattr(member, name) else value + 1
        facts = {**change.facts, name: nearer}
        kept = {name: value for name, value in facts.items() if value != getattr(member, name)}
        yield _changed(member, kept, change.place)


def _changed(member: Member, facts: Mapping[str, Any], place: int | None) -> Change:
    return Change(member.agent_id, facts, place, {name: getattr(member, name) for name in facts})


def _in_words(name: str, value: object, was: object, names: Mapping[Any, str] | None) -> str:
    if names is None:
        return f"{name} {value} instead of {was}"
    return f"{name.removesuffix('_id').replace('_', ' ')} {names.get(value, value)} instead of {names.get(was, was)}"
