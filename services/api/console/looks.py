"""What the page Now shows, read once a second for all who look at it, at a cost that does not grow with what is stored.

What is counted are the rows that came since the look before, by primary key; the newest assignments are read from the
end of their index. Counts of what waits are taken every few looks. A row counts a look late: by then those with a
smaller id, which were committed after it, are there too.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.cli.monitor.looks import SAMPLE, TOOK
from shared.db.session import Database

MINUTES = 30
HISTORY = 20_000
NEWEST = 12
WAITING_EVERY_S = 5.0
TABLES = ("leads", "assignment_records", "documents", "notifications")

MARKS = text("""
    SELECT clock_timestamp() AS at, (SELECT coalesce(max(id), 0) FROM leads) AS leads,
           (SELECT coalesce(max(id), 0) FROM assignment_records) AS assignment_records,
           (SELECT coalesce(max(id), 0) FROM documents) AS documents,
           (SELECT coalesce(max(id), 0) FROM notifications) AS notifications
""")
MOVED = text("""
    SELECT (SELECT count(*) FROM leads WHERE id > :leads AND id <= :leads_upto) AS leads,
           (SELECT count(*) FROM assignment_records WHERE id > :assignment_records AND id <= :assignment_records_upto
              AND assignment_status_id = 2 AND refused_event IS NULL) AS assigned,
           (SELECT count(*) FROM documents WHERE id > :documents AND id <= :documents_upto) AS sheets,
           (SELECT count(*) FROM notifications WHERE id > :notifications AND id <= :notifications_upto) AS mails
""")
#: At the first look: by minute, from the newest rows there are.
PAST = text("""
    SELECT 'leads' AS what, date_trunc('minute', received_at) AS minute, count(*) AS rows
    FROM (SELECT received_at FROM leads WHERE id <= :leads ORDER BY id DESC LIMIT :most) AS newest
    WHERE received_at > now() - interval '30 minutes' GROUP BY 2
    UNION ALL
    SELECT 'assigned', date_trunc('minute', updated_at), count(*)
    FROM (SELECT updated_at, assignment_status_id, refused_event FROM assignment_records
          WHERE id <= :assignment_records ORDER BY id DESC LIMIT :most) AS newest
    WHERE updated_at > now() - interval '30 minutes' AND assignment_status_id = 2 AND refused_event IS NULL GROUP BY 2
""")
LATEST = text("""
    SELECT assignment_records.id, assignment_records.updated_at AS at, leads.lead_id AS lead, leads.customer_name,
           sources.name AS source, routes.name AS route, agents.agent_code AS agent, agents.agent_name,
           assignment_records.method,
           CAST(extract(epoch FROM assignment_records.updated_at - leads.received_at) AS float) AS took_s
    FROM assignment_records JOIN leads ON leads.id = assignment_records.lead_id
         JOIN sources ON sources.id = leads.source_id JOIN agents ON agents.id = assignment_records.agent_id
         LEFT JOIN assignments ON assignments.id = assignment_records.assignment_id
         LEFT JOIN routes ON routes.id = assignments.route_id
    WHERE assignment_records.assignment_status_id = 2 AND refused_event IS NULL
    ORDER BY assignment_records.id DESC LIMIT :limit
""")
WAITING = text("""
    SELECT count(*) AS waiting, count(*) FILTER (WHERE reason IS NULL) AS fresh, count(retry_at) AS retried,
           CAST(extract(epoch FROM now() - min(created_at)) AS float) AS oldest_s,
           (SELECT count(*) FROM dead_letters WHERE status = 'new') AS dead,
           (SELECT count(*) FROM sheet_reviews WHERE status = 'open') AS reviews,
           (SELECT count(*) FROM outbox) AS outbox,
           (SELECT CAST(extract(epoch FROM now() - min(created_at)) AS float) FROM outbox) AS outbox_s
    FROM assignments WHERE is_current AND assignment_status_id = 1
