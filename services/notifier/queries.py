"""Notifier's SQL: what to mail to whom, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.contents import MailedLead, Share
from services.notifier.message import Recipient, SendAs
from services.notifier.planning import Delivery, LotSheet, Mail, State

SHEETS = """
    SELECT documents.id, documents.sheet_key, documents.doc_date, documents.file_path, documents.sha256, documents.size,
           documents.status, documents.lot_id, agents.agent_code, agents.agent_name, agents.email,
           routes.name AS route, routes.zone, routes.pipeline, stores.store_name,
           cardinality(documents.lead_ids) AS lead_count, its.store_code, its.page_group_code, its.assigned_at,
           EXISTS (
               SELECT 1 FROM assignments WHERE assignments.sheet_key = documents.sheet_key AND is_current
                  AND assignment_status_id IN (2, 3)
           ) AS is_held
    FROM documents JOIN agents ON agents.id = documents.agent_id JOIN routes ON routes.id = documents.route_id
         LEFT JOIN LATERAL (
             SELECT store_code, page_group_code, assigned_at FROM assignments
             WHERE assignments.sheet_key = documents.sheet_key ORDER BY is_current DESC, id LIMIT 1
         ) AS its ON true
         LEFT JOIN stores ON stores.store_code = its.store_code
"""
SHEETS_BY_ID = text(
    f"{SHEETS} WHERE documents.id = ANY(CAST(:ids AS bigint[])) ORDER BY agents.agent_code, documents.id"
)
LEADS = text("""
    SELECT lead_assignment_code, cx_name, mobile_number FROM assignments
    WHERE sheet_key = :sheet_key AND is_current ORDER BY rowid
""")
PROFILES = text("""
    SELECT notification_profiles.id, notification_profiles.scope
    FROM notification_profiles JOIN pipelines ON pipelines.id = notification_profiles.pipeline_id
    WHERE pipelines.code = :pipeline AND notification_profiles.is_active
      AND notification_profiles.env IN ('any', :env)
      AND notification_profiles.scope = ANY(CAST(:scopes AS text[]))
    ORDER BY notification_profiles.id
""")
#: Of a store: those who are named for it, and those for all stores. Of none: only the latter.
RECIPIENTS = text("""
    SELECT email_address, display_name, send_as FROM notification_recipients
    WHERE profile_id = :profile_id AND is_active AND env IN ('any', :env)
      AND (store_code IS NULL OR store_code = :store_code)
    ORDER BY id
""")
MAILS = """
    SELECT notifications.mail_key, notifications.message_id, notifications.part, notifications.parts,
           ARRAY(SELECT document_id FROM notification_sheets WHERE notification_id = notifications.id
                 ORDER BY document_id) AS document_ids,
           coalesce((SELECT jsonb_agg(jsonb_build_array(email_address, display_name, send_as, status, answer,
                                                        deferred_by)
                                      ORDER BY updated_at, email_address)
                     FROM notification_deliveries WHERE notification_id = notifications.id), '[]') AS deliveries
    FROM notifications
"""
MAIL = text(f"{MAILS} WHERE profile_id = :profile_id AND mail_key = :key")
LOT_MAILS = text(f"""
    {MAILS} WHERE profile_id = :profile_id AND lot_id = :lot_id AND store_code IS NOT DISTINCT FROM :store_code
    ORDER BY notifications.id
""")
#: The sheets that a lot expects, by the stores of their leads, and how each stands. One that is not made is waited for
#: while anybody has its leads.
EXPECTED = """
    FROM lots JOIN routes ON routes.id = lots.route_id CROSS JOIN LATERAL unnest(lots.sheets) AS expected (sheet_key)
         CROSS JOIN LATERAL (
             SELECT store_code FROM assignments WHERE assignments.sheet_key = expected.sheet_key LIMIT 1
         ) AS its
         LEFT JOIN documents ON documents.sheet_key = expected.sheet_key
         CROSS JOIN LATERAL (
             SELECT coalesce(bool_or(assignment_status_id IN (2, 3)), false) AS is_held,
                    coalesce(bool_or(assignment_status_id IN (2, 3, 4)), false) AS is_had
             FROM assignments WHERE assignments.sheet_key = expected.sheet_key AND is_current
         ) AS theirs
"""
STATE = """
    CASE WHEN documents.id IS NULL THEN CASE WHEN routes.sheets AND theirs.is_had THEN 'awaited' ELSE 'void' END
         WHEN documents.status <> 'ok' THEN 'void'
         WHEN theirs.is_held THEN 'ready' ELSE 'closed' END
"""
LOT_SHEETS = text(f"""
    SELECT expected.sheet_key, documents.id AS document_id, coalesce(documents.size, 0) AS size, {STATE} AS state
    {EXPECTED}
    WHERE lots.id = :lot_id AND its.store_code IS NOT DISTINCT FROM :store_code ORDER BY right(expected.sheet_key, 4)
""")  # noqa: S608
LOT = text("""
    SELECT lots.id, lots.day, lots.requested_at, lots.triggered_by, lots.run_id, lots.assigned, lots.unassigned,
           CASE WHEN routes.sheets THEN cardinality(lots.sheets) ELSE 0 END AS sheets,
           routes.name AS route, routes.zone, routes.pipeline
    FROM lots JOIN routes ON routes.id = lots.route_id WHERE lots.id = :lot_id
