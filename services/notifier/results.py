"""What became of mails: the rows that say which sheets a mail carries, who has it, and why it waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.planning import Delivery, Mail

ADD = """
    INSERT INTO notifications (profile_id, mail_key, lot_id, store_code, message_id, part, parts, status, reason,
                               sent_at)
    VALUES (:profile_id, :mail_key, :lot_id, :store_code, :message_id, :part, :parts, CAST(:status AS text), :reason,
            CASE WHEN :status IN ('sent', 'partial') THEN now() END)
    ON CONFLICT (profile_id, mail_key) DO UPDATE
"""
#: Under the mail's claim.
RECORD = text(f"""
    {ADD}
    SET status = excluded.status, reason = excluded.reason, part = excluded.part, parts = excluded.parts,
        asked_at = NULL, sent_at = coalesce(notifications.sent_at, excluded.sent_at)
    RETURNING id
""")
#: Without it: who has the claim knows better, and so does what is told of a mail that was tried.
NOTE = text(f"""
    {ADD}
    SET asked_at = NULL,
        status = CASE notifications.status WHEN 'failed' THEN 'failed' ELSE excluded.status END,
        reason = CASE notifications.status WHEN 'failed' THEN notifications.reason ELSE excluded.reason END
    WHERE notifications.status NOT IN ('sent', 'partial')
    RETURNING id
""")
#: A sheet that another mail of the profile carries stays there.
ADD_SHEETS = text("""
    INSERT INTO notification_sheets (profile_id, document_id, notification_id)
    SELECT :profile_id, document_id, :notification_id FROM unnest(CAST(:document_ids AS bigint[])) AS new (document_id)
    ON CONFLICT (profile_id, document_id) DO NOTHING
""")
ADD_DELIVERIES = text("""
    INSERT INTO notification_deliveries (notification_id, email_address, display_name, send_as, status, answer,
                                         deferred_by)
    SELECT :notification_id, address, name, send_as, status, answer, deferred_by
    FROM unnest(CAST(:addresses AS text[]), CAST(:names AS text[]), CAST(:send_as AS text[]),
                CAST(:statuses AS text[]), CAST(:answers AS text[]), CAST(:deferred_by AS text[]))
         AS new (address, name, send_as, status, answer, deferred_by)
    ON CONFLICT (notification_id, email_address) DO UPDATE
    SET status = excluded.status, answer = excluded.answer, deferred_by = excluded.deferred_by, updated_at = now()
""")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mail, or of a look at it."""

    profile_id: int
    mail: Mail
    status: str
    reason: str | None = None
    deliveries: tuple[Delivery, ...] = ()
    lot_id: int | None = None
    store_code: str | None = None


async def record(tx: AsyncConnection, result: Result) -> int:
    """Store what became of a mail that is claimed; give its row's id."""
    notification_id: int = (await tx.execute(RECORD, _values(result))).scalar_one()
    await _add_sheets(tx, notification_id, result)
    if result.deliveries:
        await _add_deliveries(tx, notification_id, result.deliveries)
    return notification_id


async def note(tx: AsyncConnection, result: Result) -> None:
    """Store why a mail is not sent, claimed or not; one that was sent, or failed, stays so."""
    notification_id: int | None = (await tx.execute(NOTE, _values(result))).scalar_one_or_none()
    if notification_id is not None:
        await _add_sheets(tx, notification_id, result)


async def _add_sheets(tx: AsyncConnection, notification_id: int, result: Result) -> None:
    if result.mail.document_ids:
        values = {
            "profile_id": result.profile_id,
            "notification_id": notification_id,
            "document_ids": list(result.mail.document_ids),
        }
        await tx.execute(ADD_SHEETS, values)


async def _add_deliveries(tx: AsyncConnection, notification_id: int, deliveries: Sequence[Delivery]) -> None:
    await tx.execute(
        ADD_DELIVERIES,
        {
            "notification_id": notification_id,
            "addresses": [each.address for each in deliveries],
            "names": [each.recipient.display_name for each in deliveries],
            "send_as": [each.recipient.send_as.value for each in deliveries],
            "statuses": [each.status for each in deliveries],
            "answers": [each.answer for each in deliveries],
            "deferred_by": [each.deferred_by for each in deliveries],
        },
    )


def _values(result: Result) -> dict[str, object]:
    return {
        "profile_id": result.profile_id,
        "mail_key": result.mail.key,
        "lot_id": result.lot_id,
        "store_code": result.store_code,
        "message_id": result.mail.message_id,
        "part": result.mail.part,
        "parts": result.mail.parts,
        "status": result.status,
        "reason": result.reason,
    }
