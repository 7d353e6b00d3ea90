"""Lots: one row a run of a lot route."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.statement import Statement
from shared.events import LotRequested

#: Lots that people ask for within this time of each other are one.
BY_HAND = "by hand "
ADD = Statement("""
    INSERT INTO lots (route_id, lot_key, day, triggered_by, run_id, requested_at)
    SELECT :route_id, :lot_key, :day, :triggered_by, :run_id, :requested_at
    WHERE NOT (starts_with(:lot_key, :by_hand) AND EXISTS (
        SELECT 1 FROM lots
        WHERE route_id = :route_id AND starts_with(lot_key, :by_hand)
          AND requested_at BETWEEN CAST(:requested_at AS timestamptz) - interval '1 minute'
                               AND CAST(:requested_at AS timestamptz) + interval '1 minute'
    ))
    ON CONFLICT (route_id, lot_key) DO NOTHING
    RETURNING id
""")
FINISH = Statement("""
    UPDATE lots SET decision_id = :decision_id, assigned = :assigned, unassigned = CAST(:unassigned AS jsonb),
                    sheets = :sheets
    WHERE id = :id
""")


async def add_lot(tx: AsyncConnection, route_id: int, request: LotRequested, day: date) -> int | None:
    """Begin a lot; None if it has been before, or one was asked for by hand within a minute. The route is locked."""
    values = {
        "route_id": route_id,
        "lot_key": request.lot_key,
        "day": day,
        "triggered_by": request.triggered_by,
        "run_id": request.run_id,
        "requested_at": request.occurred_at,
        "by_hand": BY_HAND,
    }
    added = await ADD.run(tx, values)
    return int(added[0]["id"]) if added else None


async def finish_lot(
    tx: AsyncConnection,
    lot_id: int,
    *,
    decision_id: int | None,
    assigned: int,
    unassigned: Mapping[str, int],
    sheets: Sequence[str],
) -> None:
    """Write what a lot did."""
    values = {
        "id": lot_id,
        "decision_id": decision_id,
        "assigned": assigned,
        "unassigned": json.dumps(unassigned),
        "sheets": list(sheets),
    }
    await FINISH.run(tx, values)
