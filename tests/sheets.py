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


async def lay_out_lot(database: Database, **stores: int) -> dict[str, list[LeadAssigned]]:
    """Lot 7 of the route `pickups`: at each store so many sheets of two leads, each of an agent of its own.

    Gives, by store, what the assigner tells of the first lead of each sheet.
    """
    await execute(database, "INSERT INTO sources (id, name) VALUES (101, 'META')")
    await execute(database, "INSERT INTO routes (id, name, policy, mode) VALUES (7, 'pickups', 'capped_lot', 'lot')")
    places = [(store, number) for store, sheets in stores.items() for number in range(sheets)]
    told: dict[str, list[LeadAssigned]] = {store: [] for store in stores}
    for agent, (store, _) in enumerate(places, 1):
        told[store].append(await _lot_sheet(database, agent, store))
    await execute(
        database,
        """
        INSERT INTO lots (id, route_id, lot_key, day, triggered_by, run_id, requested_at, assigned, unassigned, sheets)
        VALUES (7, 7, 'key', '2026-01-01', 'schedule', 'run-1', '2026-01-01T04:30:00Z', :assigned,
                '{"daily cap reached": 3}', :sheets)
        """,
        assigned=2 * len(places),
        sheets=[event.sheet_key for events in told.values() for event in events],
    )
    return told


async def _lot_sheet(database: Database, agent: int, store: str) -> LeadAssigned:
    code = f"{agent:04}"
    group = f"L260101{code}"
    await execute(
        database,
        "INSERT INTO agents (id, agent_code, agent_name) VALUES (:id, :code, :name)",
        id=agent,
        code=code,
        name=f"Agent {agent}",
    )
    await execute(
        database, "INSERT INTO page_groups VALUES (:group, :agent, '2026-01-01', 2)", group=group, agent=agent
    )
    for rowid in (1, 2):
        lead = agent * 10 + rowid
        await execute(
            database,
            "INSERT INTO leads (id, lead_id, source_id, created_at) VALUES (:id, :lead_id, 101, now())",
            id=lead,
            lead_id=f"L{lead}",
        )
        await execute(
            database,
            """
            INSERT INTO assignments (id, lead_id, assignment_status_id, route_id, agent_id, sheet_key, page_group_code,
                                     rowid, lead_assignment_code, lead_date, lead_type, cx_name, mobile_number,
                                     store_code, lot_id, assigned_at)
            VALUES (:id, :id, 2, 7, :agent, :key, :group, :rowid, :code, '2026-01-01', 'N', 'Ann', '+91', :store, 7,
                    '2026-01-01T04:30:01Z')
            """,
            id=lead,
            agent=agent,
            key=f"lot-7-{store}-{code}",
            group=group,
            rowid=rowid,
            code=f"{group}-000{rowid}",
            store=store,
        )
    return LeadAssigned(
        lead_id=f"L{agent * 10 + 1}",
        revision=1,
        agent_code=code,
        agent_name=f"Agent {agent}",
        source="META",
        store_code=store,
        route="pickups",
        assignment_id=agent * 10 + 1,
        assigned_at="2026-01-01T04:30:01Z",
        lot_id=7,
        sheet_key=f"lot-7-{store}-{code}",
        page_group_code=group,
        rowid=1,
        lead_assignment_code=f"{group}-0001",
    )


async def add_recipients(database: Database, profile: str, *addresses: str, **columns: str | None) -> None:
    """Recipients of a profile, as an operator inserts them."""
    values = {"store_code": "S1", "env": "any", "send_as": "to", **columns}
    for address in addresses:
        await execute(
            database,
            """
            INSERT INTO notification_recipients (profile_id, store_code, env, email_address, display_name, send_as)
            SELECT id, :store_code, :env, :address, 'Name', :send_as FROM notification_profiles WHERE code = :profile
            """,
            profile=profile,
            address=address,
            **values,
        )
