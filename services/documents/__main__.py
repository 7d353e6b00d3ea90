"""Documents: lead.assigned, lead.unassigned, sheet.damaged → document.ready; sheet.returned → outcome.recorded …"""

from __future__ import annotations

import asyncio
from functools import partial

from services.documents.consumer import SUBSCRIPTION, MakeSheets
from services.documents.rendering import open_renderer
from shared.db.session import open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.loop import consume
from shared.process import run_service
from shared.settings import Settings
from shared.sheetstore import STORE, SheetStore


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Consume until stopped."""
    store = SheetStore(settings.sheets_dir)
    async with (
        open_database(settings.database, application_name="leadline documents") as database,
        open_renderer(settings.sheet_workers) as renderer,
    ):
        await consume(
            service="documents",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=SUBSCRIPTION.at_most(settings.batch_size),
            handler=MakeSheets(store, renderer, sheet_key=settings.sheet_key),
            stop=stop,
            observer=observer,
            probes={STORE: partial(asyncio.to_thread, store.probe)},
        )


if __name__ == "__main__":
    run_service("documents", serve)
