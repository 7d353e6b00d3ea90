"""Who is logged in: a random token in a cookie, of which the database has the hash; it ends with its key.

A session ends `IDLE_H` hours after its last page, `MOST_H` hours after it began, when its key is revoked or expires,
and when its owner logs out.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_urlsafe

from sqlalchemy import text

from services.api.access import Caller
from services.cli.keys import Role, digest_of
from shared.db.session import Database

IDLE_H, MOST_H = 4, 12

ALIVE = f"""
    revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
    AND console_sessions.seen_at > now() - interval '{IDLE_H} hours'
    AND console_sessions.created_at > now() - interval '{MOST_H} hours'
"""
KEY = text("""
    SELECT id FROM api_keys
    WHERE key_sha256 = :digest AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
""")
OPEN = text("""
    INSERT INTO console_sessions (token_sha256, api_key_id, address) VALUES (:digest, :key_id, :address)
""")
USED = text("UPDATE api_keys SET last_used_at = now() WHERE id = :key_id")
#: What nobody can use any more goes when somebody comes.
SWEEP = text(f"""
    DELETE FROM console_sessions WHERE id IN (
        SELECT console_sessions.id FROM console_sessions JOIN api_keys ON api_keys.id = api_key_id
        WHERE NOT ({ALIVE}) LIMIT 1000
    )
""")  # noqa: S608  # constants of ours
FIND = text(f"""
    SELECT api_keys.id AS key_id, api_keys.name, api_keys.role, notice,
           seen_at < now() - interval '1 minute' AS is_stale
    FROM console_sessions JOIN api_keys ON api_keys.id = api_key_id
    WHERE token_sha256 = :digest AND {ALIVE}
""")  # noqa: S608  # constants of ours
TOUCH = text("UPDATE console_sessions SET seen_at = now() WHERE token_sha256 = :digest")
SAY = text("UPDATE console_sessions SET notice = :notice WHERE token_sha256 = :digest")
HEARD = text("UPDATE console_sessions SET notice = NULL WHERE token_sha256 = :digest AND notice = :notice")
END = text("DELETE FROM console_sessions WHERE token_sha256 = :digest")
STILL = text(f"""
    SELECT token_sha256 FROM console_sessions JOIN api_keys ON api_keys.id = api_key_id
    WHERE token_sha256 = ANY(CAST(:digests AS bytea[])) AND {ALIVE}
""")  # noqa: S608  # constants of ours


@dataclass(frozen=True, slots=True)
class Person(Caller):
    """Who is logged in. `csrf`: what each form must carry; it cannot be told from anything an outsider sees."""

    digest: bytes
    csrf: str
    notice: str | None = None

    @property
    def actor(self) -> str:
        return f"console:{self.name}"

    def may(self, role: str) -> bool:
        """Whether the person's role covers this one."""
        return self.role.covers(Role(role))


def csrf_of(token: str) -> str:
    """Give the token for forms of a session."""
    return hmac.new(token.encode(), b"leadline console csrf", sha256).hexdigest()


async def begin(database: Database, key: str, address: str) -> str | None:
    """Exchange a key for a new session's token; None if the key is not known, revoked or expired."""
    token = token_urlsafe(32)
    async with database.begin() as tx:
        key_id = (await tx.execute(KEY, {"digest": digest_of(key)})).scalar_one_or_none()
        if key_id is None:
            return None
        await tx.execute(SWEEP)
        await tx.execute(OPEN, {"digest": digest_of(token), "key_id": key_id, "address": address})
        await tx.execute(USED, {"key_id": key_id})
    return token


async def find(database: Database, token: str) -> Person | None:
    """Give who is logged in by a token, and note that the session is used; None if nobody is."""
    digest = digest_of(token)
    async with database.reading() as connection:
        row = (await connection.execute(FIND, {"digest": digest})).one_or_none()
        if row is None:
            return None
        if row.is_stale:
            await connection.execute(TOUCH, {"digest": digest})
    return Person(row.key_id, row.name, Role(row.role), digest, csrf_of(token), row.notice)


async def say(database: Database, person: Person, notice: str) -> None:
    """Have the person's next page say this."""
    async with database.reading() as connection:
        await connection.execute(SAY, {"digest": person.digest, "notice": notice[:2_000]})


async def heard(database: Database, person: Person) -> None:
    """The page says it: the next one does not."""
    if person.notice is not None:
        async with database.reading() as connection:
            await connection.execute(HEARD, {"digest": person.digest, "notice": person.notice})


async def end(database: Database, token: str) -> None:
    """Log out."""
    async with database.reading() as connection:
        await connection.execute(END, {"digest": digest_of(token)})


async def still_open(database: Database, digests: Iterable[bytes]) -> set[bytes]:
    """Give those of the sessions that have not ended."""
    async with database.reading() as connection:
        return set((await connection.execute(STILL, {"digests": list(digests)})).scalars())
