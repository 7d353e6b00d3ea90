"""Deadletters: the queue `dead` → the table `dead_letters`."""

from __future__ import annotations

import asyncio

from services.deadletters.consumer import SUBSCRIPTION, StoreDeadLetters
from shared.db.session import open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.loop import consume
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Consume until stopped."""
    async with open_database(settings.database, application_name="leadline deadletters") as database:
        await consume(
            service="deadletters",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=SUBSCRIPTION.at_most(settings.batch_size),
            handler=StoreDeadLetters(),
            stop=stop,
            observer=observer,
        )


if __name__ == "__main__":
    run_service("deadletters", serve)
