"""Decisions, and what is counted with them: in one call, as none of it goes by the rest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.deciding import Assigned, Decided
from services.assigner.facts import Route
from services.assigner.queries.counters import MOVED, Counters, assert_all, moves
from shared.db.statement import Statement

_decision = """
    next AS (
        UPDATE routes SET sequence = sequence + 1 WHERE id = CAST(:route_id AS bigint) RETURNING id, sequence, version
    ), decision AS (
        INSERT INTO decisions (route_id, route_version, sequence, algorithm, kind, request_id, day, facts, choices)
        SELECT next.id, next.version, next.sequence, :algorithm, :kind, :request_id, CAST(:day AS date),
               CAST(:facts AS jsonb), CAST(:choices AS jsonb)
        FROM (SELECT 1) AS one LEFT JOIN next ON true
        RETURNING id
    )
"""
ADD_DECISION = Statement(f"WITH {_decision} SELECT id FROM decision")  # noqa: S608  # from above
#: Whoever shares an agent's page group waits for its counters first, in order of id: what is LATERAL begins after that.
ADD_GIVING = Statement(f"""
    WITH {_decision}, {MOVED}, pages AS (
        INSERT INTO page_groups AS now (page_group_code, agent_id, day, last_rowid)
        SELECT new.code, new.agent_id, CAST(:day AS date), new.leads
        FROM (SELECT count(*) AS agents FROM moved) AS held CROSS JOIN LATERAL (
            SELECT *
            FROM unnest(CAST(:codes AS text[]), CAST(:code_agent_ids AS bigint[]), CAST(:code_leads AS bigint[]))
                 AS new (code, agent_id, leads)
            WHERE held.agents >= 0 ORDER BY code
        ) AS new
        ON CONFLICT (page_group_code) DO UPDATE SET last_rowid = now.last_rowid + excluded.last_rowid
        RETURNING agent_id, last_rowid
    ), new AS (
        SELECT * FROM unnest(CAST(:agent_ids AS bigint[]), CAST(:store_codes AS text[]), CAST(:leads AS bigint[]))
                      AS new (agent_id, store_code, leads)
    ), counted AS (
        INSERT INTO member_counters AS now (route_id, agent_id, assigned_count)
        SELECT CAST(:route_id AS bigint), agent_id, sum(leads) FROM new GROUP BY agent_id ORDER BY agent_id
        ON CONFLICT (route_id, agent_id) DO UPDATE
        SET assigned_count = now.assigned_count + excluded.assigned_count
    ), days AS (
        INSERT INTO member_days AS now (route_id, day, agent_id, store_code, leads)
        SELECT CAST(:route_id AS bigint), CAST(:day AS date), agent_id, store_code, leads FROM new
        ORDER BY agent_id, store_code
        ON CONFLICT (route_id, day, agent_id, store_code) DO UPDATE SET leads = now.leads + excluded.leads
    )
    SELECT decision.id, moved.*, pages.last_rowid FROM decision CROSS JOIN moved LEFT JOIN pages USING (agent_id)
""")  # noqa: S608


class Place(Struct, frozen=True):
    """An assignment's place in the day's numbering of its agent (leads-assignment seed §4.1.3), and its sheet."""

    page_group_code: str
    rowid: int
    code: str
    #: In a lot all of one store and agent are on one sheet; else each has its own, under its code.
    sheet_key: str


@dataclass(frozen=True, slots=True)
class Giving:
    """A decision as it is stored: its id, each lead's place, and the agents' counters as they are after it."""

    decision_id: int | None
    places: Sequence[Place]
    counters: Mapping[int, Counters]


async def add_decision(
    tx: AsyncConnection, route: Route | None, decided: Decided, *, kind: str, request_id: str | None, day: date | None
) -> int:
    """Store a decision under the route's next sequence number; one about leads of no route has neither."""
    values = _decided(route, decided, kind, request_id, day)
    ((decision_id,),) = await ADD_DECISION.run(tx, values)
    return int(decision_id)


async def add_giving(
    tx: AsyncConnection,
    route: Route,
    decided: Decided,
    *,
    kind: str,
    request_id: str | None,
    day: date,
    lot_id: int | None,
    loads: Mapping[int, int],
) -> Giving:
    """Store a decision that gives leads away, as `add_decision` does, and count them.

    Counted are those of each member's row on its route and day, the places in each agent's numbering of that day, and
    each agent's over all routes, as `move_agents` does. The route is locked.
    """
    codes = [f"L{day:%y%m%d}{each.member.agent_code}" for each in decided.assigned]
    values = {
        **_decided(route, decided, kind, request_id, day),
        **moves(loads, decided.received),
        **_pages(codes, decided.assigned),
        **_members(decided.assigned),
    }
    rows = await ADD_GIVING.run(tx, values)
    counters = {agent_id: Counters(load, received) for _id, agent_id, load, received, _rowid in rows}
    assert_all(loads, counters)
    last = {agent_id: rowid for _id, agent_id, _load, _received, rowid in rows}
    return Giving(rows[0]["id"], _places(codes, decided.assigned, last, lot_id), counters)


def _decided(
    route: Route | None, decided: Decided, kind: str, request_id: str | None, day: date | None
) -> dict[str, Any]:
    return {
        "route_id": route.id if route else None,
        "algorithm": decided.algorithm,
        "kind": kind,
        "request_id": request_id,
        "day": day,
        "facts": json.dumps(decided.facts),
        "choices": json.dumps(decided.choices),
    }


def _pages(codes: Sequence[str], assigned: Sequence[Assigned]) -> dict[str, list[Any]]:
    leads = Counter(codes)
    agents = dict(zip(codes, (each.member.agent_id for each in assigned), strict=True))
    return {
        "codes": list(leads),
        "code_agent_ids": [agents[code] for code in leads],
        "code_leads": list(leads.values()),
    }


def _members(assigned: Sequence[Assigned]) -> dict[str, list[Any]]:
    """How many each member's row gets, the one by which they are given."""
    rows = Counter((each.member.agent_id, each.member.store_code or "") for each in assigned)
    return {
        "agent_ids": [agent_id for agent_id, _ in rows],
        "store_codes": [store_code for _, store_code in rows],
        "leads": list(rows.values()),
    }


def _places(
    codes: Sequence[str], assigned: Sequence[Assigned], last: Mapping[int, int], lot_id: int | None
) -> list[Place]:
    """Number leads in the order in which they are given, up to each agent's last."""
    leads = Counter(each.member.agent_id for each in assigned)
    rowids = {agent_id: last[agent_id] - given for agent_id, given in leads.items()}
    places = []
    for group, each in zip(codes, assigned, strict=True):
        agent = each.member
        rowids[agent.agent_id] = rowid = rowids[agent.agent_id] + 1
        code = f"{group}-{rowid:04d}"
        sheet_key = f"lot-{lot_id}-{each.lead.store_code or ''}-{agent.agent_code}" if lot_id else code
        places.append(Place(group, rowid, code, sheet_key))
    return places
