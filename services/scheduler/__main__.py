"""Scheduler: the clock → assignment.requested, and document.ready for mails that waited; old dead letters go."""

from __future__ import annotations

import asyncio

from services.scheduler.purge import Retention
from services.scheduler.sweep import sweep_every
from shared.db.session import open_database
from shared.messaging.publisher import open_publisher
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Sweep until stopped."""
    async with (
        open_database(settings.database, application_name="leadline scheduler") as database,
        open_publisher(settings.amqp_url, "scheduler") as publisher,
    ):
        retention = Retention(settings.dead_letter_days, settings.new_dead_letter_days)
        await sweep_every(settings.check_interval, database, publisher, stop, retention)


if __name__ == "__main__":
    run_service("scheduler", serve)
