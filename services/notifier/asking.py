"""Mails that did not go and may go now, found by the scheduler's sweep, and the events that ask for them again.

Each is asked for once, until something has become of that: what is asked for and may not go after all is written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.queries import EXPECTED, STATE
from shared.events import DocumentReady, Event, LotCompleted

#: Open mails, and the profiles that are in use. The status is one of the partial index.
_OPEN = """
    FROM notifications JOIN notification_profiles AS profiles ON profiles.id = notifications.profile_id
                        AND profiles.is_active AND profiles.env IN ('any', :env)
    WHERE notifications.status IN ('waiting', 'failed', 'void') AND notifications.asked_at IS NULL
"""
_CLAIM = "ORDER BY notifications.id LIMIT :limit FOR UPDATE OF notifications SKIP LOCKED"
_RECIPIENT = """
    FROM notification_recipients AS recipients
    WHERE recipients.profile_id = notifications.profile_id AND recipients.is_active
      AND recipients.env IN ('any', :env)
      AND (recipients.store_code IS NULL OR recipients.store_code = notifications.store_code)
"""
_UNTRIED = """
    NOT EXISTS (SELECT 1 FROM notification_deliveries AS tried
                WHERE tried.notification_id = notifications.id AND lower(tried.email_address) = lower({address}))
"""
_EVENT = """
    SELECT documents.id AS document_id, documents.sheet_key, documents.lot_id, agents.agent_code, documents.lead_ids,
           (SELECT max(store_code) FROM assignments WHERE assignments.sheet_key = documents.sheet_key) AS store_code
    FROM asked JOIN documents ON documents.id = asked.document_id JOIN agents ON agents.id = documents.agent_id
    ORDER BY documents.id
"""
#: Whose sheets are known: a void one's lead is its agent's again, or there is an address to which nothing was tried.
SHEETS_AGAIN = text(f"""
    WITH asked AS (
        UPDATE notifications SET asked_at = now()
        WHERE id IN (
            SELECT notifications.id {_OPEN} AND EXISTS (
                SELECT 1 FROM notification_sheets AS theirs JOIN documents ON documents.id = theirs.document_id
                              JOIN agents ON agents.id = documents.agent_id
                WHERE theirs.notification_id = notifications.id AND documents.status = 'ok' AND EXISTS (
                    SELECT 1 FROM assignments WHERE assignments.sheet_key = documents.sheet_key AND is_current
                       AND assignment_status_id IN (2, 3)
                ) AND CASE profiles.scope
                    WHEN 'agent' THEN agents.email <> ''
                         AND (notifications.status = 'void' OR {_UNTRIED.format(address="agents.email")})
                    ELSE notifications.status = 'void' OR EXISTS (
                        SELECT 1 {_RECIPIENT} AND {_UNTRIED.format(address="recipients.email_address")})
                END
            ) {_CLAIM}
        )
        RETURNING (SELECT min(document_id) FROM notification_sheets WHERE notification_id = notifications.id)
                  AS document_id
    ) {_EVENT}
""")  # noqa: S608
#: Whose sheets are not decided: nothing is waited for any more, and there is somebody to send to, or nothing to send.
STORES_AGAIN = text(f"""
    WITH asked AS (
        UPDATE notifications SET asked_at = now()
        WHERE id IN (
            SELECT notifications.id {_OPEN} AND profiles.scope = 'store' AND notifications.lot_id IS NOT NULL
              AND NOT EXISTS (SELECT 1 FROM notification_sheets WHERE notification_id = notifications.id)
              AND (
                  SELECT coalesce(bool_or(documents.id IS NOT NULL), false)
                     AND NOT coalesce(bool_or({STATE} = 'awaited'), false)
                     AND CASE WHEN coalesce(bool_or({STATE} = 'ready' AND NOT EXISTS (
                                  SELECT 1 FROM notification_sheets AS carried
                                  WHERE carried.profile_id = notifications.profile_id
                                    AND carried.document_id = documents.id)), false)
                              THEN EXISTS (SELECT 1 {_RECIPIENT}) ELSE notifications.status <> 'void' END
                  {EXPECTED}
                  WHERE lots.id = notifications.lot_id
                    AND its.store_code IS NOT DISTINCT FROM notifications.store_code
              ) {_CLAIM}
        )
        RETURNING (SELECT min(documents.id) {EXPECTED}
                   WHERE lots.id = notifications.lot_id
                     AND its.store_code IS NOT DISTINCT FROM notifications.store_code) AS document_id
    ) {_EVENT}
""")  # noqa: S608
SUMMARIES_AGAIN = text(f"""
    WITH asked AS (
        UPDATE notifications SET asked_at = now()
        WHERE id IN (
            SELECT notifications.id {_OPEN} AND profiles.scope = 'global' AND notifications.lot_id IS NOT NULL
              AND EXISTS (SELECT 1 {_RECIPIENT} AND {_UNTRIED.format(address="recipients.email_address")}) {_CLAIM}
        )
        RETURNING lot_id
    )
    SELECT DISTINCT lots.id AS lot_id, routes.name AS route, lots.assigned, lots.unassigned
    FROM asked JOIN lots ON lots.id = asked.lot_id JOIN routes ON routes.id = lots.route_id ORDER BY lots.id
""")  # noqa: S608


async def ask_again(tx: AsyncConnection, *, env: str, limit: int) -> list[Event]:
    """Mark mails that did not go and may go now as asked for; give the events that ask for them."""
    values = {"env": env, "limit": limit}
    documents = [*await _rows(tx, SHEETS_AGAIN, values), *await _rows(tx, STORES_AGAIN, values)]
    events: list[Event] = [DocumentReady(**row) for row in {row["document_id"]: row for row in documents}.values()]
    return events + [LotCompleted(**row) for row in await _rows(tx, SUMMARIES_AGAIN, values)]


async def _rows(tx: AsyncConnection, statement: Any, values: dict[str, Any]) -> Sequence[Any]:
    return (await tx.execute(statement, values)).mappings().all()
