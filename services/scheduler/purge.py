"""Dead letters that are old enough go. What operators did to them stays on record, without what the messages said."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from shared.db.session import Database

PAGE = 1_000
#: How often is looked for some that are old enough.
PURGE_S = 600.0

PURGE = text("""
    WITH old AS (
        SELECT id FROM dead_letters
        WHERE settled_at < now() - CAST(:settled_days AS integer) * interval '1 day'
           OR status = 'new' AND failed_at < now() - CAST(:new_days AS integer) * interval '1 day'
        LIMIT :page FOR UPDATE SKIP LOCKED
    ), edits AS (
        UPDATE dead_letter_actions SET before = NULL, after = NULL
        WHERE action = 'edit' AND dead_letter_id IN (SELECT id FROM old)
    ), purged AS (
        DELETE FROM dead_letters WHERE id IN (SELECT id FROM old) RETURNING 1
    )
    SELECT count(*) FROM purged
""")

#: What was sent to webhooks is kept as long: a replayed event would be sent again after that.
PURGE_TOLD = text("""
    DELETE FROM webhook_deliveries WHERE (webhook_id, event_id) IN (
        SELECT webhook_id, event_id FROM webhook_deliveries
        WHERE updated_at < now() - CAST(:settled_days AS integer) * interval '1 day'
        LIMIT :page FOR UPDATE SKIP LOCKED
    )
""")


@dataclass(frozen=True, slots=True)
class Retention:
    """Days: since they were resolved or discarded; since they died last, for those that nobody has worked."""

    settled_days: int
    #: None: they stay.
    new_days: int | None = None


async def purge_dead_letters(database: Database, retention: Retention) -> int:
    """Remove what is older than the retention, page by page; give how many. What is being replayed stays."""
    total = 0
    while True:
        async with database.begin() as tx:
            values = {"settled_days": retention.settled_days, "new_days": retention.new_days, "page": PAGE}
            purged = int((await tx.execute(PURGE, values)).scalar_one())
        total += purged
        if purged < PAGE:
            return total


async def purge_told(database: Database, retention: Retention) -> int:
    """Forget what was sent to webhooks longer ago than dead letters are kept; give how many."""
    total = 0
    while True:
        async with database.begin() as tx:
            values = {"settled_days": retention.settled_days, "page": PAGE}
            purged = (await tx.execute(PURGE_TOLD, values)).rowcount
        total += purged
        if purged < PAGE:
            return total
