"""Notifier's SQL: what to mail to whom, the claim, and what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.message import MailedLead, Recipient
from shared.db.session import Database
from shared.events import DocumentReady

#: The claim of a process that says nothing for so long ends: longer than an answer to the final dot is waited for.
CLAIM_IDLE_S = 360.0
#: A send may take its time, before the dot and after it; its claim must not end before.
CLAIM_DEADLINE_S = 2 * CLAIM_IDLE_S
#: The first half of the two-part key of our advisory locks: notifications.
LOCK_CLASS = 4_270_001

#: A frozen process keeps its session, and its kernel keeps the connection: only the server can end it.
CLAIM = text("""
    SELECT pg_try_advisory_lock(:lock_class, CAST(:document_id % 2147483648 AS integer)),
           set_config('idle_session_timeout', :idle, false)
""")
RELEASE = text("SELECT pg_advisory_unlock_all(), set_config('idle_session_timeout', '0', false)")
STILL_THERE = text("SELECT 1")
SHEET = text("""
    SELECT documents.id, documents.sheet_key, documents.doc_date, documents.file_path, documents.sha256,
           documents.status, agents.agent_code, agents.agent_name, agents.email, routes.name AS route, routes.zone,
           documents.reference_id_2 AS place, routes.pipeline,
           EXISTS (
               SELECT 1 FROM assignments WHERE assignments.sheet_key = documents.sheet_key AND is_current
                  AND assignment_status_id IN (2, 3)
           ) AS is_held
    FROM documents JOIN agents ON agents.id = documents.agent_id JOIN routes ON routes.id = documents.route_id
    WHERE documents.id = :document_id
""")
LEADS = text("""
    SELECT lead_assignment_code, cx_name, mobile_number, page_group_code, store_code FROM assignments
    WHERE sheet_key = :sheet_key AND is_current ORDER BY rowid
""")
PROFILES = text("""
    SELECT notification_profiles.id, notification_profiles.code
    FROM notification_profiles JOIN pipelines ON pipelines.id = notification_profiles.pipeline_id
    WHERE pipelines.code = :pipeline AND notification_profiles.is_active
      AND notification_profiles.env IN ('any', :env) AND notification_profiles.scope = 'agent'
    ORDER BY notification_profiles.id
""")
#: Sent to the agent, under whatever address; or refused for good under this one.
IS_SETTLED = text("""
    SELECT EXISTS (
        SELECT 1 FROM notification_deliveries AS deliveries
        JOIN notifications ON notifications.id = deliveries.notification_id
        WHERE notifications.document_id = :document_id AND notifications.profile_id = :profile_id
          AND (deliveries.status = 'sent' OR deliveries.status = 'refused' AND deliveries.email_address = :email)
    )
""")
ADD_NOTIFICATION = text("""
    INSERT INTO notifications (profile_id, document_id, message_id, status, reason, sent_at)
    VALUES (:profile_id, :document_id, :message_id, CAST(:status AS text), :reason,
            CASE WHEN :status IN ('sent', 'partial') THEN now() END)
    ON CONFLICT (document_id, profile_id) DO UPDATE
    SET status = excluded.status, reason = excluded.reason, asked_at = NULL,
        sent_at = coalesce(notifications.sent_at, excluded.sent_at)
    RETURNING id
""")
ADD_DELIVERIES = text("""
    INSERT INTO notification_deliveries (notification_id, email_address, send_as, status, answer)
    SELECT :notification_id, address, send_as, status, answer
    FROM unnest(CAST(:addresses AS text[]), CAST(:send_as AS text[]), CAST(:statuses AS text[]),
                CAST(:answers AS text[])) AS new (address, send_as, status, answer)
    ON CONFLICT (notification_id, email_address) DO UPDATE
    SET status = excluded.status, answer = excluded.answer, updated_at = now()
""")
#: Mails that did not go and may go now: a void sheet's lead is its agent's again, or the agent has an address to which
#: nothing was tried yet. Each is asked for once, until something has become of that.
ASK_AGAIN = text("""
    WITH asked AS (
        UPDATE notifications SET asked_at = now()
        WHERE id IN (
            SELECT notifications.id
            FROM notifications
                 JOIN notification_profiles ON notification_profiles.id = notifications.profile_id AND is_active
                 JOIN documents ON documents.id = notifications.document_id AND documents.status = 'ok'
                 JOIN agents ON agents.id = documents.agent_id AND agents.email <> ''
            WHERE notifications.status IN ('waiting', 'failed', 'void') AND notifications.asked_at IS NULL
              AND (notifications.status = 'void' OR NOT EXISTS (
                  SELECT 1 FROM notification_deliveries
                  WHERE notification_id = notifications.id AND email_address = agents.email
              ))
              AND EXISTS (
                  SELECT 1 FROM assignments WHERE assignments.sheet_key = documents.sheet_key AND is_current
                     AND assignment_status_id IN (2, 3)
              )
            ORDER BY notifications.id LIMIT :limit FOR UPDATE OF notifications SKIP LOCKED
        )
        RETURNING document_id
    )
    SELECT documents.id AS document_id, documents.sheet_key, documents.lot_id, agents.agent_code, documents.lead_ids,
           (SELECT max(store_code) FROM assignments WHERE assignments.sheet_key = documents.sheet_key) AS store_code
    FROM documents JOIN agents ON agents.id = documents.agent_id
    WHERE documents.id IN (SELECT document_id FROM asked)
    ORDER BY documents.id
