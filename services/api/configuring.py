"""Changes of the configuration: by the functions of `leadline config apply`, in one transaction with what they look at.

So versions of routes, wakes and the audit log are the same, whoever changes something.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api.access import SET_ACTOR, Caller
from services.cli.agentcodes import free_codes
from services.cli.config import LOCK_ROUTES, ONE_AT_A_TIME, apply_in
from services.cli.configfile import ConfigFile
from services.cli.routeversions import put_off_versions
from shared.db.session import Database

DEADLINE_S = 30.0
CODES = text("SELECT agent_code FROM agents")


@asynccontextmanager
async def changing(database: Database, caller: Caller) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that is alone with the configuration: nothing is decided until it ends."""
    async with database.begin(deadline_s=DEADLINE_S) as tx:
        await tx.execute(ONE_AT_A_TIME)
        await tx.execute(LOCK_ROUTES)
        await put_off_versions(tx)
        await tx.execute(SET_ACTOR, {"actor": caller.actor})
        yield tx


async def apply(tx: AsyncConnection, caller: Caller, **sections: Any) -> None:
    """Apply sections as a file would have them; ConfigError says what cannot be."""
    await apply_in(tx, ConfigFile.model_validate(sections), actor=caller.actor, file="request")


async def free_code(tx: AsyncConnection) -> str:
    """Give the next code that no agent has."""
    return next(free_codes(set((await tx.execute(CODES)).scalars())))
