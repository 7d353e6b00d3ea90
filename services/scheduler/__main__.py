"""Scheduler: the clock → assignment.requested, lot.requested; requests for mails that waited; old dead letters go."""

from __future__ import annotations

import asyncio
from functools import partial

from services.scheduler.lots import TICK_S, LotTicker
from services.scheduler.purge import PURGE_S, Retention, purge_dead_letters, purge_told
from services.scheduler.rounds import every
from services.scheduler.sweep import sweep_all
from shared.db.session import open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.publisher import open_publisher
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Sweep and tick until stopped."""
    async with (
        open_database(settings.database, application_name="leadline scheduler") as database,
        open_publisher(settings.amqp_url, "scheduler", observer) as publisher,
        asyncio.TaskGroup() as rounds,
    ):
        observer.depends_on("database", database.probe)
        observer.depends_on("broker", publisher.ready)
        sweep = partial(sweep_all, database, publisher, env=settings.env)
        rounds.create_task(every(settings.check_interval, "sweep", sweep, stop))
        rounds.create_task(every(TICK_S, "lots", LotTicker(database, publisher).tick, stop))
        retention = Retention(settings.dead_letter_days, settings.new_dead_letter_days)
        rounds.create_task(every(PURGE_S, "purge", partial(purge_dead_letters, database, retention), stop))
        rounds.create_task(every(PURGE_S, "purge told", partial(purge_told, database, retention), stop))


if __name__ == "__main__":
    run_service("scheduler", serve)
