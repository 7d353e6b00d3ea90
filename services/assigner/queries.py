"""The assigner's SQL: set-based, one statement a batch. Locks are taken in one order everywhere: routes, assignments,
leads, agent counters, page groups, each by id; a locking statement returns nothing that is decided on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.deciding import Assigned, Decided, Waiting
from services.assigner.facts import Lead, Member, Route, Status

#: Not the start of the transaction: under a route's lock, times and days must not go back.
NOW = text("SELECT clock_timestamp()")
ROUTES = text("""
    SELECT id, name, source_id, store_code, business_line_id, priority, policy, mode, zone, params, retry_pending,
           version, sequence
    FROM routes WHERE is_enabled
""")
FREE_ROUTES = text("SELECT id FROM routes WHERE id = ANY(CAST(:ids AS bigint[])) FOR NO KEY UPDATE SKIP LOCKED")
LOCK_ROUTES = text("SELECT 1 FROM routes WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE")
LOCK_ASSIGNMENTS = text("""
    SELECT 1 FROM assignments WHERE lead_id = ANY(CAST(:ids AS bigint[])) AND is_current ORDER BY id FOR NO KEY UPDATE
""")
_lead_columns = """
    SELECT leads.id, leads.lead_id, assignments.id AS assignment_id, assignments.assignment_status_id AS status,
           assignments.route_id, assignments.agent_id, agents.agent_code, assignments.reason, assignments.retry_at,
           assignments.sheet_key, leads.revision, leads.source_id, sources.name AS source, leads.store_code,
           coalesce(stores.store_name, leads.store_name) AS store_name,
           coalesce(stores.is_new OR stores.assign_leads, true) AS store_takes_part,
           leads.business_line_id, leads.customer_type, leads.customer_name, leads.mobile_number, leads.address,
           leads.final_source, leads.created_at, leads.pickup_date, leads.pickup_created_date, leads.run_date,
           leads.is_order_placed, leads.duplicate_of IS NOT NULL AS is_duplicate, leads.stage
    FROM leads JOIN assignments ON assignments.lead_id = leads.id AND assignments.is_current
         JOIN sources ON sources.id = leads.source_id
         LEFT JOIN stores ON stores.store_code = leads.store_code
         LEFT JOIN agents ON agents.id = assignments.agent_id
"""
LEADS_BY_KEY = text(f"{_lead_columns} WHERE leads.lead_id = ANY(CAST(:keys AS text[])) ORDER BY assignments.id")
LEADS_BY_ID = text(f"{_lead_columns} WHERE leads.id = ANY(CAST(:keys AS bigint[])) ORDER BY assignments.id")
WAITING = text(f"""
    {_lead_columns}
    WHERE assignments.assignment_status_id = 1 AND assignments.id > :after
      AND (CAST(:source AS text) IS NULL OR lower(sources.name) = lower(:source))
    ORDER BY assignments.id LIMIT :limit
""")
WAITING_ON_ROUTE = text(f"""
    {_lead_columns}
    WHERE assignments.assignment_status_id = 1 AND assignments.id > :after AND assignments.route_id = :route_id
      AND (CAST(:source AS text) IS NULL OR lower(sources.name) = lower(:source))
    ORDER BY assignments.id LIMIT :limit
""")
MEMBERS = text("""
    SELECT route_members.agent_id, agents.agent_code, agents.agent_name, agents.email, agents.crm_user_id,
           agents.business_line_id, agents.is_active, agents.max_load, route_members.store_code, route_members.weight,
           route_members.priority, route_members.max_existing_per_lot, route_members.max_new_per_lot,
           route_members.max_daily_leads, route_members.is_enabled,
           coalesce(member_counters.assigned_count, 0) AS assigned_count,
           CASE WHEN member_counters.day = :day THEN member_counters.day_count ELSE 0 END AS day_count,
           coalesce(agent_counters.auto_assign_count, 0) AS agent_count,
           coalesce(agent_counters.open_load, 0) AS open_load, agent_counters.agent_id IS NULL AS is_uncounted
    FROM route_members JOIN agents ON agents.id = route_members.agent_id
         LEFT JOIN member_counters USING (route_id, agent_id)
         LEFT JOIN agent_counters ON agent_counters.agent_id = route_members.agent_id
    WHERE route_members.route_id = :route_id
    ORDER BY route_members.agent_id, route_members.id
