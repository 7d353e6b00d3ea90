"""One lead with its agent, for tests of what comes after the assigner."""

from __future__ import annotations

from shared.db.session import Database
from shared.events import LeadAssigned
from tests.driving import execute

KEY = "L2601010001-0001"


async def lay_out(database: Database, *, email: str | None = "asha@example.com", status: int = 2) -> LeadAssigned:
    """One lead with its agent, as the assigner leaves them, and what it tells."""
    await execute(database, "INSERT INTO sources (id, name) VALUES (101, 'META')")
    await execute(
        database,
        "INSERT INTO agents (id, agent_code, agent_name, email) VALUES (1, '0001', 'Asha', :email)",
        email=email,
    )
    await execute(database, "INSERT INTO routes (id, name, policy) VALUES (1, 'all', 'fair')")
    await execute(database, "INSERT INTO page_groups VALUES ('L2601010001', 1, '2026-01-01', 1)")
    await execute(database, "INSERT INTO leads (id, lead_id, source_id, created_at) VALUES (1, 'A', 101, now())")
    await execute(
        database,
        """
        INSERT INTO assignments (id, lead_id, assignment_status_id, route_id, agent_id, sheet_key, page_group_code,
                                 rowid, lead_assignment_code, lead_date, lead_type, cx_name, mobile_number, address,
                                 assigned_at)
        VALUES (1, 1, :status, 1, 1, :key, 'L2601010001', 1, :key, '2026-01-01', 'N', 'Ann', '+91', 'x', now())
        """,
        status=status,
        key=KEY,
    )
    return LeadAssigned(
        lead_id="A",
        revision=1,
        agent_code="0001",
        agent_name="Asha",
        source="META",
        route="all",
        assignment_id=1,
        assigned_at="2026-01-01T00:00:00Z",
        sheet_key=KEY,
        page_group_code="L2601010001",
        rowid=1,
        lead_assignment_code=KEY,
    )


async def give_away(database: Database) -> None:
    """The lead is another's now."""
    await execute(database, "UPDATE assignments SET is_current = false, ended_at = now()")
    await execute(database, "INSERT INTO assignments (id, lead_id) VALUES (2, 1)")


async def another_lead(
    database: Database, number: int, sheet_key: str, *, lot_id: int | None = None, store_code: str | None = None
) -> None:
    """One more lead of the same agent and day, on a sheet of its own or of a lot."""
    code = f"L2601010001-{number:04}"
    await execute(
        database,
        "INSERT INTO leads (id, lead_id, source_id, created_at) VALUES (:id, :lead_id, 101, now())",
        id=number,
        lead_id=f"L{number}",
    )
    await execute(
        database,
        """
        INSERT INTO assignments (id, lead_id, assignment_status_id, route_id, agent_id, sheet_key, page_group_code,
                                 rowid, lead_assignment_code, lead_date, lead_type, cx_name, mobile_number, address,
                                 store_code, lot_id, assigned_at)
        VALUES (:number * 100, :number, 2, 1, 1, :key, 'L2601010001', :number, :code, '2026-01-01', 'E', 'Bea', '+92',
                'y', :store_code, :lot_id, now())
        """,
        number=number,
        key=sheet_key,
        code=code,
        store_code=store_code,
        lot_id=lot_id,
    )
