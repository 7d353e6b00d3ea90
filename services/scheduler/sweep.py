"""The sweep: every so often, ask for another look at the leads that wait and may go through by now."""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import text

from shared.db.session import Database
from shared.events import AssignmentRequested
from shared.messaging.failures import Other, classify
from shared.messaging.publisher import Outgoing, Publisher

log = structlog.get_logger(__name__)

#: Routes with a lead that waits for no known time, or whose time has come. Lots wait for their lot; a lead that came
#: a moment ago is on its way; a route whose leads wait for a person is left to that person.
WAITING = text("""
    SELECT DISTINCT routes.name
    FROM assignments LEFT JOIN routes ON routes.id = assignments.route_id
    WHERE assignments.is_current AND assignments.assignment_status_id = 1
      AND (assignments.retry_at IS NULL OR assignments.retry_at <= now())
      AND assignments.created_at < now() - interval '5 seconds'
      AND (routes.id IS NULL OR (routes.mode = 'stream' AND routes.retry_pending AND routes.is_enabled))
""")


async def sweep(database: Database, publisher: Publisher) -> int:
    """Request an assignment for each route with leads that wait; give how many."""
    async with database.reading() as connection:
        routes = list((await connection.execute(WAITING)).scalars())
    requests = [AssignmentRequested(route=route, requested_by="sweep") for route in routes]
    await publisher.publish([Outgoing(request.type, request.to_json().encode()) for request in requests])
    return len(requests)


async def sweep_every(interval_s: float, database: Database, publisher: Publisher, stop: asyncio.Event) -> None:
    """Sweep now and then at every interval, until stopped. A broker or a database that is away is tried next time."""
    while not stop.is_set():
        try:
            requested = await sweep(database, publisher)
        except Exception as error:
            if isinstance(classify(error), Other):
                raise
            log.warning("sweep.put_off", error=str(error))
        else:
            log.debug("sweep.done", routes=requested)
        try:
            await asyncio.wait_for(stop.wait(), interval_s)
        except TimeoutError:
            continue
