"""What the database has to say about a configuration before anything is written: who and what is meant by its names.

Pure; all problems are found at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from services.assigner.policies import POLICIES
from services.assigner.policies.params import ParamsError, read_params
from services.cli.agentcodes import People, Person, identify, people_after
from services.cli.configfile import ALL, Agent, ConfigFile, Entry, Member
from services.cli.configproblems import Problem
from services.cli.configrows import KIND, KINDS, Content, Key

_NAMED_BY: Final = {
    "business_lines": ("name",),
    "sources": ("name",),
    "profiles": ("pipeline", "code", "env"),
}
_MENTIONED = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration in which every agent has a code, and every member is one agent named by it."""

    file: ConfigFile
    agents: list[Agent] | None
    members: dict[str, list[Member]]
    """By route; a route whose members the file does not give is absent."""

    def entries(self, kind: str) -> Sequence[Entry] | None:
        """A section's entries; None if the file does not have it. Members are not a section."""
        if kind == "agents":
            return self.agents
        entries: Sequence[Entry] | None = getattr(self.file, kind, None)
        return entries


def check(file: ConfigFile, content: Content, *, prune: bool = False) -> tuple[Checked, list[Problem]]:
    """Find out who and what is meant. With problems, the rest of the answer means nothing."""
    existing = {row["agent_code"]: _person(row) for row in content.rows["agents"].values()}
    codes, problems = identify(file.agents or (), People(existing.values()))
    agents = [entry.model_copy(update={"code": code}) for entry, code in zip(file.agents or (), codes, strict=True)]
    people = people_after(existing, agents, codes)
    active = _active(file, agents, content, prune=prune)
    members: dict[str, list[Member]] = {}
    for index, route in enumerate(file.routes or ()):
        if route.members is not None:
            members[route.name], more = _resolved(route.members, people, active, path=f"routes[{index}].members")
            problems.extend(more)
    problems.extend(_unknown(file, content))
    problems.extend(_unusable(file, content))
    return Checked(file, None if file.agents is None else agents, members), problems


def _person(row: dict[str, str]) -> Person:
    return Person(row["agent_code"], row["agent_name"], row["email"], row["document_number"])


def _active(file: ConfigFile, agents: Sequence[Agent], content: Content, *, prune: bool) -> list[str]:
    """The codes of the agents that will be active."""
    active = {row["agent_code"]: bool(row["is_active"]) for row in content.rows["agents"].values()}
    if prune and file.agents is not None:
        active = {code: is_active for code, is_active in active.items() if code in {agent.code for agent in agents}}
    for agent in agents:
        if agent.code not in active or "active" in agent.model_fields_set:
            active[agent.code or ""] = agent.active
    return [code for code, is_active in active.items() if is_active]


def _resolved(
    members: Sequence[Member], people: People, active: Sequence[str], *, path: str
) -> tuple[list[Member], list[Problem]]:
    """Members by code: `all` as one each, unless the agent stands for itself too."""
    problems: list[Problem] = []
    explicit: dict[tuple[str, str | None], tuple[int, Member]] = {}
    for index, member in enumerate(members):
        if member.agent == ALL:
            continue
        codes = people.meant_by(member.agent)
        if len(codes) != 1:
            problems.append(Problem(f"{path}[{index}].agent", _not_one(member.agent, codes)))
            continue
        key = (codes[0], member.store)
        if key in explicit:
            text = f"is the same agent as members[{explicit[key][0]}], for the same store: remove one of them"
            problems.append(Problem(f"{path}[{index}]", text))
        explicit[key] = (index, member.model_copy(update={"agent": codes[0]}))
    resolved = {
        (code, member.store): member.model_copy(update={"agent": code})
        for member in members
        if member.agent == ALL
        for code in active
    }
    resolved.update({key: member for key, (_, member) in explicit.items()})
    return list(resolved.values()), problems


def _not_one(text: str, codes: Sequence[str]) -> str:
    if codes:
        return f"{text!r} is the name of {len(codes)} agents: give the code of the one you mean ({', '.join(codes)})"
    return f"no agent has {text!r} as code, e-mail address or name: correct it, or add the agent under agents:"


def _unknown(file: ConfigFile, content: Content) -> Iterator[Problem]:
    """Names that neither the database nor the file explains."""
    for kind in KINDS:
        for index, entry in enumerate(getattr(file, kind.name, None) or ()):
            for target, fields in kind.references.values():
                name = tuple(getattr(entry, part) for part in fields)
                known = [*content.names(target), *_names_in(file, target)]
                if None not in name and KIND[target].fold(name) not in map(KIND[target].fold, known):
                    yield Problem(f"{kind.name}[{index}].{_where(fields)}", _not_known(target, name, known))


def _unusable(file: ConfigFile, content: Content) -> Iterator[Problem]:
    """Routes whose policy, mode and parameters do not go together; what an entry does not name is as it is."""
    for index, route in enumerate(file.routes or ()):
        there = content.rows["routes"].get((route.name,), {})
        policy_name, mode, params = (
            getattr(route, field) if field in route.model_fields_set else there.get(field, getattr(route, field))
            for field in ("policy", "mode", "params")
        )
        if (policy := POLICIES.get(policy_name)) is None:
            yield Problem(f"routes[{index}]", f"its policy {policy_name!r} is not known: name one under policy:")
            continue
        if mode not in policy.modes:
            yield Problem(
                f"routes[{index}].mode", f"{policy_name} works in lots only: write mode: lot, or leave it out"
            )
        try:
            read_params(policy.params, params)
        except ParamsError as error:
            yield Problem(f"routes[{index}].params", str(error))


def _names_in(file: ConfigFile, kind: str) -> Iterator[Key]:
    """How the file's own entries of a kind are named."""
    for entry in getattr(file, kind, None) or ():
        yield tuple(getattr(entry, part) for part in _NAMED_BY[kind])


def _where(fields: Sequence[str]) -> str:
    return next(part for part in (*fields[1:], *fields) if not part.endswith("env"))


def _not_known(kind: str, name: Key, known: Sequence[Key]) -> str:
    asked, names = "/".join(name), sorted({"/".join(other) for other in known})
    close = get_close_matches(asked, names, n=1)
    listed = ", ".join(names[:_MENTIONED]) + (", …" if len(names) > _MENTIONED else "")
    hint = f"did you mean {close[0]!r}?" if close else f"known: {listed or 'none'}"
    remedy = "" if kind == "pipelines" else f", or add it under {kind}:"
    return f"{asked!r} is not among the {kind.replace('_', ' ')}: correct it{remedy} ({hint})"
