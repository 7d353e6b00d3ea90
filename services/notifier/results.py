"""What became of mails: the rows that say which sheets a mail carries, who has it, and why it waits."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifier.planning import Delivery, Mail

_ADD = """
    INSERT INTO notifications (profile_id, mail_key, lot_id, store_code, message_id, part, parts, status, reason,
                               sent_at)
    VALUES (CAST(:profile_id AS bigint), :mail_key, :lot_id, :store_code, :message_id, :part, :parts,
            CAST(:status AS text), :reason, CASE WHEN :status IN ('sent', 'partial') THEN now() END)
    ON CONFLICT (profile_id, mail_key) DO UPDATE
"""
#: A sheet that another mail of the profile carries stays there.
_ADD_SHEETS = """
    INSERT INTO notification_sheets (profile_id, document_id, notification_id)
    SELECT CAST(:profile_id AS bigint), document_id, mail.id
    FROM mail CROSS JOIN unnest(CAST(:document_ids AS bigint[])) AS new (document_id)
    ON CONFLICT (profile_id, document_id) DO NOTHING
"""
#: Under the mail's claim, with its sheets and deliveries in one call.
RECORD = text(f"""
    WITH mail AS (
        {_ADD}
        SET status = excluded.status, reason = excluded.reason, part = excluded.part, parts = excluded.parts,
            asked_at = NULL, sent_at = coalesce(notifications.sent_at, excluded.sent_at)
        RETURNING id
    ), sheets AS (
        {_ADD_SHEETS}
    ), deliveries AS (
        INSERT INTO notification_deliveries (notification_id, email_address, display_name, send_as, status, answer,
                                             deferred_by)
        SELECT mail.id, address, name, send_as, new.status, answer, deferred_by
        FROM mail CROSS JOIN
             unnest(CAST(:addresses AS text[]), CAST(:names AS text[]), CAST(:send_as AS text[]),
                    CAST(:statuses AS text[]), CAST(:answers AS text[]), CAST(:deferred_by AS text[]))
             AS new (address, name, send_as, status, answer, deferred_by)
        ON CONFLICT (notification_id, email_address) DO UPDATE
        SET status = excluded.status, answer = excluded.answer, deferred_by = excluded.deferred_by, updated_at = now()
    )
    SELECT id FROM mail
""")  # noqa: S608  # from above
#: Without it: who has the claim knows better, and so does what is told of a mail that was tried.
NOTE = text(f"""
    WITH mail AS (
        {_ADD}
        SET asked_at = NULL,
            status = CASE notifications.status WHEN 'failed' THEN 'failed' ELSE excluded.status END,
            reason = CASE notifications.status WHEN 'failed' THEN notifications.reason ELSE excluded.reason END
        WHERE notifications.status NOT IN ('sent', 'partial')
        RETURNING id
    )
    {_ADD_SHEETS}
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
    notification_id: int = (await tx.execute(RECORD, {**_values(result), **_deliveries(result)})).scalar_one()
    return notification_id


async def note(tx: AsyncConnection, result: Result) -> None:
    """Store why a mail is not sent, claimed or not; one that was sent, or failed, stays so."""
    await tx.execute(NOTE, _values(result))


def _deliveries(result: Result) -> dict[str, list[str | None]]:
    return {
        "addresses": [each.address for each in result.deliveries],
        "names": [each.recipient.display_name for each in result.deliveries],
        "send_as": [each.recipient.send_as.value for each in result.deliveries],
        "statuses": [each.status for each in result.deliveries],
        "answers": [each.answer for each in result.deliveries],
        "deferred_by": [each.deferred_by for each in result.deliveries],
    }


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
        "document_ids": list(result.mail.document_ids),
    }