""")
MAKE_COUNTERS = text("""
    INSERT INTO agent_counters (agent_id)
    SELECT DISTINCT agent_id FROM unnest(CAST(:agent_ids AS bigint[])) AS agent_id ORDER BY agent_id
    ON CONFLICT DO NOTHING
""")
#: Locks in order of id; the update then sees the rows as they are after the wait, and so does RETURNING.
MOVE_AGENTS = text("""
    WITH locked AS (
        SELECT agent_id FROM agent_counters WHERE agent_id = ANY(CAST(:agent_ids AS bigint[]))
        ORDER BY agent_id FOR NO KEY UPDATE
    )
    UPDATE agent_counters
    SET open_load = agent_counters.open_load + moves.load,
        auto_assign_count = agent_counters.auto_assign_count + moves.count
    FROM locked JOIN unnest(CAST(:agent_ids AS bigint[]), CAST(:loads AS bigint[]), CAST(:counts AS bigint[]))
                     AS moves (agent_id, load, count) USING (agent_id)
    WHERE agent_counters.agent_id = locked.agent_id
    RETURNING agent_counters.agent_id, agent_counters.open_load, agent_counters.auto_assign_count
""")
LOCK_AGENTS = text("""
    SELECT 1 FROM agent_counters WHERE agent_id = ANY(CAST(:agent_ids AS bigint[]))
    ORDER BY agent_id FOR NO KEY UPDATE
""")
PLACES = text("""
    SELECT agents.id, agents.is_active, agents.max_load, agent_counters.open_load
    FROM agents JOIN agent_counters ON agent_counters.agent_id = agents.id
    WHERE agents.id = ANY(CAST(:agent_ids AS bigint[]))
""")
MOVE_MEMBERS = text("""
    INSERT INTO member_counters AS now (route_id, agent_id, assigned_count, day, day_count)
    SELECT :route_id, agent_id, leads, :day, leads
    FROM unnest(CAST(:agent_ids AS bigint[]), CAST(:leads AS bigint[])) AS new (agent_id, leads) ORDER BY agent_id
    ON CONFLICT (route_id, agent_id) DO UPDATE
    SET assigned_count = now.assigned_count + excluded.assigned_count,
        day_count = CASE WHEN now.day = excluded.day THEN now.day_count ELSE 0 END + excluded.day_count,
        day = excluded.day
""")
NUMBER_PAGES = text("""
    INSERT INTO page_groups AS now (page_group_code, agent_id, day, last_rowid)
    SELECT code, agent_id, :day, leads
    FROM unnest(CAST(:codes AS text[]), CAST(:agent_ids AS bigint[]), CAST(:leads AS bigint[]))
         AS new (code, agent_id, leads) ORDER BY code
    ON CONFLICT (page_group_code) DO UPDATE SET last_rowid = now.last_rowid + excluded.last_rowid
    RETURNING page_group_code, last_rowid
""")
ADD_DECISION = text("""
    WITH next AS (UPDATE routes SET sequence = sequence + 1 WHERE id = CAST(:route_id AS bigint)
                  RETURNING id, sequence, version)
    INSERT INTO decisions (route_id, route_version, sequence, algorithm, kind, request_id, facts, choices)
    SELECT next.id, next.version, next.sequence, :algorithm, :kind, :request_id,
           CAST(:facts AS jsonb), CAST(:choices AS jsonb)
    FROM (SELECT 1) AS one LEFT JOIN next ON true
    RETURNING id
