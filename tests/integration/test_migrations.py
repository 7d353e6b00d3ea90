"""From an empty database to the tables of `shared.db.models`, and back; on a filled one too."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from alembic import command

from migrations import configuration, downgrade, upgrade
from shared.db.models import Base

OURS = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic_version%'
    UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT typname FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typname NOT LIKE '%alembic_version'
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def fill(connection: asyncpg.Connection) -> None:
    """Rows that point to each other in every way that a migration could stumble over."""
    await connection.execute("""
        INSERT INTO business_lines (name) VALUES ('Retail');
        INSERT INTO sources (name) VALUES ('META');
        INSERT INTO agents (agent_code, agent_name, business_line_id) SELECT '0001', 'Asha', id FROM business_lines;
        INSERT INTO routes (name, source_id, policy) SELECT 'everyone', id, 'fair' FROM sources;
        INSERT INTO route_members (route_id, agent_id) SELECT routes.id, agents.id FROM routes, agents;
        INSERT INTO leads (lead_id, source_id, country_id, created_at)
            SELECT 'X1', sources.id, countries.id, now() FROM sources, countries WHERE code = 'IN';
        INSERT INTO assignments (lead_id, route_id, agent_id, assignment_status_id, assigned_at, lead_assignment_code)
            SELECT leads.id, routes.id, agents.id, 2, now(), 'L2501010001-0001' FROM leads, routes, agents;
        INSERT INTO assignment_records
            (assignment_id, lead_id, agent_id, assignment_status_id, method, count_before, count_after)
            SELECT id, lead_id, agent_id, 2, 'fair', 4, 5 FROM assignments;
        INSERT INTO notification_recipients (profile_id, email_address)
            SELECT id, 'store@example.com' FROM notification_profiles WHERE scope = 'store';
    """)


async def test_up_and_down_on_an_empty_database(empty_database_url: str) -> None:
    """Up makes every table of the models, down leaves nothing, and up works again."""
    for _ in range(2):
        await asyncio.to_thread(upgrade, empty_database_url)
        async with connected(empty_database_url) as connection:
            tables = {row["tablename"] for row in await connection.fetch("SELECT tablename FROM pg_tables")}
        assert set(Base.metadata.tables) <= tables
        await asyncio.to_thread(downgrade, empty_database_url)
        async with connected(empty_database_url) as connection:
            assert await connection.fetch(OURS) == []


async def test_down_and_up_again_on_a_filled_database(database_url: str) -> None:
    """Each step down and up keeps all rows until their tables go, and reference data is not there twice."""
    async with connected(database_url) as connection:
        await fill(connection)
    await asyncio.to_thread(downgrade, database_url, "0001")
    await asyncio.to_thread(upgrade, database_url)
    async with connected(database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM countries") == 249
        assert await connection.fetchval("SELECT count(*) FROM notification_profiles") == 2
        assert await connection.fetchval("SELECT agent_code FROM current_assignments WHERE lead_id = 'X1'") == "0001"
    await asyncio.to_thread(downgrade, database_url)
    async with connected(database_url) as connection:
        assert await connection.fetch(OURS) == []


async def test_mails_that_are_there_keep_their_sheet_and_their_message_id(database_url: str) -> None:
    """Down to a mail a document and up again; what is of no single sheet is gone after that."""
    await asyncio.to_thread(downgrade, database_url, "0006")
    async with connected(database_url) as connection:
        await connection.execute("""
            INSERT INTO documents (id, sheet_key, doc_type, doc_subtype, doc_date, mime_type, storage_backend, status,
                                   agent_id, route_id, lead_ids, created_by)
            VALUES (5, 'L2501010001-0001', 'a', 'b', now(), 'c', 'fs', 'ok', 1, 1, '{X1}', 'd');
            INSERT INTO notifications (id, profile_id, document_id, message_id, status)
            VALUES (8, 2, 5, '<1@example.com>', 'sent'), (9, 2, 6, '<2@example.com>', 'waiting');
            INSERT INTO notification_deliveries (notification_id, email_address, send_as, status)
            VALUES (8, 'asha@example.com', 'to', 'sent');
        """)
    await asyncio.to_thread(upgrade, database_url)
    mails = (
        "SELECT mail_key, message_id, document_id FROM notifications, notification_sheets WHERE id = notification_id"
    )
    async with connected(database_url) as connection:
        assert [tuple(row) for row in await connection.fetch(f"{mails} ORDER BY id")] == [
            ("sheet:L2501010001-0001", "<1@example.com>", 5),
            ("document:6", "<2@example.com>", 6),
        ]
        await connection.execute("""
            INSERT INTO notifications (id, profile_id, mail_key, lot_id, message_id, status)
            VALUES (10, 1, 'lot:7:S1:1', 7, '<3@example.com>', 'sent');
            INSERT INTO notification_sheets VALUES (1, 5, 10);
            INSERT INTO notification_deliveries (notification_id, email_address, send_as, status)
            VALUES (10, 'store@example.com', 'to', 'sent');
        """)
    await asyncio.to_thread(downgrade, database_url, "0006")
    async with connected(database_url) as connection:
        kept = await connection.fetch("SELECT id, document_id FROM notifications ORDER BY id")
        assert [tuple(row) for row in kept] == [(8, 5), (9, 6)]


async def test_the_migrations_give_the_models(database_url: str) -> None:
    """`alembic check` has nothing to say."""
    await asyncio.to_thread(command.check, configuration(database_url))


async def test_upgrades_at_once(empty_database_url: str) -> None:
    """In two processes, and twice in this one: all return, and everything is there once."""
    program = f"import migrations; migrations.upgrade({empty_database_url!r})"
    others = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(2)]
    await asyncio.gather(*(asyncio.to_thread(upgrade, empty_database_url) for _ in range(2)))
    assert [await process.wait() for process in others] == [0, 0]
    async with connected(empty_database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM assignment_statuses") == 4
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1


async def test_reference_data(database_url: str) -> None:
    """States, countries, document types and the seed's pipeline and profile are there from the start."""
    async with connected(database_url) as connection:
        statuses = await connection.fetch("SELECT id, name FROM assignment_statuses ORDER BY id")
        assert [tuple(row) for row in statuses] == [(1, "Pending"), (2, "Assigned"), (3, "In Progress"), (4, "Closed")]
        assert await connection.fetchval("SELECT name FROM countries WHERE code = 'IN'") == "India"
        assert await connection.fetchval("SELECT count(*) FROM document_types WHERE name = 'Passport'") == 1
        profiles = await connection.fetch("""
            SELECT pipelines.code AS pipeline, pipelines.description, profiles.code, env, scope, attach_mode, is_active
            FROM notification_profiles AS profiles JOIN pipelines ON pipelines.id = pipeline_id ORDER BY profiles.id
        """)
        pipeline = ("leads_assignment", "Leads Assignment")
        assert [tuple(row) for row in profiles] == [
            (*pipeline, "leads_assignment", "any", "store", "per_store_pdf", True),
            (*pipeline, "agent_sheet", "any", "agent", "per_sheet_pdf", True),
        ]
        assert await connection.fetchval("SELECT count(*) FROM audit_logs") == 0


