"""The outbox: a transaction's events in rows of the same transaction, until the broker has confirmed them.

All are in one row, but for a transaction with more events than a row may have.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.statement import Statement
from shared.events import Event
from shared.messaging.envelope import Outgoing
from shared.messaging.topology import is_always_taken

TRACEPARENT = "traceparent"
#: The most events in a row. A row is sent, and sent again, as a whole.
EVENTS_A_ROW = 1_000

#: The relays leave a row alone while whoever wrote it sends it: a second longer for each row before it.
ADD = Statement("""
    WITH gone AS (DELETE FROM outbox WHERE id = ANY(CAST(:remove AS bigint[])))
    INSERT INTO outbox (service, types, keys, bodies, traceparents, due_at)
    VALUES (
        :service, CAST(:types AS text[]), CAST(:keys AS text[]), CAST(:bodies AS text[]), CAST(:traceparents AS text[]),
        CASE WHEN :is_left THEN now() ELSE clock_timestamp() + (5 + :before) * interval '1 second' END
    )
    RETURNING id
""")
#: How many are left, as far as that matters, and how old the oldest is: ids rise with time.
LEFT = Statement("""
    SELECT count(*) AS rows, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s
    FROM (SELECT created_at FROM outbox ORDER BY id LIMIT 10000) AS oldest
""")
REMOVE = Statement("DELETE FROM outbox WHERE id = ANY(CAST(:remove AS bigint[]))")
#: A claimed row is due again later, so that a relay that dies loses nothing; nothing is locked while it publishes.
CLAIM = Statement("""
    UPDATE outbox
    SET attempts = attempts + 1, due_at = now() + least(power(2, least(attempts, 6)) * 10, 600) * interval '1 second'
    WHERE id IN (
        SELECT id FROM outbox WHERE due_at <= now() AND id <> ALL(CAST(:held AS bigint[]))
        ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING id, types, keys, bodies, traceparents
""")


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A committed row and its messages, ready to publish."""

    id: int
    messages: tuple[Outgoing, ...]


async def add(
    tx: AsyncConnection,
    service: str,
    events: Sequence[Event],
    remove: Collection[int] = (),
    traces: Mapping[str, str] | None = None,
    *,
    is_left: bool = False,
) -> list[OutboxRow]:
    """Write all events, in their order, and delete the confirmed rows `remove` with the same statement.

    `traces` gives the incoming `traceparent` per event key. Publish the rows returned once the transaction is
    committed; what `is_left` to the relays is due to them at once.
    """
    if remove and not events:
        await REMOVE.run(tx, {"remove": list(remove)})
    rows: list[OutboxRow] = []
    for start in range(0, len(events), EVENTS_A_ROW):
        values = {"service": service, "remove": list(remove), "is_left": is_left, "before": len(rows)}
        rows.append(await _add(tx, events[start : start + EVENTS_A_ROW], traces or {}, values))
        remove = ()
    return rows


async def _add(
    tx: AsyncConnection, events: Sequence[Event], traces: Mapping[str, str], values: Mapping[str, object]
) -> OutboxRow:
    types = [event.type for event in events]
    keys = [event.key or "" for event in events]
    bodies = [event.to_json() for event in events]
    traceparents = [follow(traces.get(key)) for key in keys]
    arrays = {"types": types, "keys": keys, "bodies": bodies, "traceparents": traceparents}
    ((row_id,),) = await ADD.run(tx, {**values, **arrays})
    return _row(row_id, types, keys, bodies, traceparents)


async def remove(tx: AsyncConnection, ids: Collection[int]) -> None:
    """Delete rows whose events are all confirmed."""
    await REMOVE.run(tx, {"remove": list(ids)})


async def claim(tx: AsyncConnection, *, limit: int, held: Collection[int] = ()) -> list[OutboxRow]:
    """Take rows that are due, of any service: they are due again later unless removed. `held` are left alone."""
    rows = await CLAIM.run(tx, {"limit": limit, "held": list(held)})
    return [_row(*row) for row in rows]


async def left(connection: AsyncConnection) -> tuple[int, float]:
    """Count the rows that are not confirmed yet, up to 10,000, and give the age of the oldest in seconds."""
    ((rows, oldest_s),) = await LEFT.run(connection)
    return int(rows), float(oldest_s)


def follow(traceparent: str | None) -> str:
    """Give a W3C `traceparent` with a new span: in the given trace, or in a new one."""
    parts = (traceparent or "").split("-")
    trace = parts[1] if len(parts) == 4 and len(parts[1]) == 32 else f"{random.getrandbits(128):032x}"
    return f"00-{trace}-{random.getrandbits(64):016x}-01"


def _row(
    row_id: int, types: Sequence[str], keys: Sequence[str], bodies: Sequence[str], traceparents: Sequence[str]
) -> OutboxRow:
    return OutboxRow(
        row_id,
        tuple(
            Outgoing(
                routing_key=event_type,
                body=body.encode(),
                key=key or None,
                headers={TRACEPARENT: trace},
                is_mandatory=is_always_taken(event_type),
            )
            for event_type, key, body, trace in zip(types, keys, bodies, traceparents, strict=True)
        ),
    )
