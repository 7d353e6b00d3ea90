"""What came back from `dead_letters`: a replayed message that goes through resolves the row that it comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.messaging.envelope import Delivery, dead_letter_id

#: The header is anybody's to send: only a row of this queue that is being replayed is resolved by it.
RESOLVE = text("""
    WITH through AS (
        SELECT id FROM dead_letters
        WHERE id = ANY(CAST(:ids AS bigint[])) AND queue = :queue AND status = 'replaying'
        ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE dead_letters SET status = 'resolved', settled_at = now() FROM through WHERE dead_letters.id = through.id
""")


def replayed(deliveries: Iterable[Delivery]) -> frozenset[int]:
    """Give the rows that deliveries were replayed from."""
    return frozenset(row_id for delivery in deliveries if (row_id := dead_letter_id(delivery)) is not None)


async def resolve(tx: AsyncConnection, queue: str, ids: Collection[int]) -> None:
    """Mark dead letters of a queue whose replays have gone through."""
    await tx.execute(RESOLVE, {"ids": list(ids), "queue": queue})