""")
ASSIGN = text("""
    UPDATE assignments
    SET assignment_status_id = 2, route_id = :route_id, agent_id = new.agent_id, decision_id = :decision_id,
        reason = NULL, retry_at = NULL, assigned_at = :now, sheet_key = new.code, page_group_code = new.page_group_code,
        rowid = new.rowid, lead_assignment_code = new.code, store_code = new.store_code, store_name = new.store_name,
        lead_date = new.lead_date, lead_type = new.lead_type, mobile_number = new.mobile_number, cx_name = new.cx_name,
        address = new.address, lead_source = new.lead_source
    FROM unnest(CAST(:ids AS bigint[]), CAST(:agent_ids AS bigint[]), CAST(:codes AS text[]),
                CAST(:page_group_codes AS text[]), CAST(:rowids AS bigint[]), CAST(:store_codes AS text[]),
                CAST(:store_names AS text[]), CAST(:lead_dates AS date[]), CAST(:lead_types AS text[]),
                CAST(:mobile_numbers AS text[]), CAST(:cx_names AS text[]), CAST(:addresses AS text[]),
                CAST(:lead_sources AS text[]))
         AS new (id, agent_id, code, page_group_code, rowid, store_code, store_name, lead_date, lead_type,
                 mobile_number, cx_name, address, lead_source)
    WHERE assignments.id = new.id
""")
WAIT = text("""
    UPDATE assignments SET route_id = :route_id, reason = new.reason, retry_at = new.retry_at
    FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[]), CAST(:retry_ats AS timestamptz[]))
         AS new (id, reason, retry_at)
    WHERE assignments.id = new.id
      AND (assignments.route_id, assignments.reason, assignments.retry_at)
          IS DISTINCT FROM (CAST(:route_id AS bigint), new.reason, new.retry_at)
""")
CHANGE = text("""
    UPDATE assignments
    SET assignment_status_id = new.status, reason = new.reason,
        started_at = CASE WHEN new.status = 3 THEN :now ELSE assignments.started_at END,
        closed_at = CASE WHEN new.status = 4 THEN :now END
    FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS smallint[]), CAST(:reasons AS text[]))
         AS new (id, status, reason)
    WHERE assignments.id = new.id
""")
END = text("UPDATE assignments SET is_current = false, ended_at = :now WHERE id = ANY(CAST(:ids AS bigint[]))")
BEGIN_ANEW = text("""
    INSERT INTO assignments (lead_id, reason)
    SELECT * FROM unnest(CAST(:lead_ids AS bigint[]), CAST(:reasons AS text[])) AS new (lead_id, reason)
    RETURNING lead_id, id
""")
#: What `lead.assigned` says of an assignment that stands.
STANDING = text("""
    SELECT assignments.id AS assignment_id, agents.agent_code, agents.agent_name, agents.email AS agent_email,
           agents.crm_user_id, routes.name AS route, assignments.decision_id, assignments.assigned_at,
           assignments.lot_id, assignments.sheet_key, assignments.page_group_code, assignments.rowid,
           assignments.lead_assignment_code
    FROM assignments JOIN agents ON agents.id = assignments.agent_id JOIN routes ON routes.id = assignments.route_id
    WHERE assignments.id = ANY(CAST(:ids AS bigint[]))
""")
ADD_RECORDS = text("""
    INSERT INTO assignment_records (assignment_id, lead_id, agent_id, assignment_status_id, method, reason,
                                    count_before, count_after, open_before, open_after, requested_by)
    SELECT new.*, :requested_by
    FROM unnest(CAST(:assignment_ids AS bigint[]), CAST(:lead_ids AS bigint[]), CAST(:agent_ids AS bigint[]),
                CAST(:statuses AS smallint[]), CAST(:methods AS text[]), CAST(:reasons AS text[]),
                CAST(:count_befores AS bigint[]), CAST(:count_afters AS bigint[]), CAST(:open_befores AS bigint[]),
                CAST(:open_afters AS bigint[])) AS new
    RETURNING lead_id, id
