"""Reads histories: what changes, in one short snapshot; what does not, page by page after it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner import policies
from services.cli.decisions.checking import Misfits
from services.cli.decisions.counters import Counted, RouteCounters
from services.cli.decisions.differences import Names
from services.cli.decisions.history import Decision, Version
from services.cli.failures import CommandError
from shared.db.session import Database

#: So many decisions are read at once; each may be about a whole lot.
PAGE = 200
#: A snapshot counts all assignments once.
SNAPSHOT_DEADLINE_S = 300.0

SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
ROUTES = text("SELECT id, name, sequence FROM routes WHERE CAST(:route AS text) IS NULL OR name = :route ORDER BY id")
AGENTS = text("SELECT id, agent_code FROM agents")
MEMBERS = text("SELECT route_id, agent_id, assigned_count, start_count FROM member_counters")
DAYS = text("SELECT route_id, day, agent_id, store_code, leads FROM member_days")
MISFITS = text("""
    SELECT decision_id, lead_id, given.agent_id
    FROM (SELECT decisions.id AS decision_id, CAST(choice.key AS bigint) AS lead_id,
                 CAST(choice.value #>> '{}' AS bigint) AS agent_id
          FROM decisions CROSS JOIN jsonb_each(decisions.choices) AS choice
          WHERE jsonb_typeof(choice.value) = 'number') AS decided
         FULL JOIN (SELECT decision_id, lead_id, agent_id FROM assignments WHERE decision_id IS NOT NULL) AS given
         USING (decision_id, lead_id)
    WHERE decided.agent_id IS DISTINCT FROM given.agent_id
""")
#: What every assignment with a decision counts for its agent, and those that are worked on now.
AGENT_COUNTERS = text("""
    WITH counted AS (
        SELECT agent_id, count(*) FILTER (WHERE decision_id IS NOT NULL) AS received,
               count(*) FILTER (WHERE is_current AND assignment_status_id IN (2, 3)) AS open
        FROM assignments WHERE agent_id IS NOT NULL GROUP BY agent_id
    )
    SELECT agent_id, coalesce(open_load, 0), coalesce(open, 0), coalesce(auto_assign_count, 0), coalesce(received, 0)
    FROM agent_counters FULL JOIN counted USING (agent_id)
    WHERE coalesce(open_load, 0) <> coalesce(open, 0) OR coalesce(auto_assign_count, 0) <> coalesce(received, 0)
    ORDER BY agent_id
""")
PAGE_GROUPS = text("""
    WITH counted AS (
        SELECT page_group_code, count(DISTINCT rowid) AS numbers FROM assignments
        WHERE page_group_code IS NOT NULL GROUP BY page_group_code
    )
    SELECT page_group_code, coalesce(agent_id, 0), coalesce(last_rowid, 0), coalesce(numbers, 0)
    FROM page_groups FULL JOIN counted USING (page_group_code)
    WHERE coalesce(last_rowid, 0) <> coalesce(numbers, 0) ORDER BY page_group_code
""")
#: In the order of the fields of `Decision`.
DECISION = """
    SELECT id, sequence, route_version AS version, algorithm, kind,
           coalesce(day, CAST(decided_at AS date)) AS day, decided_at, facts, choices
    FROM decisions
"""
DECISIONS = text(f"""
    {DECISION}
    WHERE route_id = :route_id AND sequence > :after AND sequence <= :upto
    ORDER BY sequence LIMIT :page
""")
VERSIONS = text("""
    SELECT version, sequence FROM route_versions WHERE route_id = :route_id AND sequence <= :upto
    ORDER BY sequence, version
""")
VERSION = text("""
    SELECT route_id, version AS number, sequence, content, starts FROM route_versions
    WHERE route_id = :route_id AND version = :version
""")
LEAD_TEXTS = text("SELECT id, lead_id FROM leads WHERE id = ANY(CAST(:ids AS bigint[]))")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that goes on changing, as it was at one moment. `routes`: their ids, and how far each had come."""

    names: Names
    routes: dict[int, RouteCounters]
    misfits: Misfits
    agents: Sequence[Counted]


async def take_snapshot(database: Database, route: str | None) -> Snapshot:
    """Read counters, count what they count, and find assignments that are not as decided; all at one moment.

    CommandError if there is no such route.
    """
    async with database.begin(deadline_s=SNAPSHOT_DEADLINE_S) as tx:
        await tx.execute(SNAPSHOT)
        names = await _names(tx)
        return Snapshot(names, await _routes(tx, route), await _misfits(tx), await _counted(tx))


async def read_names(database: Database) -> Names:
    async with database.reading() as connection:
        return await _names(connection)


async def _names(connection: AsyncConnection) -> Names:
    routes = {key: name for key, name, _ in await connection.execute(ROUTES, {"route": None})}
    agents = {row.id: row.agent_code for row in await connection.execute(AGENTS)}
    return Names(routes, agents)


async def route_sequences(connection: AsyncConnection, route: str | None) -> dict[int, int]:
    """Give routes' ids, and how far each has come. CommandError if there is no such route."""
    found = {key: sequence for key, _, sequence in await connection.execute(ROUTES, {"route": route})}
    if route is not None and not found:
        raise CommandError(f"there is no route {route!r}; `leadline config export FILE` shows which there are")
    return found


async def _routes(tx: AsyncConnection, route: str | None) -> dict[int, RouteCounters]:
    members: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    days: dict[int, dict[tuple[date, tuple[int, str]], int]] = defaultdict(dict)
    for route_id, agent_id, received, start in await tx.execute(MEMBERS):
        members[route_id][agent_id] = received, start
    for route_id, day, agent_id, store_code, leads in await tx.execute(DAYS):
        days[route_id][day, (agent_id, store_code)] = leads
    sequences = await route_sequences(tx, route)
    return {key: RouteCounters(sequence, members[key], days[key]) for key, sequence in sequences.items()}


async def _misfits(tx: AsyncConnection) -> dict[int, dict[int, int | None]]:
    found: dict[int, dict[int, int | None]] = defaultdict(dict)
    for decision_id, lead_id, agent_id in await tx.execute(MISFITS):
        found[decision_id][lead_id] = agent_id
    return dict(found)


async def _counted(tx: AsyncConnection) -> list[Counted]:
    found = []
    for agent_id, kept_open, is_open, kept, received in await tx.execute(AGENT_COUNTERS):
        found.append(Counted("open_load", agent_id, kept_open, is_open))
        found.append(Counted("auto_assign_count", agent_id, kept, received))
    for code, agent_id, last, numbers in await tx.execute(PAGE_GROUPS):
        found.append(Counted("last_rowid", agent_id, last, numbers, code))
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """The next number of a route's sequence: a decision with the version in force, or a version that begins there."""

    sequence: int
    version: Version | None = None
    decision: Decision | None = None


async def read_steps(database: Database, route_id: int, upto: int, after: int = 0) -> AsyncIterator[Step]:
    """Give a route's versions and decisions in order of its sequence, up to a number; no transaction stays open.

    Of decisions, those after a number only.
    """
    begins = await _beginnings(database, route_id, upto)
    version: Version | None = None
    number: int | None = None
    async for decision in read_decisions(database, route_id, upto, after):
        while begins and begins[0][1] <= decision.sequence:
            number, sequence = begins.popleft()
            yield Step(sequence)
        if number is not None and (version is None or version.number != number):
            version = await read_version(database, route_id, number)
        yield Step(decision.sequence, version, decision)
    for _, sequence in begins:
        yield Step(sequence)


async def _beginnings(database: Database, route_id: int, upto: int) -> deque[tuple[int, int]]:
    async with database.reading() as connection:
        rows = await connection.execute(VERSIONS, {"route_id": route_id, "upto": upto})
        return deque((number, sequence) for number, sequence in rows)


async def last_version(database: Database, route_id: int, upto: int) -> Version | None:
    """Give the version in force at a number of a route's sequence."""
    begins = await _beginnings(database, route_id, upto)
    return await read_version(database, route_id, begins[-1][0]) if begins else None


async def read_decisions(database: Database, route_id: int, upto: int, after: int = 0) -> AsyncIterator[Decision]:
    """Give a route's decisions in order of its sequence, read page by page."""
    while True:
        values = {"route_id": route_id, "after": after, "upto": upto, "page": PAGE}
        async with database.reading() as connection:
            rows = (await connection.execute(DECISIONS, values)).all()
        for row in rows:
            yield as_decision(row)
        if len(rows) < PAGE:
            return
        after = rows[-1].sequence


def as_decision(row: Sequence[Any]) -> Decision:
    columns = dict(zip((each.name for each in fields(Decision)), row, strict=True))
    columns["choices"] = {int(lead_id): choice for lead_id, choice in columns["choices"].items()}
    return Decision(**columns)


async def read_version(database: Database, route_id: int, number: int) -> Version:
    async with database.reading() as connection:
        row = (await connection.execute(VERSION, {"route_id": route_id, "version": number})).mappings().one()
    return Version(**row)


async def texts_for(database: Database, decision: Decision) -> dict[int, str]:
    """Give the CRM's ids of a decision's leads where its policy goes by them."""
    policy = policies.ALGORITHMS.get(decision.algorithm)
    if policy is None or policy.name != "weighted_random":
        return {}
    return await lead_texts(database, list(decision.choices))


async def lead_texts(database: Database, ids: Sequence[int]) -> dict[int, str]:
    async with database.reading() as connection:
        return {row.id: row.lead_id for row in await connection.execute(LEAD_TEXTS, {"ids": list(ids)})}
