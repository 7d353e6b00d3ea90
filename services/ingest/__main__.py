"""Ingest: lead.created, lead.updated → lead.accepted, lead.duplicate, lead.rejected."""

from __future__ import annotations

import asyncio

from services.ingest.consumer import SUBSCRIPTION, StoreLeads
from services.ingest.reference import ReferenceReader
from shared.db.session import PLANS_ARE_KEPT, open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.loop import consume
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Consume until stopped."""
    async with open_database(
        settings.database, application_name="leadline ingest", server_settings=PLANS_ARE_KEPT
    ) as database:
        await consume(
            service="ingest",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=SUBSCRIPTION.at_most(settings.batch_size),
            handler=StoreLeads(ReferenceReader(settings.default_region, settings.tz)),
            stop=stop,
            observer=observer,
        )


if __name__ == "__main__":
    run_service("ingest", serve)