""")
ROUTES_OF_AGENTS = text("""
    SELECT DISTINCT routes.name FROM route_members JOIN routes ON routes.id = route_members.route_id
    WHERE route_members.agent_id = ANY(CAST(:agent_ids AS bigint[])) AND routes.is_enabled
    ORDER BY routes.name
""")


@dataclass(frozen=True, slots=True)
class Record:
    """A row of `assignment_records` to be."""

    lead: Lead
    status: Status
    method: str
    agent_id: int | None = None
    reason: str | None = None
    count_before: int | None = None
    count_after: int | None = None
    open_before: int | None = None
    open_after: int | None = None
    is_refusal: bool = False
    #: Where it is not the one that the lead had when it was read.
    assignment_id: int | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """An agent's over all routes, as they are while we hold them."""

    open_load: int
    received: int


@dataclass(frozen=True, slots=True)
class Agent:
    """Whether an agent may take on more."""

    id: int
    is_active: bool
    max_load: int | None
    open_load: int


@dataclass(frozen=True, slots=True)
class Place:
    """An assignment's place in the day's numbering of its agent (leads-assignment seed §4.1.3)."""

    page_group_code: str
    rowid: int

    @property
    def code(self) -> str:
        return f"{self.page_group_code}-{self.rowid:04d}"


async def now(connection: AsyncConnection) -> datetime:
    """Give the database's clock: the one that all replicas share."""
    moment: datetime = (await connection.execute(NOW)).scalar_one()
    return moment


async def read_routes(connection: AsyncConnection) -> dict[int, Route]:
    rows = (await connection.execute(ROUTES)).mappings()
    return {row["id"]: Route(**{**row, "zone": ZoneInfo(row["zone"])}) for row in rows}


async def free_routes(connection: AsyncConnection, route_ids: Sequence[int]) -> frozenset[int]:
    """Say which routes nobody holds at this moment. Locks nothing for longer."""
    return frozenset((await connection.execute(FREE_ROUTES, {"ids": list(route_ids)})).scalars())


async def lock_routes(tx: AsyncConnection, route_ids: Sequence[int]) -> None:
    """Wait for these routes, in order of their ids. Returns nothing: read again after the wait."""
    await tx.execute(LOCK_ROUTES, {"ids": list(route_ids)})


async def lock_assignments(tx: AsyncConnection, lead_ids: Sequence[int]) -> None:
    """Wait for these leads' current assignments, in order of their ids."""
    await tx.execute(LOCK_ASSIGNMENTS, {"ids": list(lead_ids)})


async def leads_by_key(connection: AsyncConnection, lead_ids: Sequence[str]) -> list[Lead]:
    """Give leads by the CRM's ids, the longest waiting first."""
    return await _leads(connection, LEADS_BY_KEY, {"keys": list(lead_ids)})


async def leads_by_id(connection: AsyncConnection, ids: Sequence[int]) -> list[Lead]:
    """Give leads by our ids, the longest waiting first."""
    return await _leads(connection, LEADS_BY_ID, {"keys": list(ids)})


async def waiting_leads(
    connection: AsyncConnection, *, route_id: int | None, source: str | None, after: int, limit: int
) -> list[Lead]:
    """Give a page of the pending leads of a route or a source, or of all: those after an assignment's id."""
    values = {"source": source, "after": after, "limit": limit}
    if route_id is None:
        return await _leads(connection, WAITING, values)
    return await _leads(connection, WAITING_ON_ROUTE, values | {"route_id": route_id})