""")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A document to be mailed, as it stands."""

    id: int
    sheet_key: str
    doc_date: date
    file_path: str
    sha256: str
    status: str
    agent_code: str
    agent_name: str
    email: str | None
    route: str
    zone: str
    place: str
    pipeline: str
    #: Its agent holds at least one of its leads.
    is_held: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """The leads on a sheet."""

    leads: tuple[MailedLead, ...]
    page_group_code: str | None
    store_code: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the server said about one recipient: `sent`, `deferred` or `refused`."""

    recipient: Recipient
    status: str
    answer: str


@asynccontextmanager
async def claimed(database: Database, document_id: int, *, idle_s: float) -> AsyncIterator[AsyncConnection | None]:
    """Hold the session advisory lock of a document's mails; give None if another session holds it.

    It dies with its session: when the process ends, or says nothing on this connection for `idle_s`.
    """
    claim = {"lock_class": LOCK_CLASS, "document_id": document_id, "idle": f"{idle_s * 1000:.0f}ms"}
    async with database.reading(deadline_s=CLAIM_DEADLINE_S) as connection:
        is_ours = (await connection.execute(CLAIM, claim)).scalar_one()
        try:
            yield connection if is_ours else None
        finally:
            if not connection.invalidated:
                await connection.execute(RELEASE)


async def still_claimed(connection: AsyncConnection) -> None:
    """Return if the session, and so the claim, is still there; raise as for any lost connection if not."""
    await connection.execute(STILL_THERE)


async def read_sheet(connection: AsyncConnection, document_id: int) -> Sheet | None:
    row = (await connection.execute(SHEET, {"document_id": document_id})).mappings().one_or_none()
    return Sheet(**row) if row is not None else None


async def read_contents(connection: AsyncConnection, sheet_key: str) -> Contents:
    rows = (await connection.execute(LEADS, {"sheet_key": sheet_key})).all()
    leads = tuple(MailedLead(row.lead_assignment_code, row.cx_name, row.mobile_number) for row in rows)
    first: Any = rows[0] if rows else None
    return Contents(leads, first.page_group_code if first else None, first.store_code if first else None)


async def profiles(connection: AsyncConnection, pipeline: str, env: str) -> list[tuple[int, str]]:
    """Give id and code of the active profiles that mail a sheet to its agent."""
    rows = await connection.execute(PROFILES, {"pipeline": pipeline, "env": env})
    return [(row.id, row.code) for row in rows]


async def is_settled(connection: AsyncConnection, sheet: Sheet, profile_id: int) -> bool:
    """Whether the agent has the mail, or never will at this address."""
    values = {"document_id": sheet.id, "profile_id": profile_id, "email": sheet.email}
    settled: bool = (await connection.execute(IS_SETTLED, values)).scalar_one()
    return settled


async def add_notification(tx: AsyncConnection, values: Mapping[str, Any], deliveries: Sequence[Delivery]) -> int:
    """Store what became of a mail (`profile_id`, `document_id`, `message_id`, `status`, `reason`) and per recipient."""
    notification_id: int = (await tx.execute(ADD_NOTIFICATION, values)).scalar_one()
    if deliveries:
        await tx.execute(
            ADD_DELIVERIES,
            {
                "notification_id": notification_id,
                "addresses": [each.recipient.address for each in deliveries],
                "send_as": [each.recipient.send_as.value for each in deliveries],
                "statuses": [each.status for each in deliveries],
                "answers": [each.answer for each in deliveries],
            },
        )
    return notification_id


async def ask_again(tx: AsyncConnection, *, limit: int) -> list[DocumentReady]:
    """Mark mails that did not go and may go now as asked for; give the events that ask for them."""
    rows = (await tx.execute(ASK_AGAIN, {"limit": limit})).mappings()
    return [DocumentReady(**row) for row in rows]
