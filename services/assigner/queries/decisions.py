"""Decisions, and what is counted with them: in one call, as none of it goes by the rest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.assigner.deciding import Assigned, Decided
from services.assigner.facts import Route
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
#: The agents' counters are held by now, so whoever shares an agent's page group waits there, in order of id.
ADD_GIVING = Statement(f"""
    WITH {_decision}, pages AS (
        INSERT INTO page_groups AS now (page_group_code, agent_id, day, last_rowid)
        SELECT code, agent_id, CAST(:day AS date), leads
        FROM unnest(CAST(:codes AS text[]), CAST(:code_agent_ids AS bigint[]), CAST(:code_leads AS bigint[]))
             AS new (code, agent_id, leads) ORDER BY code
        ON CONFLICT (page_group_code) DO UPDATE SET last_rowid = now.last_rowid + excluded.last_rowid
        RETURNING page_group_code, last_rowid
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
    SELECT decision.id, pages.page_group_code, pages.last_rowid FROM decision CROSS JOIN pages
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Place:
    """An assignment's place in the day's numbering of its agent (leads-assignment seed §4.1.3)."""

    page_group_code: str
    rowid: int
    lot_sheet: str | None = None

    @property
    def sheet_key(self) -> str:
        """In a lot all of one store and agent are on one sheet; else each has its own."""
        return self.lot_sheet or self.code

    @property
    def code(self) -> str:
        return f"{self.page_group_code}-{self.rowid:04d}"


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
) -> tuple[int, list[Place]]:
    """Store a decision that gives leads away, as `add_decision` does, and count them.

    Counted are those of each member's row on its route and day, and the places in each agent's numbering of that day,
    which are given with the decision's id. The route is locked, and the agents' counters are held.
    """
    codes = [f"L{day:%y%m%d}{each.member.agent_code}" for each in decided.assigned]
    values = {
        **_decided(route, decided, kind, request_id, day),
        **_pages(codes, decided.assigned),
        **_members(decided.assigned),
    }
    rows = await ADD_GIVING.run(tx, values)
    last = {code: last_rowid for _id, code, last_rowid in rows}
    return int(rows[0]["id"]), _places(codes, decided.assigned, last, lot_id)


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
    codes: Sequence[str], assigned: Sequence[Assigned], last: Mapping[str, int], lot_id: int | None
) -> list[Place]:
    next_rowid = {code: last[code] - leads for code, leads in Counter(codes).items()}
    places = []
    for code, each in zip(codes, assigned, strict=True):
        next_rowid[code] += 1
        lot_sheet = f"lot-{lot_id}-{each.lead.store_code or ''}-{each.member.agent_code}" if lot_id else None
        places.append(Place(code, next_rowid[code], lot_sheet))
    return places
