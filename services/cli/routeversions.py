"""Versions of routes while a configuration is applied: the database keeps them, once, at the transaction's end."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

LATER = text("SET LOCAL leadline.keeps_versions = 'yes'")
KEEP = text("SELECT * FROM keep_route_versions() ORDER BY 1")


async def put_off_versions(tx: AsyncConnection) -> None:
    """Let the transaction's changes pass without a version each; `keep_versions` must follow."""
    await tx.execute(LATER)


async def keep_versions(tx: AsyncConnection) -> tuple[str, ...]:
    """Give every route that is not as its last version says a new version, whatever changed it; their names.

    A new route has version 1. The version holds from the route's new sequence on, which tells caches to read again.
    Agents and members without counters have them then.
    """
    return tuple((await tx.execute(KEEP)).scalars())
