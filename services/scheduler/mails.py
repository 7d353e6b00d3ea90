"""Mails that did not go and may go now: they have a recipient at last, their lead is its agent's again, or what they
waited for is void.
"""

from __future__ import annotations

from services.notifier import asking
from shared.db.session import Database
from shared.messaging import outbox

PAGE = 200


async def ask_for_mails(database: Database, *, env: str) -> int:
    """Ask the notifier again for each such mail of this environment, once however many ask; give how many events."""
    total = 0
    while True:
        async with database.begin() as tx:
            asked = await asking.ask_again(tx, env=env, limit=PAGE)
            await outbox.add(tx, "scheduler", asked, is_left=True)
        if not asked:
            return total
        total += len(asked)
