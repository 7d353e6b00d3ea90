"""A route's members as each of its decisions met them, and the decision taken again. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

from msgspec.structs import replace

from services.assigner import policies
from services.assigner.deciding import Decided, decide_by, decide_by_hand
from services.assigner.facts import Member
from services.assigner.policies import Policy
from services.assigner.policies.params import Params, ParamsError, read_params
from services.cli.decisions.history import Decision, Version

#: By which of its rows an agent received: the row's store, "" for all stores.
Row = tuple[int, str]


class ReplayError(Exception):
    """A decision cannot be taken again; in words."""


class Replay:
    """What a route's agents have received, decision by decision."""

    def __init__(
        self, received: Mapping[int, int] | None = None, on_days: Mapping[tuple[date, Row], int] | None = None
    ) -> None:
        self.received: Counter[int] = Counter(received or {})
        self.on_days: Counter[tuple[date, Row]] = Counter(on_days or {})
        self._state: tuple[int, date, bool] | None = None
        self._members: list[Member] = []
        self._places: dict[int, list[int]] = {}
        self._rules: dict[tuple[int, str], tuple[Policy, Params]] = {}

    def members(self, version: Version, decision: Decision) -> Sequence[Member]:
        """Give the route's members as a decision met them."""
        members = self._counted(version, decision)
        if version.route.counts_all_routes and decision.is_by_policy:
            members = _with_counts(members, decision)
        if loads := decision.loads:
            members = [
                replace(member, open_load=loads[member.agent_id]) if member.agent_id in loads else member
                for member in members
            ]
        return members

    def again(self, version: Version, decision: Decision, texts: Mapping[int, str]) -> Decided:
        """Take a decision again: by its algorithm, with its leads, and the members as it met them.

        `texts`: the CRM's ids of leads, where the policy goes by them. ReplayError if that cannot be done.
        """
        leads = decision.leads(texts)
        members = self.members(version, decision)
        if decision.is_manual:
            return decide_by_hand(version.route, leads, _rows_by_hand(members, decision), decision.moment)
        policy, params = self.rule(version, decision.algorithm)
        return decide_by(policy, params, version.route, leads, members, decision.moment)

    def rule(self, version: Version, algorithm: str) -> tuple[Policy, Params]:
        """Give the policy of that algorithm with the version's parameters. ReplayError if they do not go together."""
        key = version.number, algorithm
        if key not in self._rules:
            self._rules[key] = rule(version, algorithm)
        return self._rules[key]

    def move(self, version: Version, decision: Decision, given: Mapping[int, int]) -> None:
        """Count what agents received in a decision."""
        if not given:
            return
        self.received.update(given.values())
        self.on_days.update((decision.day, row) for row in rows_given(version, decision.stores, given))
        if self._state == _state(version, decision):
            for place in (place for agent_id in set(given.values()) for place in self._places.get(agent_id, ())):
                self._members[place] = self._member(version.members[place], decision)

    def _counted(self, version: Version, decision: Decision) -> Sequence[Member]:
        """Give the members with their counters: made for each version, day and kind, then kept."""
        if self._state != (state := _state(version, decision)):
            self._state = state
            self._members = [self._member(row, decision) for row in version.members]
            places = defaultdict(list)
            for place, row in enumerate(version.members):
                places[row.agent_id].append(place)
            self._places = places
        return self._members

    def _member(self, row: Member, decision: Decision) -> Member:
        if not decision.is_lot:
            row = row.without_lot_caps()
        received = self.received[row.agent_id]
        on_day = self.on_days[decision.day, (row.agent_id, row.store_code or "")]
        return replace(row, assigned_count=received, day_count=on_day) if received or on_day else row


def rule(version: Version, algorithm: str) -> tuple[Policy, Params]:
    """Give the policy of an algorithm with a version's parameters. ReplayError if they do not go together."""
    policy = policies.ALGORITHMS.get(algorithm)
    if policy is None:
        raise ReplayError(f"its algorithm {algorithm!r} is not known here")
    if policy.name != version.route.policy:
        raise ReplayError(f"it was taken by {algorithm}, but the route's policy was {version.route.policy!r}")
    try:
        return policy, read_params(policy.params, version.route.params)
    except ParamsError as error:
        raise ReplayError(f"the route's parameter {error}") from error


def rows_given(version: Version, stores: Mapping[int, str | None], given: Mapping[int, int]) -> list[Row]:
    """Give by which row of its agent each lead was given: the row for the lead's store, where there is one."""
    rows = []
    for lead_id, agent_id in given.items():
        store = stores.get(lead_id)
        rows.append((agent_id, store if store is not None and (agent_id, store) in version.rows_of_stores else ""))
    return rows


def _state(version: Version, decision: Decision) -> tuple[int, date, bool]:
    return version.number, decision.day, decision.is_lot


def _with_counts(members: Sequence[Member], decision: Decision) -> list[Member]:
    """Give the members with what they received over all routes: known of the chosen and of the best of the others.

    Whoever is neither stands behind these.
    """
    known: dict[int, int] = {}
    for answer in decision.answers:
        best = {agent_id: count for _, place in answer.boundary if place is not None for count, agent_id in [place]}
        known = best | {int(agent_id): count for agent_id, count in answer.read.items()} | known
    behind = max(known.values(), default=0) + len(decision.choices) + 1
    return [replace(member, agent_count=known.get(member.agent_id, behind) - member.start_count) for member in members]


def _rows_by_hand(members: Sequence[Member], decision: Decision) -> list[Member]:
    """Give the rows of the agent whom a person named, and one for all stores that it has none for."""
    agent_id = decision.facts["to"]
    rows = [member for member in members if member.agent_id == agent_id]
    if any(row.store_code is None for row in rows):
        return rows
    of_agent = decision.facts["agent"]
    return [Member(agent_id, "", "", open_load=decision.loads.get(agent_id, 0), **of_agent), *rows]
