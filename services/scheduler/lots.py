"""Lots by schedule: at each tick the database's clock says which slots are due; who has no lot yet is asked for one.

Any number of replicas may tick: all ask under the slot's key, and the same key is the same lot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.scheduler.slots import CATCH_UP, ScheduleError, Slot, latest_due
from shared.db.session import Database
from shared.events import LotRequested
from shared.messaging.publisher import Outgoing, Publisher

TICK_S = 10.0
#: A lot that was asked for is on its way: while no assigner runs, asking again would only fill the queue.
ASK_AGAIN_AFTER = timedelta(minutes=10)

ROUTES = text("""
    SELECT id, name, zone, schedule, created_at, clock_timestamp() AS now
    FROM routes
    WHERE is_enabled AND mode = 'lot' AND schedule <> '{}'
""")
RUN = text("""
    SELECT route_id, lot_key FROM lots
    JOIN unnest(CAST(:route_ids AS bigint[]), CAST(:keys AS text[])) AS due (route_id, lot_key)
         USING (route_id, lot_key)
""")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """A route's slot that has come, as of `now`."""

    route_id: int
    route: str
    slot: Slot
    now: datetime

    @property
    def key(self) -> tuple[int, str]:
        return self.route_id, self.slot.key

    @property
    def request(self) -> LotRequested:
        return LotRequested(
            route=self.route, lot_key=self.slot.key, occurred_at=self.slot.occurred_at, triggered_by="schedule"
        )


class LotTicker:
    """One replica's memory of what it has asked for."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._asked: dict[tuple[int, str], datetime] = {}
        self._unreadable: set[tuple[str, str]] = set()

    async def tick(self) -> None:
        """Ask for the lot of each slot that is due and has none, unless that was asked for a moment ago."""
        async with self._database.reading() as connection:
            due = [each for each in await self._due(connection) if not self._is_on_its_way(each)]
            run = await _run(connection, due)
        asked = [each for each in due if each.key not in run]
        await self._publisher.publish(
            [Outgoing(r.type, r.to_json().encode()) for r in (each.request for each in asked)]
        )
        for each in asked:
            log.info("lot.requested", route=each.route, lot_key=each.slot.key)
        self._remember(asked)

    async def _due(self, connection: AsyncConnection) -> list[Due]:
        rows = (await connection.execute(ROUTES)).mappings().all()
        slots = [(row, self._slot(row)) for row in rows]
        return [Due(row["id"], row["name"], slot, row["now"]) for row, slot in slots if slot is not None]

    def _slot(self, row: RowMapping) -> Slot | None:
        """Give the slot of a route that is due. One whose schedule cannot be read has none, and is told of once."""
        try:
            return latest_due(row["schedule"], ZoneInfo(row["zone"]), row["now"], row["created_at"])
        except (ScheduleError, ZoneInfoNotFoundError) as error:
            told = row["name"], str(error)
            if told not in self._unreadable:
                log.warning("schedule.unreadable", route=row["name"], error=str(error))
            self._unreadable.add(told)
            return None

    def _is_on_its_way(self, due: Due) -> bool:
        asked_at = self._asked.get(due.key)
        return asked_at is not None and due.now - asked_at < ASK_AGAIN_AFTER

    def _remember(self, asked: Sequence[Due]) -> None:
        """Remember what was asked for, and forget what is no longer due."""
        for each in asked:
            self._asked[each.key] = each.now
        newest = max(self._asked.values(), default=None)
        self._asked = {key: at for key, at in self._asked.items() if newest and newest - at < CATCH_UP}


async def _run(connection: AsyncConnection, due: Sequence[Due]) -> set[tuple[int, str]]:
    """Give the keys of those whose lot has been run."""
    if not due:
        return set()
    values = {"route_ids": [each.route_id for each in due], "keys": [each.slot.key for each in due]}
    return {(row.route_id, row.lot_key) for row in await connection.execute(RUN, values)}
