"""What must follow a change of routes, members or agents, in its transaction and under the locks of all routes."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

KEEP_VERSIONS = text("""
    WITH now AS (
        SELECT routes.id, jsonb_build_object(
            'name', routes.name, 'source', sources.name, 'store_code', routes.store_code,
            'business_line', business_lines.name, 'priority', routes.priority, 'policy', routes.policy,
            'params', routes.params, 'mode', routes.mode, 'zone', routes.zone, 'pipeline', routes.pipeline,
            'sheets', routes.sheets, 'retry_pending', routes.retry_pending, 'is_enabled', routes.is_enabled,
            'members', coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'agent_id', agents.id, 'agent_code', agents.agent_code, 'agent_name', agents.agent_name,
                    'email', agents.email, 'crm_user_id', agents.crm_user_id, 'is_active', agents.is_active,
                    'max_load', agents.max_load, 'business_line_id', agents.business_line_id,
                    'store_code', members.store_code, 'weight', members.weight, 'priority', members.priority,
                    'max_existing_per_lot', members.max_existing_per_lot, 'max_new_per_lot', members.max_new_per_lot,
                    'max_daily_leads', members.max_daily_leads, 'is_enabled', members.is_enabled
                ) ORDER BY agents.id, members.store_code NULLS FIRST)
                FROM route_members AS members JOIN agents ON agents.id = members.agent_id
                WHERE members.route_id = routes.id
            ), '[]')
        ) AS content
        FROM routes
        LEFT JOIN sources ON sources.id = routes.source_id
        LEFT JOIN business_lines ON business_lines.id = routes.business_line_id
    ), last AS (
        SELECT DISTINCT ON (route_id) route_id, content FROM route_versions ORDER BY route_id, version DESC
    ), raised AS (
        UPDATE routes
        SET sequence = sequence + 1, version = version + CASE WHEN last.route_id IS NULL THEN 0 ELSE 1 END
        FROM now LEFT JOIN last ON last.route_id = now.id
        WHERE routes.id = now.id AND last.content IS DISTINCT FROM now.content
        RETURNING routes.id, routes.name, routes.version, routes.sequence, now.content
    ), kept AS (
        INSERT INTO route_versions (route_id, version, sequence, content)
        SELECT id, version, sequence, content FROM raised
    )
    SELECT name FROM raised ORDER BY id
""")
MAKE_COUNTERS = (
    text("INSERT INTO agent_counters (agent_id) SELECT id FROM agents ORDER BY id ON CONFLICT DO NOTHING"),
    text("""
        INSERT INTO member_counters (route_id, agent_id)
        SELECT DISTINCT route_id, agent_id FROM route_members ON CONFLICT DO NOTHING
    """),
)


async def keep_versions(tx: AsyncConnection) -> tuple[str, ...]:
    """Give every route that is not as its last version says a new version, whatever changed it; their names.

    A new route has version 1. The version holds from the route's new sequence on, which tells caches to read again.
    """
    return tuple((await tx.execute(KEEP_VERSIONS)).scalars())


async def make_counters(tx: AsyncConnection) -> None:
    """Give agents and members that have no counters yet theirs, at zero."""
    for statement in MAKE_COUNTERS:
        await tx.execute(statement)
