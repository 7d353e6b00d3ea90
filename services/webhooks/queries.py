"""Endpoints, and what was sent to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

ENDPOINTS = text("SELECT id, url, secret, events FROM webhooks WHERE is_active ORDER BY id")
SETTLED = text("""
    SELECT webhook_id, event_id FROM webhook_deliveries
    WHERE event_id = ANY(CAST(:event_ids AS text[])) AND webhook_id = ANY(CAST(:ids AS bigint[]))
      AND status IN ('sent', 'refused')
""")
#: One that was removed meanwhile is told of nothing any more.
KEEP = text("""
    INSERT INTO webhook_deliveries (webhook_id, event_id, event_type, lead_id, status, answer)
    SELECT webhooks.id, given.* FROM (SELECT id FROM webhooks WHERE id = :id FOR KEY SHARE) AS webhooks, unnest(
        CAST(:event_ids AS text[]), CAST(:types AS text[]), CAST(:lead_ids AS text[]), CAST(:statuses AS text[]),
        CAST(:answers AS text[])
    ) AS given
    ON CONFLICT (webhook_id, event_id) DO UPDATE
    SET status = excluded.status, answer = excluded.answer, attempts = webhook_deliveries.attempts + 1,
        updated_at = now()
    WHERE webhook_deliveries.status = 'failed'
""")
SWITCH_OFF = text("UPDATE webhooks SET is_active = false, version = version + 1 WHERE id = :id AND is_active")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send which events, and what signs them."""

    id: int
    url: str
    secret: str
    events: tuple[str, ...]


async def endpoints(connection: AsyncConnection) -> list[Endpoint]:
    """Give those that are in use."""
    return [Endpoint(row.id, row.url, row.secret, tuple(row.events)) for row in await connection.execute(ENDPOINTS)]


async def settled(
    connection: AsyncConnection, found: Sequence[Endpoint], event_ids: Sequence[str]
) -> set[tuple[int, str]]:
    """Give which events which endpoints have had, or do not want."""
    values = {"event_ids": list(event_ids), "ids": [each.id for each in found]}
    return {(row.webhook_id, row.event_id) for row in await connection.execute(SETTLED, values)}


async def keep(tx: AsyncConnection, endpoint_id: int, rows: Sequence[dict[str, Any]]) -> None:
    """Write what became of events at an endpoint; what was settled stays."""
    columns = ("event_id", "type", "lead_id", "status", "answer")
    plural = ("event_ids", "types", "lead_ids", "statuses", "answers")
    arrays = {name: [row[column] for row in rows] for name, column in zip(plural, columns, strict=True)}
    await tx.execute(KEEP, {"id": endpoint_id, **arrays})


async def switch_off(tx: AsyncConnection, endpoint_id: int) -> None:
    """Send no more to an endpoint that says that it is gone."""
    await tx.execute(SWITCH_OFF, {"id": endpoint_id})
