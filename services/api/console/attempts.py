"""How often somebody may try to log in: counted in the database, so that it holds over all replicas.

A try is counted before it is judged, so that many at once do not pass together. The limit over all addresses does not
lock out who is known: an address with a session that is open passes it.
"""

from __future__ import annotations

from enum import Enum

from sqlalchemy import text

from services.api.console.sessions import IDLE_H
from shared.db.session import Database

WINDOW_MIN = 10
ADDRESS_MOST, ALL_MOST = 10, 200

COUNT = text(f"""
    WITH old AS (DELETE FROM login_attempts WHERE at < now() - interval '1 day')
    SELECT count(*) AS failed, count(*) FILTER (WHERE address = :address) AS here, EXISTS (
               SELECT 1 FROM console_sessions WHERE address = :address AND seen_at > now() - interval '{IDLE_H} hours'
           ) AS is_known
    FROM login_attempts WHERE at > now() - interval '{WINDOW_MIN} minutes'
""")  # noqa: S608  # constants of ours
ADD = text("INSERT INTO login_attempts (address) VALUES (:address) RETURNING id")
TAKE_BACK = text("DELETE FROM login_attempts WHERE id = :id")


class Refusal(Enum):
    """Why a try is not even looked at."""

    ADDRESS = f"too many tries from your address: wait {WINDOW_MIN} minutes"
    ALL = f"too many tries from everywhere: wait {WINDOW_MIN} minutes"


async def attempt(database: Database, address: str) -> int | Refusal:
    """Count a try: give its number, by which `take_back` takes it back, or why it must not be made."""
    async with database.begin() as tx:
        number: int = (await tx.execute(ADD, {"address": address})).scalar_one()
    async with database.begin() as tx:
        row = (await tx.execute(COUNT, {"address": address})).one()
    refusal = _refusal(row.failed, row.here, is_known=row.is_known)
    if refusal is not None:
        await take_back(database, number)  # it was not made: going on to try makes the wait no longer
    return refusal or number


def _refusal(failed: int, here: int, *, is_known: bool) -> Refusal | None:
    if here > ADDRESS_MOST:
        return Refusal.ADDRESS
    return Refusal.ALL if failed > ALL_MOST and not is_known else None


async def take_back(database: Database, number: int) -> None:
    """Take a try back: it was right, or not looked at."""
    async with database.reading() as connection:
        await connection.execute(TAKE_BACK, {"id": number})
