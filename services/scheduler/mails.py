"""Mails that did not go and may go now: their agent has an address at last, or their lead is its agent's again."""

from __future__ import annotations

from services.notifier import queries
from shared.db.session import Database
from shared.messaging import outbox

PAGE = 200


async def ask_for_mails(database: Database) -> int:
    """Ask the notifier again for each such mail, once however many ask; give how many sheets that are."""
    total = 0
    while True:
        async with database.begin() as tx:
            asked = await queries.ask_again(tx, limit=PAGE)
            await outbox.add(tx, "scheduler", asked, is_left=True)
        if not asked:
            return total
        total += len(asked)
