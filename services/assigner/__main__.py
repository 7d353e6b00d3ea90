"""Assigner: lead.accepted, .taken, .closed, .reopened, assignment.requested → lead.assigned, lead.unassigned."""

from __future__ import annotations

import asyncio

from services.assigner.consumer import SUBSCRIPTION, AssignLeads
from services.assigner.queries import SERVER_SETTINGS
from shared.db.session import open_database
from shared.messaging.loop import consume
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Consume until stopped."""
    async with open_database(
        settings.database, application_name="leadline assigner", server_settings=SERVER_SETTINGS
    ) as database:
        await consume(
            service="assigner",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=SUBSCRIPTION.at_most(settings.batch_size),
            handler=AssignLeads(),
            stop=stop,
        )


if __name__ == "__main__":
    run_service("assigner", serve)
