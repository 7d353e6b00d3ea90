"""Assigner: lead.accepted, .taken, .closed, .reopened, assignment.requested, lot.requested → lead.assigned, .unassigned.

Lots have a queue and connections of their own: a long one holds up no lead of another route.
"""

from __future__ import annotations

import asyncio
from typing import Any

from services.assigner import consumer, lots
from services.assigner.consumer import AssignLeads
from services.assigner.lots import RunLots
from shared.db.session import open_database
from shared.messaging.loop import consume
from shared.messaging.processing import Handler, Subscription
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Consume both queues until stopped."""
    async with asyncio.TaskGroup() as consumers:
        consumers.create_task(
            _serve("assigner", consumer.SUBSCRIPTION.at_most(settings.batch_size), AssignLeads(), settings, stop)
        )
        consumers.create_task(_serve("assigner.lots", lots.SUBSCRIPTION, RunLots(), settings, stop))


async def _serve(
    service: str, subscription: Subscription, handler: Handler[Any], settings: Settings, stop: asyncio.Event
) -> None:
    async with open_database(settings.database, application_name=f"leadline {service}") as database:
        await consume(
            service=service,
            amqp_url=settings.amqp_url,
            database=database,
            subscription=subscription,
            handler=handler,
            stop=stop,
        )


if __name__ == "__main__":
    run_service("assigner", serve)