""")

Minutes = OrderedDict[datetime, int]


@dataclass(frozen=True, slots=True)
class Now:
    """One look. `rates`: a minute, over the last ten looks; `minutes`: what came in each, oldest first."""

    at: datetime
    rates: Mapping[str, float]
    minutes: Mapping[str, Sequence[int]]
    latest: Sequence[Mapping[str, Any]]
    taken: int
    p50_s: float | None
    p99_s: float | None


@dataclass(slots=True)
class Watch:
    """Looks again and again; what it remembers is from its first look on."""

    database: Database
    _marks: list[Mapping[str, Any]] = field(default_factory=list)
    _moved: list[tuple[datetime, Mapping[str, int]]] = field(default_factory=list)
    _minutes: dict[str, Minutes] = field(default_factory=lambda: {"leads": Minutes(), "assigned": Minutes()})

    async def look(self) -> Now:
        """Look once. Raises as a read does."""
        async with self.database.reading() as connection:
            marks = dict((await connection.execute(MARKS)).mappings().one())
            await self._count(connection, marks)
            latest = [dict(row) for row in (await connection.execute(LATEST, {"limit": NEWEST})).mappings()]
            took = (await connection.execute(TOOK, {"sample": SAMPLE})).one()
        return Now(
            at=marks["at"],
            rates=self._rates(),
            minutes={what: _filled(minutes, marks["at"]) for what, minutes in self._minutes.items()},
            latest=latest,
            taken=took.leads,
            p50_s=took.p50_s,
            p99_s=took.p99_s,
        )

    async def _count(self, connection: AsyncConnection, marks: Mapping[str, Any]) -> None:
        """Count what has come between the two looks before this one."""
        if not self._marks:
            values = {name: marks[name] for name in TABLES}
            for row in await connection.execute(PAST, {**values, "most": HISTORY}):
                self._minutes[row.what][row.minute] = row.rows
        self._marks = [*self._marks[-1:], marks]
        if len(self._marks) == 2:
            before, upto = self._marks
            if before["at"] < upto["at"]:
                await self._add(connection, before, upto)

    async def _add(self, connection: AsyncConnection, before: Mapping[str, Any], upto: Mapping[str, Any]) -> None:
        values = {name: before[name] for name in TABLES} | {f"{name}_upto": upto[name] for name in TABLES}
        moved = dict((await connection.execute(MOVED, values)).mappings().one())
        self._moved = [*self._moved[-9:], (before["at"], moved)]
        minute = upto["at"].replace(second=0, microsecond=0)
        for what, minutes in self._minutes.items():
            minutes[minute] = minutes.get(minute, 0) + moved[what]
            while len(minutes) > MINUTES + 1:
                minutes.popitem(last=False)

    def _rates(self) -> dict[str, float]:
        if not self._moved:
            return {}
        seconds = max((self._marks[-1]["at"] - self._moved[0][0]).total_seconds(), 1.0)
        names = self._moved[0][1]
        return {name: sum(moved[name] for _, moved in self._moved) / seconds * 60 for name in names}


def _filled(minutes: Minutes, at: datetime) -> list[int]:
    """Give the count of each minute up to now."""
    last = at.replace(second=0, microsecond=0)
    return [minutes.get(last - timedelta(minutes=ago), 0) for ago in range(MINUTES - 1, -1, -1)]


@dataclass(slots=True)
class Counts:
    """What waits, counted at most every few seconds, whoever asks."""

    database: Database
    _at: float = 0.0
    _last: Mapping[str, Any] = field(default_factory=dict)

    async def read(self, *, is_urgent: bool = False) -> Mapping[str, Any]:
        """Give the counts. Raises as a read does."""
        if is_urgent or not self._last or time.monotonic() - self._at > WAITING_EVERY_S:
            async with self.database.reading() as connection:
                self._last = dict((await connection.execute(WAITING)).mappings().one())
            self._at = time.monotonic()
        return self._last
