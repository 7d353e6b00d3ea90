"""Documents: lead.assigned, lead.unassigned → document.ready."""

from __future__ import annotations

import asyncio

from services.documents.consumer import SUBSCRIPTION, MakeSheets
from shared.db.session import open_database
from shared.messaging.loop import consume
from shared.process import run_service
from shared.settings import Settings
from shared.sheetstore import SheetStore


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Consume until stopped."""
    async with open_database(settings.database, application_name="leadline documents") as database:
        await consume(
            service="documents",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=SUBSCRIPTION.at_most(settings.batch_size),
            handler=MakeSheets(SheetStore(settings.sheets_dir)),
            stop=stop,
        )


if __name__ == "__main__":
    run_service("documents", serve)
