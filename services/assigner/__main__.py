"""Assigner: lead.accepted, .taken, .closed, .reopened, assignment and lot.requested → lead.assigned, .unassigned.

Lots have a queue and connections of their own: a long one holds up no lead of another route.
"""

from __future__ import annotations

import asyncio

from services.assigner import consumer, lots
from services.assigner.consumer import AssignLeads
from services.assigner.lots import RunLots
from shared.db.session import PLANS_ARE_KEPT, open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.loop import consume
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Consume both queues until stopped."""
    async with asyncio.TaskGroup() as consumers:
        consumers.create_task(_assign_leads(settings, stop, observer))
        consumers.create_task(_run_lots(settings, stop, observer))


async def _assign_leads(settings: Settings, stop: asyncio.Event, observer: Observer) -> None:
    name = "leadline assigner"
    async with open_database(settings.database, application_name=name, server_settings=PLANS_ARE_KEPT) as database:
        await consume(
            service="assigner",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=consumer.SUBSCRIPTION.at_most(settings.batch_size),
            handler=AssignLeads(),
            stop=stop,
            observer=observer,
        )


async def _run_lots(settings: Settings, stop: asyncio.Event, observer: Observer) -> None:
    name = "leadline assigner.lots"
    async with open_database(settings.database, application_name=name, deadline_s=lots.DEADLINE_S) as database:
        await consume(
            service="assigner",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=lots.SUBSCRIPTION,
            handler=RunLots(),
            stop=stop,
            observer=observer,
        )


if __name__ == "__main__":
    run_service("assigner", serve)
