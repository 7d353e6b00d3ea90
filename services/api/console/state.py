"""What all pages share: the streams, the queues as they were seen, counts, zones of routes, rates of sessions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from services.api.buckets import Buckets
from services.api.console import sessions
from services.api.console.live import Live
from services.api.console.looks import Counts
from services.api.console.queues import Queues
from shared.db.session import Database
from shared.settings import Settings

ZONES_EVERY_S = 10.0
ZONES = text("SELECT name, zone FROM routes")


class Console:
    """Lives as long as the app."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._counts = Counts(database)
        self._zones: Mapping[str, ZoneInfo] = {}
        self._zones_at = float("-inf")
        self.queues = Queues(settings.amqp_url)
        self.rates = Buckets(settings.api_rate, settings.api_rate * 4)

        async def still_open(digests: Any) -> set[bytes]:
            return await sessions.still_open(database, digests)

        self.live = Live(still_open)

    async def zones(self) -> Mapping[str, ZoneInfo]:
        """Give the zone of each route, by its name."""
        if time.monotonic() - self._zones_at > ZONES_EVERY_S:
            async with self._database.reading() as connection:
                self._zones = {row.name: ZoneInfo(row.zone) for row in await connection.execute(ZONES)}
            self._zones_at = time.monotonic()
        return self._zones

    async def counts(self) -> Mapping[str, Any]:
        """Give how many wait, are dead, are to be reviewed."""
        return await self._counts.read()

    async def close(self) -> None:
        """End the streams, and the connection to the broker."""
        await self.live.close()
        await self.queues.close()
