"""Lots, counts per day, and versions of routes that the database itself keeps, whoever changes a route."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision: str | None = "0003"

WHEN = postgresql.TIMESTAMP(timezone=True)

# What a version of a route says. Kept apart from the routes' counters: what is received makes no version.
CONTENT = """
CREATE VIEW route_contents AS
SELECT routes.id AS route_id, jsonb_build_object(
    'name', routes.name, 'source', sources.name, 'store_code', routes.store_code,
    'business_line', business_lines.name, 'priority', routes.priority, 'policy', routes.policy,
    'params', routes.params, 'mode', routes.mode, 'zone', routes.zone, 'pipeline', routes.pipeline,
    'sheets', routes.sheets, 'retry_pending', routes.retry_pending, 'schedule', routes.schedule,
    'is_enabled', routes.is_enabled,
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
"""

# Who joins a route, or comes back to it, begins beside the others: at the lowest count there, or at their average, as
# the route's parameter `newcomers` says. A weighted rule begins anew with each version.
START = """
CREATE FUNCTION start_members(changed bigint, was jsonb, content jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO member_counters (route_id, agent_id)
    SELECT DISTINCT changed, agent_id FROM route_members WHERE route_id = changed ORDER BY agent_id
    ON CONFLICT DO NOTHING;
    IF content ->> 'policy' = 'smooth_weighted' THEN
        UPDATE member_counters SET start_count = -assigned_count
        WHERE route_id = changed AND start_count <> -assigned_count;
    ELSIF content ->> 'policy' = 'fair' AND coalesce(content #>> '{params,newcomers}', 'lowest') <> 'zero' THEN
        WITH active AS (
            SELECT DISTINCT (member ->> 'agent_id')::bigint AS agent_id, listed.is_before
            FROM (VALUES (was, true), (content, false)) AS listed (content, is_before),
                 jsonb_array_elements(listed.content -> 'members') AS member
            WHERE (member ->> 'is_active')::boolean AND (member ->> 'is_enabled')::boolean
        ), places AS (
            SELECT active.agent_id, bool_or(is_before) AS is_old,
                   CASE content #>> '{params,count}' WHEN 'agent' THEN agent_counters.auto_assign_count
                                                     ELSE member_counters.assigned_count END AS received,
                   member_counters.start_count
            FROM active
                 JOIN member_counters ON member_counters.route_id = changed
                                     AND member_counters.agent_id = active.agent_id
                 JOIN agent_counters ON agent_counters.agent_id = active.agent_id
            GROUP BY 1, 3, 4 HAVING NOT bool_and(is_before)
        ), beside AS (
            SELECT CASE content #>> '{params,newcomers}' WHEN 'average' THEN round(avg(received + start_count))::bigint
                                                         ELSE min(received + start_count) END AS place
            FROM places WHERE is_old
        )
        UPDATE member_counters SET start_count = beside.place - places.received
        FROM places, beside
        WHERE member_counters.route_id = changed AND member_counters.agent_id = places.agent_id
          AND NOT places.is_old AND places.received + places.start_count < beside.place;
    END IF;
END $$
"""

# Waits for all routes, in order of their ids, and looks after the wait: nobody decides on half a change.
KEEP = """
CREATE FUNCTION keep_route_versions() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    route record;
BEGIN
    PERFORM 1 FROM routes ORDER BY id FOR NO KEY UPDATE;
    INSERT INTO agent_counters (agent_id) SELECT id FROM agents ORDER BY id ON CONFLICT DO NOTHING;
    FOR route IN
        SELECT now.route_id AS id, now.content, last.content AS was
        FROM route_contents AS now LEFT JOIN LATERAL (
            SELECT content FROM route_versions WHERE route_id = now.route_id ORDER BY version DESC LIMIT 1
        ) AS last ON true
        WHERE last.content IS DISTINCT FROM now.content ORDER BY now.route_id
    LOOP
        UPDATE routes SET sequence = sequence + 1,
                          version = version + CASE WHEN route.was IS NULL THEN 0 ELSE 1 END
        WHERE id = route.id;
        PERFORM start_members(route.id, coalesce(route.was, '{"members": []}'), route.content);
        INSERT INTO route_versions (route_id, version, sequence, content, starts)
        SELECT routes.id, routes.version, routes.sequence, route.content, coalesce((
            SELECT jsonb_object_agg(agent_id, start_count) FROM member_counters
            WHERE route_id = route.id AND start_count <> 0
        ), '{}')
        FROM routes WHERE routes.id = route.id;
        RETURN NEXT route.content ->> 'name';
    END LOOP;
END $$
"""

# Who changes several things in one transaction says that he keeps the versions himself, once, at its end.
NOTICE = """
CREATE FUNCTION notice_route_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('leadline.keeps_versions', true), '') <> 'yes' THEN
        PERFORM keep_route_versions();
    END IF;
    RETURN NULL;
END $$
"""
NOTICED = {
    "routes": "INSERT OR UPDATE OF name, source_id, store_code, business_line_id, priority, policy, params, mode, zone,"
    " pipeline, sheets, retry_pending, schedule, is_enabled",
    "route_members": "INSERT OR UPDATE OR DELETE",
    "agents": "UPDATE",
}


def upgrade() -> None:
    op.create_table(
        "lots",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("route_id", sa.BigInteger(), nullable=False),
        sa.Column("lot_key", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("triggered_by", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("requested_at", WHEN, nullable=False),
        sa.Column("decision_id", sa.BigInteger(), nullable=True),
        sa.Column("assigned", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unassigned", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("sheets", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", WHEN, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lots")),
        sa.UniqueConstraint("route_id", "lot_key", name=op.f("uq_lots_route_id_lot_key")),
    )
    op.create_table(
        "member_days",
        sa.Column("route_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("store_code", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("leads", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("route_id", "day", "agent_id", "store_code", name=op.f("pk_member_days")),
        postgresql_with={"fillfactor": "50"},
    )
    op.execute("""
        INSERT INTO member_days (route_id, day, agent_id, leads)
        SELECT route_id, day, agent_id, day_count FROM member_counters WHERE day IS NOT NULL
    """)
    op.drop_column("member_counters", "day")
    op.drop_column("member_counters", "day_count")
    op.add_column("member_counters", sa.Column("start_count", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("routes", sa.Column("schedule", postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column("decisions", sa.Column("day", sa.Date(), nullable=True))
    op.add_column("route_versions", sa.Column("starts", postgresql.JSONB(), server_default="{}", nullable=False))
    op.create_index(
        "ix_assignments_unbegun",
        "assignments",
        ["route_id", "id"],
        postgresql_where=sa.text("is_current AND assignment_status_id = 2 AND lot_id IS NOT NULL"),
    )
    for statement in (CONTENT, START, KEEP, NOTICE):
        op.execute(statement)
    for table, events in NOTICED.items():
        op.execute(
            f"CREATE TRIGGER keep_route_versions AFTER {events} ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION notice_route_change()"
        )


def downgrade() -> None:
    for table in NOTICED:
        op.execute(f"DROP TRIGGER keep_route_versions ON {table}")
    op.execute("DROP FUNCTION notice_route_change(), keep_route_versions(), start_members(bigint, jsonb, jsonb)")
    op.execute("DROP VIEW route_contents")
    op.drop_index("ix_assignments_unbegun", table_name="assignments")
    op.drop_column("route_versions", "starts")
    op.drop_column("decisions", "day")
    op.drop_column("routes", "schedule")
    op.drop_column("member_counters", "start_count")
    op.add_column("member_counters", sa.Column("day", sa.Date(), nullable=True))
    op.add_column("member_counters", sa.Column("day_count", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("""
        UPDATE member_counters SET day = last.day, day_count = last.leads
        FROM (SELECT DISTINCT ON (route_id, agent_id) route_id, agent_id, day, sum(leads) AS leads
              FROM member_days GROUP BY route_id, agent_id, day ORDER BY route_id, agent_id, day DESC) AS last
        WHERE (member_counters.route_id, member_counters.agent_id) = (last.route_id, last.agent_id)
    """)
    op.drop_table("member_days")
    op.drop_table("lots")
