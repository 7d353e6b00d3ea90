"""Every change of an audited row leaves a record, whoever makes it and however."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from shared.db.models import AUDITED

Connection: TypeAlias = asyncpg.Connection


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def audited(connection: Connection) -> list[tuple[str, str, Any, Any]]:
    """Table, action, old and new value of all records, and none of them from now on."""
    rows = await connection.fetch(
        "WITH gone AS (DELETE FROM audit_logs RETURNING *) SELECT * FROM gone ORDER BY table_name, id"
    )
    return [
        (row["table_name"], row["action"], *(json.loads(row[name] or "null") for name in ("old_value", "new_value")))
        for row in rows
    ]


async def test_insert_update_delete(connection: Connection) -> None:
    """One record a row with the row before and after, also for statements that touch many rows."""
    await connection.execute("INSERT INTO business_lines (id, name) VALUES (1, 'Retail'), (2, 'Loans')")
    await connection.execute("UPDATE business_lines SET description = 'all of ' || name")
    await connection.execute("DELETE FROM business_lines")
    before = [{"id": 1, "name": "Retail", "description": None}, {"id": 2, "name": "Loans", "description": None}]
    after = [{**row, "description": f"all of {row['name']}"} for row in before]
    assert await audited(connection) == [
        *(("business_lines", "INSERT", None, new) for new in before),
        *(("business_lines", "UPDATE", old, new) for old, new in zip(before, after, strict=True)),
        *(("business_lines", "DELETE", old, None) for old in after),
    ]


async def test_who_and_from_where(connection: Connection) -> None:
    """The actor is that of the transaction, nobody where none was set; the address is the client's."""
    async with connection.transaction():
        await connection.execute("SET LOCAL leadline.actor = 'asha'")
        await connection.execute("INSERT INTO sources (name) VALUES ('META')")
    await connection.execute("UPDATE sources SET description = 'ads'")
    rows = await connection.fetch("SELECT action, actor, ip_address FROM audit_logs ORDER BY id")
    assert [tuple(row) for row in rows] == [("INSERT", "asha", "127.0.0.1"), ("UPDATE", None, "127.0.0.1")]


async def test_an_update_that_changes_nothing(connection: Connection) -> None:
    """It leaves no record, nor does a route whose sequence alone rises; with anything else it does."""
    await connection.execute("INSERT INTO sources (name) VALUES ('META')")
    await connection.execute("INSERT INTO routes (name, policy) VALUES ('a', 'fair'), ('b', 'fair')")
    await audited(connection)
    await connection.execute("UPDATE sources SET name = name")
    await connection.execute("UPDATE routes SET sequence = sequence + 1")
    assert await audited(connection) == []
    await connection.execute(
        "UPDATE routes SET sequence = sequence + 1, priority = CASE name WHEN 'b' THEN 5 ELSE 100 END"
    )
    (table, action, old, new), (*_, of_version) = await audited(connection)
    assert (table, action, old["name"]) == ("routes", "UPDATE", "b")
    assert new["sequence"] == old["sequence"] + 1
    assert (old["priority"], new["priority"]) == (100, 5)
    assert (of_version["name"], of_version["version"]) == ("b", old["version"] + 1)


async def test_a_record_has_all_columns(connection: Connection) -> None:
    """Also of the tables whose columns are named in their triggers: add a column, and `audit_in_order` is due again."""
    await connection.execute("INSERT INTO sources (name) VALUES ('META')")
    await connection.execute("INSERT INTO leads (lead_id, source_id, created_at) SELECT 'X1', id, now() FROM sources")
    await connection.execute("INSERT INTO assignments (lead_id) SELECT id FROM leads")
    await connection.execute("UPDATE leads SET stage = 2, repeats = 1")
    await connection.execute("UPDATE assignments SET reason = 'no_agent'")
    found = [record for record in await audited(connection) if record[0] != "sources"]
    rows = {table: dict(await connection.fetchrow(f"SELECT * FROM {table}")) for table in ("leads", "assignments")}
    assert [(table, action) for table, action, _, _ in found] == [
        ("assignments", "INSERT"),
        ("assignments", "UPDATE"),
        ("leads", "INSERT"),
        ("leads", "UPDATE"),
    ]
    for (table, _, _, inserted), (_, _, old, new) in (found[:2], found[2:]):
        assert inserted == old
        assert new.keys() == old.keys() == rows[table].keys()
        assert {name for name in new if new[name] != old[name]} <= {"reason", "stage", "repeats"}
        assert all(new[name] == value for name, value in rows[table].items() if isinstance(value, int | str | None))