async def test_the_views(database_url: str) -> None:
    """What outsiders rely on: the columns, and one row each time a lead was assigned."""
    async with connected(database_url) as connection:
        await fill(connection)
        await connection.execute("""
            INSERT INTO assignment_records (assignment_id, lead_id, agent_id, assignment_status_id, method)
            SELECT id, lead_id, agent_id, 4, 'closed' FROM assignments
        """)
        current = dict(await connection.fetchrow("SELECT * FROM current_assignments") or {})
        assert current.pop("assigned_at") is not None
        assert current == {
            "lead_id": "X1",
            "agent_code": "0001",
            "status": "Assigned",
            "route": "everyone",
            "lead_assignment_code": "L2501010001-0001",
        }
        (history,) = map(dict, await connection.fetch("SELECT * FROM auto_assign_history"))
        assert history.pop("created_at") is not None
        assert history == {
            "id": 1,
            "lead_uid": "X1",
            "source": "META",
            "assigned_cre_id": 1,
            "assigned_cre_name": "Asha",
            "cre_total_leads_before": 4,
            "cre_total_leads_after": 5,
            "assignment_method": "fair",
        }


async def test_the_outbox_is_not_compressed(database_url: str) -> None:
    """What `alembic check` does not look at."""
    async with connected(database_url) as connection:
        stored = await connection.fetch("""
            SELECT attname, attstorage FROM pg_attribute
            WHERE attrelid = 'outbox'::regclass AND atttypid = 'text[]'::regtype
        """)
    assert {row["attname"] for row in stored} == {"types", "keys", "bodies", "traceparents"}
    assert {row["attstorage"] for row in stored} == {b"e"}
