"""The sweep: every so often, ask for another look at the leads and mails that wait and may go through by now."""

from __future__ import annotations

import structlog
from sqlalchemy import text

from services.scheduler.mails import ask_for_mails
from shared.db.session import Database
from shared.events import AssignmentRequested
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


async def sweep_all(database: Database, publisher: Publisher, *, env: str) -> None:
    """Ask for another look at the leads that wait, and at the mails."""
    routes = await sweep(database, publisher)
    mails = await ask_for_mails(database, env=env)
    log.debug("sweep.done", routes=routes, mails=mails)