async def test_what_every_lead_writes_is_recorded_as_anything_else(connection: Connection) -> None:
    """A repeat alone leaves no record, nor what changes nothing; of many rows each its own; a changed key two."""
    await connection.execute("INSERT INTO sources (name) VALUES ('META')")
    await connection.execute("""
        INSERT INTO leads (lead_id, source_id, created_at, customer_name)
        SELECT 'X' || number, sources.id, now(), 'Asha ' || number FROM sources, generate_series(1, 30) AS number
    """)
    await connection.execute("INSERT INTO assignments (lead_id) SELECT id FROM leads")
    await audited(connection)
    await connection.execute("UPDATE leads SET repeats = repeats + 1")
    await connection.execute("UPDATE assignments SET reason = reason")
    assert await audited(connection) == []
    await connection.execute("UPDATE leads SET repeats = 7, stage = 2 WHERE id % 2 = 0")
    changed = await audited(connection)
    assert len(changed) == 15
    for _, _, old, new in changed:
        assert new == {**old, "stage": 2, "repeats": 7}
    await connection.execute("UPDATE assignments SET id = id + 1000 WHERE lead_id % 3 = 0")
    moved = await audited(connection)
    before = {old["lead_id"]: old["id"] for _, _, old, _ in moved if old}
    after = {new["lead_id"]: new["id"] for _, _, _, new in moved if new}
    assert len(moved) == 20
    assert after == {lead: key + 1000 for lead, key in before.items()}


async def test_a_changed_key(connection: Connection) -> None:
    """A row that changes its key leaves a record with its old value and one with its new one."""
    await connection.execute("INSERT INTO stores (store_code) VALUES ('A1'), ('A2')")
    await audited(connection)
    await connection.execute("UPDATE stores SET store_code = 'B1' WHERE store_code = 'A1'")
    changes = [(old and old["store_code"], new and new["store_code"]) for _, _, old, new in await audited(connection)]
    assert set(changes) == {("A1", None), (None, "B1")}


@pytest.mark.parametrize("table", AUDITED)
async def test_truncate_is_refused(connection: Connection, table: str) -> None:
    """With a message that says why and what to do, also when the table is reached by CASCADE."""
    with pytest.raises(
        asyncpg.InsufficientPrivilegeError, match=r"TRUNCATE of \w+ is refused: the table is audited"
    ) as error:
        await connection.execute(f"TRUNCATE {table} CASCADE")
    assert error.value.hint == "Use DELETE."


async def test_every_audited_table_has_all_triggers(connection: Connection) -> None:
    """What the models call audited is audited, and nothing else."""
    rows = await connection.fetch("""
        SELECT tgrelid::regclass::text AS name, array_agg(tgname::text ORDER BY tgname) AS triggers
        FROM pg_trigger WHERE tgname LIKE 'audit_%' GROUP BY tgrelid
    """)
    every = ["audit_delete", "audit_insert", "audit_truncate", "audit_update"]
    assert {row["name"]: row["triggers"] for row in rows} == dict.fromkeys(AUDITED, every)


async def test_rolled_back_changes_leave_nothing(connection: Connection) -> None:
    """The record is part of the change."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("INSERT INTO sources (name) VALUES ('META')")
    await transaction.rollback()
    assert await audited(connection) == []
