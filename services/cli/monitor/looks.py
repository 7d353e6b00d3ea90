"""One look at the whole system: queues, replicas, counts, rates, who is next, what is new, the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.cli.replicas import Replica, read_replicas
from services.cli.standings import Line, read_lines
from shared.db.session import Database
from shared.messaging import broker, topology

QUEUES = (*(queue.name for queue in topology.WORK_QUEUES), topology.DEAD_QUEUE)
LADDER = tuple(f"retry.{rung}" for rung in topology.LADDER)
NEW_SHOWN = 8
SAMPLE = 500

#: Counters and partial indexes where there are any: a look is not to cost what it counts.
COUNTS = text("""
    SELECT clock_timestamp() AS at,
           (SELECT count(*) FROM leads) AS leads,
           (SELECT coalesce(sum(auto_assign_count), 0)::bigint FROM agent_counters) AS assigned,
           (SELECT count(*) FROM documents) AS sheets,
           (SELECT count(*) FROM notification_deliveries WHERE status = 'sent') AS mails,
           (SELECT count(*) FROM assignments WHERE is_current AND assignment_status_id = 1) AS waiting,
           (SELECT coalesce(sum(open_load), 0)::bigint FROM agent_counters) AS open,
           (SELECT count(*) FROM dead_letters WHERE status = 'new') AS dead,
           (SELECT count(*) FROM outbox) AS outbox
""")
DAY = text("""
    SELECT count(*) FILTER (WHERE assignment_status_id = 2) AS assigned,
           count(*) FILTER (WHERE assignment_status_id = 3) AS taken,
           count(*) FILTER (WHERE assignment_status_id = 4) AS closed
    FROM assignment_records
    WHERE updated_at > now() - interval '24 hours' AND refused_event IS NULL
""")
NEWEST = text("SELECT coalesce(max(id), 0) FROM assignment_records")
NEW_COUNT = text("""
    SELECT count(*) FROM assignment_records
    WHERE id > :after AND id <= :upto AND assignment_status_id = 2 AND refused_event IS NULL
""")
NEW = text("""
    SELECT assignment_records.updated_at AS at, leads.lead_id AS lead, sources.name AS source,
           agents.agent_code AS agent, method, count_before AS before, count_after AS after
    FROM assignment_records
         JOIN leads ON leads.id = assignment_records.lead_id JOIN sources ON sources.id = leads.source_id
         JOIN agents ON agents.id = assignment_records.agent_id
    WHERE assignment_records.id > :after AND assignment_records.id <= :upto
      AND assignment_status_id = 2 AND refused_event IS NULL
    ORDER BY assignment_records.id DESC LIMIT :limit
""")
#: How long the newest assignments took, read from the end of their index.
TOOK = text("""
    SELECT count(*) AS leads, percentile_cont(0.5) WITHIN GROUP (ORDER BY took_s) AS p50_s,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY took_s) AS p99_s
    FROM (
        SELECT CAST(extract(epoch FROM newest.updated_at - leads.received_at) AS float) AS took_s
        FROM (SELECT lead_id, updated_at FROM assignment_records
              WHERE assignment_status_id = 2 AND refused_event IS NULL ORDER BY id DESC LIMIT :sample) AS newest
             JOIN leads ON leads.id = newest.lead_id
    ) AS taken
""")
CONFIGURATION = text("""
    SELECT routes.name AS route, sources.name AS source, routes.store_code AS store, business_lines.name AS line,
           routes.policy, routes.mode, routes.params, routes.schedule, routes.zone, routes.is_enabled AS in_use,
           (SELECT count(DISTINCT agent_id) FROM route_members WHERE route_id = routes.id AND is_enabled) AS members
    FROM routes LEFT JOIN sources ON sources.id = routes.source_id
         LEFT JOIN business_lines ON business_lines.id = routes.business_line_id
    ORDER BY routes.name
""")


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as anybody may see it; the rungs of the retry ladder are one."""

    name: str
    ready: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds from received to assigned, of the newest assignments: of half of them at most, and of 99 in 100."""

    leads: int
    p50_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """All that was seen at one moment. `rates`: per minute since the look before; `new`: since that look, newest first.

    At the first look there are no rates and `new_count` is not known; `new` are the newest of all.
    """

    at: datetime
    counts: Mapping[str, int]
    last_24_h: Mapping[str, int]
    queues: Sequence[Queue]
    broker_problem: str | None
    replicas: Sequence[Replica]
    took: Took
    lines: Sequence[Line]
    configuration: Sequence[Mapping[str, Any]]
    new: Sequence[Mapping[str, Any]]
    newest_id: int
    new_count: int | None = None
    rates: Mapping[str, float] = field(default_factory=dict)


async def look(database: Database, amqp_url: str, before: Look | None) -> Look:
    """Look once. A broker that is away is told in the look; a database that is away raises as every read does."""
    queues, problem = await _queues(amqp_url)
    async with database.reading() as connection:
        counts = dict((await connection.execute(COUNTS)).mappings().one())
        day = dict((await connection.execute(DAY)).mappings().one())
        configuration = [dict(row) for row in (await connection.execute(CONFIGURATION)).mappings()]
        took = Took(*(await connection.execute(TOOK, {"sample": SAMPLE})).one())
        newest, new_count, new = await _new(connection, before)
    at = counts.pop("at")
    return Look(
        at=at,
        counts=counts,
        last_24_h=day,
        queues=queues,
        broker_problem=problem,
        replicas=await read_replicas(database),
        took=took,
        lines=await read_lines(database),
        configuration=configuration,
        new=new,
        newest_id=newest,
        new_count=new_count,
        rates=rates(before, at, counts),
    )


def rates(before: Look | None, at: datetime, counts: Mapping[str, int]) -> dict[str, float]:
    """Give how much has come to each count that only rises, per minute since the look before."""
    if before is None or at <= before.at:
        return {}
    minutes = (at - before.at).total_seconds() / 60
    return {name: (counts[name] - before.counts[name]) / minutes for name in ("leads", "assigned", "sheets", "mails")}


async def _queues(amqp_url: str) -> tuple[list[Queue], str | None]:
    try:
        async with broker.connect(amqp_url, "leadline monitor") as connection:
            states = {name: await broker.queue_state(connection, name) for name in (*QUEUES, *LADDER)}
    except broker.BROKER_ERRORS as error:
        return [], f"the broker does not answer: {error}"
    queues = [Queue(name, states[name].ready, states[name].consumers) for name in QUEUES]
    return [*queues, Queue("retry", sum(states[name].ready for name in LADDER), 0)], None


async def _new(connection: AsyncConnection, before: Look | None) -> tuple[int, int | None, list[dict[str, Any]]]:
    newest = int((await connection.execute(NEWEST)).scalar_one())
    values = {"after": before.newest_id if before else 0, "upto": newest}
    new = [dict(row) for row in (await connection.execute(NEW, values | {"limit": NEW_SHOWN})).mappings()]
    count = None if before is None else int((await connection.execute(NEW_COUNT, values)).scalar_one())
    return newest, count, new
