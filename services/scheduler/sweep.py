"""The sweep: every so often, ask for another look at the leads and mails that wait and may go through by now."""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy import text

from services.scheduler.mails import ask_for_mails
from services.scheduler.purge import Retention, purge_dead_letters
from shared.db.session import Database
from shared.errors import in_short
from shared.events import AssignmentRequested
from shared.messaging.failures import Other, classify
from shared.messaging.publisher import Outgoing, Publisher

log = structlog.get_logger(__name__)

#: Routes with a lead that waits for no known time, or whose time has come. Lots wait for their lot; a lead that came a
#: moment ago is on its way; a route whose leads wait for a person is left to that person. NULL for leads that are on no
#: route that is in use, if one matches them now, or if nobody has looked at them: looking at all that wait is dear.
WAITING = text("""
    SELECT name FROM routes
    WHERE mode = 'stream' AND retry_pending AND is_enabled AND EXISTS (
        SELECT 1 FROM assignments
        WHERE assignments.route_id = routes.id AND is_current AND assignment_status_id = 1
          AND (retry_at IS NULL OR retry_at <= now()) AND assignments.created_at < now() - interval '5 seconds'
    )
    UNION ALL
    SELECT NULL WHERE EXISTS (
        SELECT 1
        FROM assignments JOIN leads ON leads.id = assignments.lead_id
             LEFT JOIN routes AS its ON its.id = assignments.route_id AND its.is_enabled
        WHERE assignments.is_current AND assignments.assignment_status_id = 1 AND its.id IS NULL
          AND assignments.created_at < now() - interval '5 seconds'
          AND (assignments.reason IS NULL OR EXISTS (
              SELECT 1 FROM routes
              WHERE is_enabled AND coalesce(source_id = leads.source_id, source_id IS NULL)
                AND coalesce(routes.store_code = leads.store_code, routes.store_code IS NULL)
                AND coalesce(routes.business_line_id = leads.business_line_id, routes.business_line_id IS NULL)
          ))
    )
""")


async def sweep(database: Database, publisher: Publisher) -> int:
    """Request another look for each route with leads that wait, and for those on none; give how many requests."""
    async with database.reading() as connection:
        routes = list((await connection.execute(WAITING)).scalars())
    requests = [AssignmentRequested(route=route, requested_by="sweep") for route in routes]
    await publisher.publish([Outgoing(request.type, request.to_json().encode()) for request in requests])
    return len(requests)


async def sweep_every(
    interval_s: float, database: Database, publisher: Publisher, stop: asyncio.Event, retention: Retention
) -> None:
    """Sweep now and then at every interval, until stopped. A broker or a database that is away is tried next time."""
    while not stop.is_set():
        try:
            requested = await sweep(database, publisher)
            mails = await ask_for_mails(database)
            purged = await purge_dead_letters(database, retention)
        except Exception as error:
            if isinstance(classify(error), Other):
                raise
            log.warning("sweep.put_off", error=in_short(error))
        else:
            log.debug("sweep.done", routes=requested, mails=mails, dead_letters_purged=purged)
        try:
            await asyncio.wait_for(stop.wait(), interval_s)
        except TimeoutError:
            continue
