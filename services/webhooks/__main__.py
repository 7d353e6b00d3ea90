"""Webhooks: lead.assigned, lead.unassigned, outcome.recorded → signed requests to endpoints of others."""

from __future__ import annotations

import asyncio

from services.webhooks.consumer import SUBSCRIPTION, TellEndpoints
from services.webhooks.sending import open_sender
from shared.db.session import open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.loop import consume
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Consume until stopped."""
    async with (
        open_database(settings.database, application_name="leadline webhooks") as database,
        open_sender(allow_private=settings.webhooks_allow_http) as sender,
    ):
        await consume(
            service="webhooks",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=SUBSCRIPTION.at_most(settings.batch_size),
            handler=TellEndpoints(sender),
            stop=stop,
            observer=observer,
        )


if __name__ == "__main__":
    run_service("webhooks", serve)
