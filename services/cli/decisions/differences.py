"""Differences between what is stored and what history says, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: A lead's agent, why it waits, or None: it is not spoken of.
Choice = int | str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where what is stored is not what history says."""

    what: str
    words: str
    route: str | None = None
    decision_id: int | None = None
    #: Ours; for people the CRM's stands in its place.
    lead_id: int | str | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """How routes and agents are called."""

    routes: Mapping[int, str]
    agents: Mapping[int, str]

    def route(self, route_id: int | None) -> str | None:
        return None if route_id is None else self.routes.get(route_id, f"number {route_id}")

    def agent(self, agent_id: int) -> str:
        return f"agent {self.agents.get(agent_id, f'number {agent_id}')}"

    def choice(self, choice: Choice) -> str:
        if choice is None:
            return "nobody"
        return self.agent(choice) if isinstance(choice, int) else f"nobody ({choice})"

    def place(self, place: tuple[int, int] | None) -> str:
        return "nobody" if place is None else f"{self.agent(place[1])} with {place[0]:,}"


@dataclass(frozen=True, slots=True)
class Opinions:
    """Who got a lead as it is stored, as the rule has it, and as the assignment says. Two of them are believed."""

    stored: Choice
    rule: Choice
    assignment: int | None

    @property
    def truth(self) -> int | None:
        stored, rule = agent(self.stored), agent(self.rule)
        return rule if rule in {stored, self.assignment} else self.assignment

    @property
    def what(self) -> str:
        return "assignment" if self.stored == self.rule else "choice"

    def words(self, names: Names) -> str | None:
        """Say which one is at odds with the others; None if none is."""
        stored, rule, assigned = names.choice(self.stored), names.choice(self.rule), names.choice(self.assignment)
        if self.stored == self.rule:
            if self.assignment == agent(self.stored):
                return None
            return f"its assignment is for {assigned}; the decision is stored, and comes out again, as {stored}"
        if self.assignment == agent(self.rule) != agent(self.stored):
            return f"is stored as {stored}; taken again it comes out as {rule}, as its assignment has it"
        if self.assignment == agent(self.stored):
            return f"went to {stored}; taken again it comes out as {rule}"
        return f"is stored as {stored}; taken again it comes out as {rule}; its assignment is for {assigned}"


def agent(choice: Choice) -> int | None:
    return choice if isinstance(choice, int) else None