""")
SHARES = text("""
    SELECT assignments.store_code, agents.agent_code, agents.agent_name, count(*) AS leads
    FROM lots JOIN assignments ON assignments.sheet_key = ANY(lots.sheets) JOIN agents ON agents.id = agent_id
    WHERE lots.id = :lot_id
    GROUP BY assignments.store_code, agents.id ORDER BY assignments.store_code NULLS LAST, agents.agent_code
""")


@dataclass(frozen=True, slots=True)
class Profile:
    """Which mails are sent, and to whom: to agents, to stores or to all."""

    id: int
    scope: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """A document to be mailed, as it stands."""

    id: int
    sheet_key: str
    doc_date: date
    file_path: str
    sha256: str
    size: int
    status: str
    lot_id: int | None
    agent_code: str
    agent_name: str
    email: str | None
    route: str
    zone: str
    pipeline: str
    store_name: str | None
    lead_count: int
    store_code: str | None
    page_group_code: str | None
    assigned_at: datetime | None
    #: Its agent holds at least one of its leads.
    is_held: bool

    @property
    def void(self) -> str | None:
        """Why it may not be mailed, if so."""
        if self.status != "ok":
            return f"the sheet is {self.status}"
        return None if self.is_held else "the sheet is void"


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot, as it was done."""

    id: int
    day: date
    requested_at: datetime
    triggered_by: str
    run_id: str | None
    assigned: int
    unassigned: dict[str, int]
    sheets: int
    route: str
    zone: str
    pipeline: str


async def read_sheet(connection: AsyncConnection, document_id: int) -> Sheet | None:
    return next(iter(await read_sheets(connection, [document_id])), None)


async def read_sheets(connection: AsyncConnection, document_ids: Sequence[int]) -> list[Sheet]:
    """Give the sheets in the order of their agents' codes."""
    rows = (await connection.execute(SHEETS_BY_ID, {"ids": list(document_ids)})).mappings()
    return [Sheet(**row) for row in rows]


async def read_leads(connection: AsyncConnection, sheet_key: str) -> tuple[MailedLead, ...]:
    rows = await connection.execute(LEADS, {"sheet_key": sheet_key})
    return tuple(MailedLead(row.lead_assignment_code, row.cx_name, row.mobile_number) for row in rows)


async def read_lot(connection: AsyncConnection, lot_id: int) -> Lot | None:
    row = (await connection.execute(LOT, {"lot_id": lot_id})).mappings().one_or_none()
    return Lot(**row) if row is not None else None


async def read_shares(connection: AsyncConnection, lot_id: int) -> tuple[Share, ...]:
    """Give who got how many of a lot's leads at which store, whatever became of them since."""
    rows = (await connection.execute(SHARES, {"lot_id": lot_id})).mappings()
    return tuple(Share(**row) for row in rows)


async def read_lot_sheets(connection: AsyncConnection, lot_id: int, store_code: str | None) -> list[LotSheet]:
    """Give the sheets that the lot expects for the store, in the order of their agents' codes."""
    rows = (await connection.execute(LOT_SHEETS, {"lot_id": lot_id, "store_code": store_code})).all()
    return [LotSheet(row.sheet_key, row.document_id, row.size, State(row.state)) for row in rows]


async def profiles(connection: AsyncConnection, pipeline: str, env: str, *scopes: str) -> list[Profile]:
    """Give the active profiles of these scopes."""
    rows = await connection.execute(PROFILES, {"pipeline": pipeline, "env": env, "scopes": list(scopes)})
    return [Profile(row.id, row.scope) for row in rows]


async def recipients(connection: AsyncConnection, profile_id: int, env: str, store_code: str | None) -> list[Recipient]:
    values = {"profile_id": profile_id, "env": env, "store_code": store_code}
    rows = await connection.execute(RECIPIENTS, values)
    return [Recipient(row.email_address, row.display_name, SendAs(row.send_as)) for row in rows]


async def read_mail(connection: AsyncConnection, profile_id: int, key: str) -> Mail | None:
    row = (await connection.execute(MAIL, {"profile_id": profile_id, "key": key})).mappings().one_or_none()
    return _mail(row) if row is not None else None


async def read_lot_mails(
    connection: AsyncConnection, profile_id: int, lot_id: int, store_code: str | None
) -> list[Mail]:
    """Give the store's mails of the lot, in the order in which they came to be."""
    values = {"profile_id": profile_id, "lot_id": lot_id, "store_code": store_code}
    return [_mail(row) for row in (await connection.execute(LOT_MAILS, values)).mappings()]


def _mail(row: Any) -> Mail:
    return Mail(
        key=row["mail_key"],
        message_id=row["message_id"],
        document_ids=tuple(row["document_ids"]),
        part=row["part"],
        parts=row["parts"],
        deliveries=tuple(
            Delivery(Recipient(address, name, SendAs(send_as)), status, answer or "", deferred_by)
            for address, name, send_as, status, answer, deferred_by in row["deliveries"]
        ),
    )
