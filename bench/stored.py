"""Leads that are there already, with their assignments, records, keys and decisions: put there by SQL alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

#: Plausible ones. Ids are random, as CRMs give them. No number is one of `bench.leads`: that lead would be a duplicate.
_FILL = (
    """
    INSERT INTO leads (lead_id, source_id, document_type_id, document_number, store_code, customer_name, given_name,
                       surname, mobile_number, email, address, customer_type, created_at, received_at, updated_at)
    SELECT 'CRM-' || substr(md5(n::text), 1, 16), 1 + n % 5, 1, upper(substr(md5('d' || n), 1, 10)),
           (ARRAY['BLR01', 'BOM02', 'DEL03', 'MAA04', 'PNQ05'])[1 + n % 5],
           'Given' || n % 997 || ' Surname' || n % 1009, 'Given' || n % 997, 'Surname' || n % 1009,
           '+918' || substr((hashint8(n)::bigint + 10000000000)::text, 3), 'person' || n || '@example.com',
           n % 400 || ' Some Road, Some Quarter, 4000' || n % 90, 'New', t, t, t
    FROM generate_series({first}, {last}) AS n, LATERAL (SELECT now() - ({last} - n) * interval '4 seconds' AS t) AS at
    """,
    """
    INSERT INTO assignments (lead_id, assignment_status_id, route_id, agent_id, decision_id, sheet_key, page_group_code,
                             rowid, lead_assignment_code, store_code, store_name, lead_date, lead_type, mobile_number,
                             cx_name, address, lead_source, created_at, assigned_at, closed_at)
    SELECT id, CASE WHEN id % 10 < 7 THEN 4 WHEN id % 10 < 9 THEN 2 ELSE 3 END, 1, 1 + id % 10, 1 + id / 200,
           'L250101' || lpad((1 + id % 10)::text, 4, '0') || '-' || id,
           'L250101' || lpad((1 + id % 10)::text, 4, '0'), id / 10,
           'L250101' || lpad((1 + id % 10)::text, 4, '0') || '-' || id, store_code, 'Store ' || store_code,
           created_at::date, 'N', mobile_number, customer_name, address, 'META', created_at, created_at,
           CASE WHEN id % 10 < 7 THEN created_at END
    FROM leads WHERE id > {after}
    """,
    """
    INSERT INTO assignment_records (assignment_id, lead_id, agent_id, assignment_status_id, method, count_before,
                                    count_after, open_before, open_after, updated_at)
    SELECT id, lead_id, agent_id, 2, 'fair_distribution', id / 10, id / 10 + 1, 5, 6, assigned_at
    FROM assignments WHERE lead_id > {after}
    """,
    """
    INSERT INTO lead_keys (kind, key, lead_id, seen_at)
    SELECT 'document', document_type_id || ':' || document_number, id, created_at FROM leads WHERE id > {after}
    UNION ALL SELECT 'store_mobile', store_code || ':' || mobile_number, id, created_at FROM leads WHERE id > {after}
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO decisions (route_id, route_version, sequence, algorithm, kind, facts, choices)
    SELECT 1, 1, routes.sequence + n, 'fair/1', 'accepted', '{{"answers": []}}', '{{}}'
    FROM routes, generate_series(1, ({last} - {first} + 1) / 200) AS n WHERE routes.id = 1
    """,
    "UPDATE routes SET sequence = sequence + ({last} - {first} + 1) / 200 WHERE id = 1",
)
#: Those that no constraint needs: made again at the end, which is quicker than to keep them.
_INDEXES = """
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS made FROM pg_index
    WHERE indrelid = ANY('{leads,assignments,assignment_records,lead_keys,decisions}'::regclass[])
      AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)
"""
#: A server that has run for a while has the indexes of random keys in memory; a short run would mostly read them.
_AS_IN_USE = """
    CREATE EXTENSION IF NOT EXISTS pg_prewarm;
    SELECT pg_prewarm('uq_leads_lead_id'), pg_prewarm('pk_lead_keys');
"""
_QUICKLY = {"session_replication_role": "replica", "maintenance_work_mem": "'512MB'", "work_mem": "'256MB'"}


async def add_stored(admin: asyncpg.Connection[Any], first: int, last: int) -> None:
    """Store the leads of these numbers, without triggers; nobody else is at work. Then all is as after autovacuum."""
    for name, value in _QUICKLY.items():
        await admin.execute(f"SET {name} = {value}")
    after = await admin.fetchval("SELECT coalesce(max(id), 0) FROM leads")
    indexes = await admin.fetch(_INDEXES)
    for index in indexes:
        await admin.execute(f"DROP INDEX {index['name']}")
    for statement in _FILL:
        await admin.execute(statement.format(first=first, last=last, after=after))
    for index in indexes:
        await admin.execute(index["made"])
    for name in _QUICKLY:
        await admin.execute(f"RESET {name}")
    await admin.execute("VACUUM (FREEZE, ANALYZE)")
    await admin.execute("CHECKPOINT")
    await admin.execute(_AS_IN_USE)


@asynccontextmanager
async def long_after_a_checkpoint(admin: asyncpg.Connection[Any]) -> AsyncIterator[None]:
    """Have the server work meanwhile as it does for most of the time: whole pages go into the WAL after a checkpoint.

    Right after one each lead writes some four pages of random indexes whole, so that a short run would show only that.
    """
    try:
        await _set_full_pages(admin, "SET full_page_writes = off")
        yield
    finally:
        await _set_full_pages(admin, "RESET full_page_writes")


async def _set_full_pages(admin: asyncpg.Connection[Any], setting: str) -> None:
    for statement in (f"ALTER SYSTEM {setting}", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)"):
        await admin.execute(statement)
