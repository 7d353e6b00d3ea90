"""What sheets and links to them are signed with: the keys that are set, and the one that the installation has made."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

OWN = text("SELECT key FROM installation_keys WHERE name = 'sheets'")


@dataclass(frozen=True, slots=True)
class SheetKeys:
    """Sheets are signed with the first key; one that any of them has signed is ours."""

    known: tuple[bytes, ...]

    @property
    def signing(self) -> bytes:
        return self.known[0]


async def read_keys(connection: AsyncConnection, configured: str = "") -> SheetKeys:
    """Give the keys: those of LEADLINE_SHEET_KEY, newest first, then the installation's own."""
    own = bytes((await connection.execute(OWN)).scalar_one())
    return SheetKeys((*(key.encode() for key in configured.split(",") if key), own))
