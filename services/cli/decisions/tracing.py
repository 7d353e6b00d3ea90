"""Finds a lead's last decision, and the route as that decision met it: added up, not replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from msgspec.structs import replace
from sqlalchemy import text

from services.assigner.facts import Lead, Member
from services.assigner.queries.leads import leads_by_key
from services.assigner.queries.routes import MEMBERS
from services.cli.decisions.history import Decision, Version
from services.cli.decisions.reading import (
    DECISION,
    as_decision,
    last_version,
    read_version,
    texts_for,
)
from services.cli.decisions.replay import Replay, Row, rows_given
from services.cli.failures import CommandError
from shared.db.session import Database

STANDING = text("""
    SELECT assignment_statuses.name AS status, leads.duplicate_of IS NOT NULL AS is_duplicate,
           first.lead_id AS duplicate_of, leads.is_order_placed, assignments.route_id, routes.name AS route,
           routes.sequence, assignments.decision_id, assignments.agent_id, agents.agent_code, agents.agent_name,
           assignments.reason, assignments.retry_at, assignments.assigned_at,
           coalesce(changed.updated_at, assignments.created_at) AS since,
           changed.requested_by, changed.method
    FROM leads JOIN assignments ON assignments.lead_id = leads.id AND assignments.is_current
         JOIN assignment_statuses ON assignment_statuses.id = assignments.assignment_status_id
         LEFT JOIN leads AS first ON first.id = leads.duplicate_of
         LEFT JOIN routes ON routes.id = assignments.route_id
         LEFT JOIN agents ON agents.id = assignments.agent_id
         LEFT JOIN LATERAL (
             SELECT updated_at, requested_by, method FROM assignment_records
             WHERE assignment_records.lead_id = leads.id AND refused_event IS NULL
             ORDER BY assignment_records.id DESC LIMIT 1
         ) AS changed ON true
    WHERE leads.id = :id
""")
GIVEN_BY = text("""
    SELECT requested_by FROM assignment_records WHERE lead_id = :id AND method = 'manual' AND assignment_status_id = 2
    ORDER BY id DESC LIMIT 1
""")
BY_ID = text(f"{DECISION} WHERE id = :id AND route_id IS NOT NULL")
RECEIVED = text("""
    SELECT CAST(choice.value #>> '{}' AS bigint) AS agent_id, count(*) AS leads
    FROM decisions CROSS JOIN jsonb_each(choices) AS choice
    WHERE route_id = :route_id AND sequence < :sequence AND jsonb_typeof(choice.value) = 'number'
    GROUP BY 1
""")
ON_DAY = text(f"{DECISION} WHERE route_id = :route_id AND sequence < :sequence AND day = :day ORDER BY sequence")
BUSINESS_LINES = text("SELECT id, name FROM business_lines")
#: What agents had received over all routes by then.
OVER_ALL = text("""
    SELECT agent_id, count(*) AS leads FROM assignments
    WHERE decision_id IS NOT NULL AND assigned_at < :at GROUP BY agent_id
""")


@dataclass(frozen=True, slots=True)
class Standing:
    """A lead as it stands, in the database's words."""

    status: str
    is_duplicate: bool
    duplicate_of: str | None
    is_order_placed: bool
    route_id: int | None
    route: str | None
    sequence: int | None
    decision_id: int | None
    agent_id: int | None
    agent_code: str | None
    agent_name: str | None
    reason: str | None
    retry_at: datetime | None
    assigned_at: datetime | None
    #: Of the last change of its state or its reason.
    since: datetime
    requested_by: str | None
    method: str | None


async def find_lead(database: Database, lead_id: str) -> tuple[Lead, Standing]:
    """Give a lead by the CRM's id. CommandError if there is none."""
    async with database.reading() as connection:
        found = await leads_by_key(connection, [lead_id])
        if not found:
            raise CommandError(f"there is no lead {lead_id!r}; ids are the CRM's, as in `lead_id` of lead.created")
        row = (await connection.execute(STANDING, {"id": found[0].id})).mappings().one()
    return found[0], Standing(**row)


async def find_decision(database: Database, decision_id: int) -> Decision | None:
    async with database.reading() as connection:
        row = (await connection.execute(BY_ID, {"id": decision_id})).one_or_none()
    return as_decision(row) if row is not None else None


async def who_gave(database: Database, lead_id: int) -> str | None:
    """Name the person who gave a lead to its agent."""
    async with database.reading() as connection:
        name: str | None = (await connection.execute(GIVEN_BY, {"id": lead_id})).scalar_one_or_none()
    return name


async def business_lines(database: Database) -> dict[int, str]:
    """Give the names of all business lines."""
    async with database.reading() as connection:
        return {row.id: row.name for row in await connection.execute(BUSINESS_LINES)}


async def as_met(
    database: Database, route_id: int, decision: Decision
) -> tuple[Version, Sequence[Member], Mapping[int, str]]:
    """Give the route's version, its members as a decision met them, and the CRM's ids that its policy goes by."""
    version = await read_version(database, route_id, decision.version)
    before = {"route_id": route_id, "sequence": decision.sequence}
    async with database.reading() as connection:
        received = {row.agent_id: row.leads for row in await connection.execute(RECEIVED, before)}
        earlier = [as_decision(row) for row in await connection.execute(ON_DAY, {**before, "day": decision.day})]
    on_day = await _on_day(database, version, earlier)
    members = Replay(received, on_day).members(version, decision)
    if version.route.counts_all_routes:
        members = await _with_counts(database, members, decision)
    return version, members, await texts_for(database, decision)


async def _on_day(database: Database, version: Version, earlier: Sequence[Decision]) -> Counter[tuple[date, Row]]:
    """Count what each member's row had received that day, by the rows that were there at each decision."""
    versions = {version.number: version}
    on_day: Counter[tuple[date, Row]] = Counter()
    for each in earlier:
        if each.version not in versions:
            versions[each.version] = await read_version(database, version.route_id, each.version)
        on_day.update((each.day, row) for row in rows_given(versions[each.version], each.stores, each.given))
    return on_day


async def _with_counts(database: Database, members: Sequence[Member], decision: Decision) -> list[Member]:
    """Give members of whom no count over all routes was read the one that can be added up.

    Whoever was neither chosen nor the best of the others stood behind those who were, whatever moved meanwhile.
    """
    async with database.reading() as connection:
        rows = await connection.execute(OVER_ALL, {"at": decision.moment.now})
        counted: dict[int, int] = {row.agent_id: row.leads for row in rows}
    places = [(place[0], place[1]) for answer in decision.answers for _, place in answer.boundary if place is not None]
    known = {int(agent_id) for answer in decision.answers for agent_id in answer.read} | {key for _, key in places}
    best: tuple[int, int] = max(places, default=(0, 0))
    count, agent_id = best

    def at_least(member: Member) -> int:
        behind = count + (member.agent_id < agent_id) - member.start_count
        return max(counted.get(member.agent_id, 0), behind)

    return [member if member.agent_id in known else replace(member, agent_count=at_least(member)) for member in members]


async def as_it_is(database: Database, route_id: int, sequence: int) -> tuple[Version, list[Member]] | None:
    """Give a route's version and its members as they are now; None if it never had a version."""
    version = await last_version(database, route_id, sequence)
    if version is None:
        return None
    day = datetime.now(version.route.zone).date()
    async with database.reading() as connection:
        rows = await MEMBERS.run(connection, {"route_id": route_id, "day": day})
        members = [Member(*member) for *member, _is_uncounted in rows]
    return version, members if version.route.mode == "lot" else [each.without_lot_caps() for each in members]
