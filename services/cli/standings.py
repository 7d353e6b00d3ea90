"""Who is next on each route, and why: its members as they stand in line by its policy (auto-assign's `test`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean, pvariance

from services.assigner import policies
from services.assigner.deciding import today
from services.assigner.eligibility import standing
from services.assigner.facts import Member, Route
from services.assigner.policies import PolicyError
from services.assigner.policies.fair import FairParams, place
from services.assigner.policies.params import Params
from services.assigner.policies.smooth_weighted import deadline, released_at
from services.assigner.queries.routes import now, read_members, read_routes
from shared.db.session import Database

NO_WEIGHT = "weight 0"
#: By policy: what puts members in line.
RULES: Mapping[str, str] = {
    "fair": "lowest count, then agent id",
    "first_fit": "first by priority, then agent id, who has room",
    "capped_lot": "in a lot: by priority, then agent id, each up to its caps",
    "even_split": "in a lot: equal blocks in order of agent id",
    "weighted_random": "at random by weight: the likeliest",
    "smooth_weighted": "earliest due of those entitled to more than they have",
}
WEIGHTED = {"weighted_random", "smooth_weighted"}


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's place in line, from 1 on; without one it may get no lead now, and `why_not` says why.

    `count` decides where counts do: it is what the agent has received, and what it was put ahead by when it joined.
    """

    place: int | None
    agent: str
    name: str
    store: str | None
    count: int
    assigned: int
    today: int
    open: int
    max_load: int | None
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Next:
    """Who gets a route's next lead, and why; the figures are of the counts of those who may get leads."""

    route: str
    next: str | None
    why: str
    least: int | None
    most: int | None
    average: float | None
    variance: float | None


@dataclass(frozen=True, slots=True)
class Line(Next):
    """A route's members besides, who is next first."""

    members: Sequence[Standing]

    @property
    def head(self) -> Next:
        """The same without the members."""
        return Next(**{each.name: getattr(self, each.name) for each in fields(Next)})


async def read_lines(database: Database) -> list[Line]:
    """Give the line of every route in use, by name."""
    async with database.reading() as connection:
        at = await now(connection)
        routes = sorted((await read_routes(connection)).values(), key=lambda route: route.name)
        return [line(route, await read_members(connection, route.id, today(route, at))) for route in routes]


def line(route: Route, members: Sequence[Member]) -> Line:
    """Put a route's members in line."""
    try:
        policy, params = policies.of(route)
    except PolicyError as error:
        return _line(route.name, str(error), [_standing(member, None, str(error), 0) for member in members])
    barred = {id(member): _why_not(policy.name, member) for member in members}
    able = [member for member in members if barred[id(member)] is None]
    in_line = sorted(able, key=_order(policy.name, params, able))
    rest = [member for member in members if barred[id(member)] is not None]
    standings = [_standing(each, place, None, _count(each, params)) for place, each in enumerate(in_line, 1)]
    standings += [_standing(each, None, barred[id(each)], _count(each, params)) for each in rest]
    return _line(route.name, RULES.get(policy.name, policy.bound), standings)


def _order(policy: str, params: Params, able: Sequence[Member]) -> Callable[[Member], tuple[int, ...]]:
    """Give the key by which a policy's members stand in line; of equal ones the smaller agent id is first."""
    match policy:
        case "fair" if isinstance(params, FairParams):
            return lambda member: place(member, params)
        case "even_split":
            return lambda member: (member.agent_id,)
        case "weighted_random":
            return lambda member: (-member.weight, member.agent_id)
        case "smooth_weighted":
            return _by_deadline(able)
        case _:
            return lambda member: (member.priority, member.agent_id)


def _by_deadline(able: Sequence[Member]) -> Callable[[Member], tuple[int, ...]]:
    weights = sum(member.weight for member in able)
    received = sum(member.route_count for member in able)

    def key(member: Member) -> tuple[int, ...]:
        is_early = member.route_count * weights >= (received + 1) * member.weight
        return is_early, released_at(member) if is_early else deadline(member), member.agent_id

    return key


def _why_not(policy: str, member: Member) -> str | None:
    if policy in WEIGHTED and member.weight == 0:
        return NO_WEIGHT
    return standing(member)


def _count(member: Member, params: Params) -> int:
    return place(member, params)[0] if isinstance(params, FairParams) else member.route_count


def _standing(member: Member, place: int | None, why_not: str | None, count: int) -> Standing:
    return Standing(
        place=place,
        agent=member.agent_code,
        name=member.agent_name,
        store=member.store_code,
        count=count,
        assigned=member.assigned_count,
        today=member.day_count,
        open=member.open_load,
        max_load=member.max_load,
        why_not=why_not,
    )


def _line(route: str, rule: str, standings: Sequence[Standing]) -> Line:
    able = [each for each in standings if each.place is not None]
    counts = [each.count for each in able]
    return Line(
        route=route,
        next=able[0].agent if able else None,
        why=rule if able else "nobody may get a lead now",
        least=min(counts, default=None),
        most=max(counts, default=None),
        average=fmean(counts) if counts else None,
        variance=pvariance(counts) if counts else None,
        members=standings,
    )
