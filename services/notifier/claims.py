"""The claim of a mail: a session lock, held from the look at what was sent until after the commit of what is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.session import Database

#: The claim of a process that says nothing for so long ends: longer than an answer to the final dot is waited for.
CLAIM_IDLE_S = 360.0
#: A send may take its time, before the dot and after it; its claim must not end before.
CLAIM_DEADLINE_S = 2 * CLAIM_IDLE_S
#: The first half of the two-part key of our advisory locks: notifications.
LOCK_CLASS = 4_270_001

#: A frozen process keeps its session, and its kernel keeps the connection: only the server can end it.
CLAIM = text("""
    SELECT pg_try_advisory_lock(:lock_class, :lock), set_config('idle_session_timeout', :idle, false)
""")
RELEASE = text("SELECT pg_advisory_unlock_all(), set_config('idle_session_timeout', '0', false)")
STILL_THERE = text("SELECT 1")


@asynccontextmanager
async def claimed(database: Database, identity: str, *, idle_s: float) -> AsyncIterator[AsyncConnection | None]:
    """Hold the lock of what is identified so; give None if another session holds it.

    It dies with its session: when the process ends, or says nothing on this connection for `idle_s`.
    """
    claim = {"lock_class": LOCK_CLASS, "lock": lock_of(identity), "idle": f"{idle_s * 1000:.0f}ms"}
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


def lock_of(identity: str) -> int:
    """The second half of the lock's key. Two that share one only wait for each other."""
    return int.from_bytes(sha256(identity.encode(errors="surrogatepass")).digest()[:4], signed=True)