async def read_members(tx: AsyncConnection, route_id: int, day: date) -> list[Member]:
    """Give a route's members with their counters as they are now; every agent has a row of counters when this returns.

    Counters are made before any is held, so that those who hold some in order of id never wait for one being made.
    """
    rows = [dict(row) for row in (await tx.execute(MEMBERS, {"route_id": route_id, "day": day})).mappings()]
    if uncounted := [row["agent_id"] for row in rows if row["is_uncounted"]]:
        await tx.execute(MAKE_COUNTERS, {"agent_ids": uncounted})
    return [Member(**{name: value for name, value in row.items() if name != "is_uncounted"}) for row in rows]


async def move_agents(
    tx: AsyncConnection, loads: Mapping[int, int], counts: Mapping[int, int] | None = None
) -> dict[int, Counters]:
    """Add to agents' open loads and counts; give both as they are then. Holds these counters, in order of id."""
    if not loads:
        return {}
    agent_ids = sorted(loads)
    values = {
        "agent_ids": agent_ids,
        "loads": [loads[agent_id] for agent_id in agent_ids],
        "counts": [(counts or {}).get(agent_id, 0) for agent_id in agent_ids],
    }
    after = {key: Counters(load, received) for key, load, received in await tx.execute(MOVE_AGENTS, values)}
    assert len(after) == len(agent_ids), f"of agents {agent_ids} only {sorted(after)} have counters"
    return after


async def hold_agents(tx: AsyncConnection, agent_ids: Sequence[int]) -> dict[int, Agent]:
    """Hold agents' counters, in order of id, then read whether they may take on more."""
    if not agent_ids:
        return {}
    await tx.execute(LOCK_AGENTS, {"agent_ids": list(agent_ids)})
    return {row.id: Agent(*row) for row in await tx.execute(PLACES, {"agent_ids": list(agent_ids)})}


async def number_pages(tx: AsyncConnection, assigned: Sequence[Assigned], day: date) -> list[Place]:
    """Give each assignment its place in its agent's numbering of that day."""
    codes = [f"L{day:%y%m%d}{each.member.agent_code}" for each in assigned]
    wanted = Counter(codes)
    agents = dict(zip(codes, (each.member.agent_id for each in assigned), strict=True))
    values = {
        "day": day,
        "codes": list(wanted),
        "agent_ids": [agents[code] for code in wanted],
        "leads": list(wanted.values()),
    }
    last = {row.page_group_code: row.last_rowid for row in await tx.execute(NUMBER_PAGES, values)}
    next_rowid = {code: last[code] - leads for code, leads in wanted.items()}
    places = []
    for code in codes:
        next_rowid[code] += 1
        places.append(Place(code, next_rowid[code]))
    return places


async def add_decision(
    tx: AsyncConnection, route: Route | None, decided: Decided, *, kind: str, request_id: str | None
) -> int:
    """Store a decision under the route's next sequence number; one about leads of no route has neither."""
    values = {
        "route_id": route.id if route else None,
        "algorithm": decided.algorithm,
        "kind": kind,
        "request_id": request_id,
        "facts": json.dumps(decided.facts),
        "choices": json.dumps(decided.choices),
    }
    decision_id: int = (await tx.execute(ADD_DECISION, values)).scalar_one()
    return decision_id


async def assign(
    tx: AsyncConnection,
    route: Route,
    assigned: Sequence[Assigned],
    places: Sequence[Place],
    *,
    decision_id: int,
    now: datetime,
    day: date,
) -> None:
    """Write who got what, with the snapshot that the sheet prints, and count it on the route."""
    leads = [each.lead for each in assigned]
    values = {
        "route_id": route.id,
        "decision_id": decision_id,
        "now": now,
        "ids": [lead.assignment_id for lead in leads],
        "agent_ids": [each.member.agent_id for each in assigned],
        "codes": [place.code for place in places],
        "page_group_codes": [place.page_group_code for place in places],
        "rowids": [place.rowid for place in places],
        "store_codes": [lead.store_code for lead in leads],
        "store_names": [lead.store_name for lead in leads],
        "lead_dates": [lead.lead_date(route.zone) for lead in leads],
        "lead_types": [lead.lead_type for lead in leads],
        "mobile_numbers": [lead.mobile_number for lead in leads],
        "cx_names": [lead.customer_name for lead in leads],
        "addresses": [lead.address for lead in leads],
        "lead_sources": [lead.final_source or lead.source for lead in leads],
    }
    await tx.execute(ASSIGN, values)
    received = Counter(each.member.agent_id for each in assigned)
    agent_ids = sorted(received)
    await tx.execute(
        MOVE_MEMBERS,
        {
            "route_id": route.id,
            "day": day,
            "agent_ids": agent_ids,
            "leads": [received[agent_id] for agent_id in agent_ids],
        },
    )


