"""Waiting for what becomes of a lead: one look at the database for all who wait, while anybody does.

Not by events: an event may pass before its waiter listens, or while the connection is lost; a row is there when one
looks (docs/decisions/0019). However many requests wait, it is one statement every 40 ms, by primary and unique keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from shared.db.session import Database

LOOK_EVERY_S = 0.04

LOOK = text("""
    SELECT leads.lead_id, leads.id, assignment_statuses.name AS state, assignments.agent_id, assignments.reason,
           assignments.retry_at, leads.revision, (
               SELECT coalesce(jsonb_object_agg(refused_event, reason), '{}') FROM assignment_records
               WHERE assignment_records.lead_id = leads.id AND refused_event = ANY(CAST(:events AS text[]))
           ) AS refused
    FROM leads JOIN assignments ON assignments.lead_id = leads.id AND assignments.is_current
         JOIN assignment_statuses ON assignment_statuses.id = assignments.assignment_status_id
    WHERE leads.lead_id = ANY(CAST(:lead_ids AS text[]))
""")


@dataclass(frozen=True, slots=True)
class Seen:
    """A lead as it stood. `refused`: by event that is waited for, why what it asked for was not done."""

    lead_id: str
    id: int
    state: str
    agent_id: int | None
    reason: str | None
    retry_at: datetime | None
    revision: int
    refused: Mapping[str, str]

    @property
    def is_closed(self) -> bool:
        return self.state == "Closed"

    @property
    def is_decided(self) -> bool:
        """Whether somebody has it, or it is said why nobody has."""
        return self.agent_id is not None or self.reason is not None or self.is_closed


IsOver = Callable[[Seen], bool]


@dataclass(eq=False, slots=True)
class _Waiter:
    lead_id: str
    event_id: str | None
    is_over: IsOver
    result: asyncio.Future[Seen]
    seen: Seen | None = None

    @property
    def is_answered(self) -> bool:
        assert self.seen is not None
        return self.event_id in self.seen.refused or self.is_over(self.seen)


class Looks:
    """All who wait in this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: set[_Waiter] = set()
        self._task: asyncio.Task[None] | None = None

    async def once(self, lead_id: str) -> Seen | None:
        """Look now."""
        return (await self._look([lead_id], [])).get(lead_id)

    async def until(
        self, lead_id: str, is_over: IsOver, *, timeout_s: float, event_id: str | None = None
    ) -> Seen | None:
        """Wait until a lead is as wanted, or its time is over; give how it was last seen, None if it was not.

        `event_id`: the event whose refusal ends the wait, too. Raises as a read does.
        """
        waiter = _Waiter(lead_id, event_id, is_over, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._go_on())
        try:
            return await asyncio.wait_for(waiter.result, timeout_s)
        except TimeoutError:
            return waiter.seen
        finally:
            self._waiters.discard(waiter)

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._waiters.clear()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _go_on(self) -> None:
        while self._waiters:
            waiting = list(self._waiters)
            try:
                seen = await self._look(
                    [each.lead_id for each in waiting], [each.event_id for each in waiting if each.event_id]
                )
            except Exception as error:  # it is each waiter's answer
                for waiter in waiting:
                    _end(waiter, error)
            else:
                for waiter in waiting:
                    waiter.seen = seen.get(waiter.lead_id, waiter.seen)
                    if waiter.seen is not None and waiter.is_answered:
                        _end(waiter, waiter.seen)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, lead_ids: Sequence[str], events: Sequence[str]) -> dict[str, Seen]:
        values: dict[str, Any] = {"lead_ids": list(set(lead_ids)), "events": list(events)}
        async with self._database.reading() as connection:
            return {row.lead_id: Seen(*row) for row in await connection.execute(LOOK, values)}


def _end(waiter: _Waiter, result: Seen | Exception) -> None:
    if waiter.result.done():
        return
    if isinstance(result, Exception):
        waiter.result.set_exception(result)
    else:
        waiter.result.set_result(result)