async def wait(tx: AsyncConnection, route_id: int | None, waiting: Sequence[Waiting]) -> None:
    """Write why leads wait, and when to try again; rows that say so already are left alone."""
    values = {
        "route_id": route_id,
        "ids": [each.lead.assignment_id for each in waiting],
        "reasons": [each.reason for each in waiting],
        "retry_ats": [each.retry_at for each in waiting],
    }
    await tx.execute(WAIT, values)


async def change(tx: AsyncConnection, records: Sequence[Record], now: datetime) -> None:
    """Write new states of assignments."""
    values = {
        "now": now,
        "ids": [record.lead.assignment_id for record in records],
        "statuses": [int(record.status) for record in records],
        "reasons": [record.reason for record in records],
    }
    await tx.execute(CHANGE, values)


async def add_records(tx: AsyncConnection, records: Sequence[Record], *, requested_by: str | None) -> dict[int, int]:
    """Store changes of state; give each record's id, the revision of its event, by lead."""
    values: dict[str, Any] = {
        "requested_by": requested_by,
        "assignment_ids": [record.assignment_id or record.lead.assignment_id for record in records],
        "lead_ids": [record.lead.id for record in records],
        "agent_ids": [record.agent_id for record in records],
        "statuses": [int(record.status) for record in records],
        "methods": [record.method for record in records],
        "reasons": [record.reason for record in records],
        "count_befores": [record.count_before for record in records],
        "count_afters": [record.count_after for record in records],
        "open_befores": [record.open_before for record in records],
        "open_afters": [record.open_after for record in records],
    }
    return {row.lead_id: row.id for row in await tx.execute(ADD_RECORDS, values)}


async def begin_anew(
    tx: AsyncConnection, reasons: Mapping[int, tuple[int, str | None]], now: datetime
) -> dict[int, int]:
    """End assignments, which keep all they had, and give each lead a new, pending one: its id by lead.

    `reasons`: by lead the assignment to end, and why the new one waits. Two statements: in one, both would be current.
    """
    await tx.execute(END, {"now": now, "ids": [assignment_id for assignment_id, _ in reasons.values()]})
    values = {"lead_ids": list(reasons), "reasons": [reason for _, reason in reasons.values()]}
    return {row.lead_id: row.id for row in await tx.execute(BEGIN_ANEW, values)}


async def standing(tx: AsyncConnection, assignment_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Give what `lead.assigned` says of each assignment, but the lead's own part."""
    rows = (await tx.execute(STANDING, {"ids": list(assignment_ids)})).mappings()
    return {row["assignment_id"]: dict(row) for row in rows}


async def routes_of_agents(tx: AsyncConnection, agent_ids: Sequence[int]) -> list[str]:
    """Name the routes on which any of these agents is a member."""
    return list((await tx.execute(ROUTES_OF_AGENTS, {"agent_ids": list(agent_ids)})).scalars())


_LEAD_FIELDS = tuple(field.name for field in fields(Lead))


async def _leads(connection: AsyncConnection, statement: TextClause, values: Mapping[str, Any]) -> list[Lead]:
    rows = (await connection.execute(statement, values)).all()
    return [Lead(**{**dict(zip(_LEAD_FIELDS, row, strict=True)), "status": Status(row.status)}) for row in rows]
