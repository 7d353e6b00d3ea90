"""Assigner: lead.accepted, .taken, .closed, .reopened, assignment and lot.requested → lead.assigned, .unassigned.

Lots have a queue and connections of their own: a long one holds up no lead of another route.
"""

from __future__ import annotations

import asyncio
from typing import Any

from services.assigner import consumer, lots
from services.assigner.consumer import AssignLeads
from services.assigner.lots import RunLots
from shared.db.session import DEADLINE_S, open_database
from shared.messaging.loop import consume
from shared.messaging.processing import Handler, Subscription
from shared.process import run_service
from shared.settings import Settings


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Consume both queues until stopped."""
    async with asyncio.TaskGroup() as consumers:
        consumers.create_task(
            _serve(settings, stop, consumer.SUBSCRIPTION.at_most(settings.batch_size), AssignLeads(), DEADLINE_S)
        )
        consumers.create_task(_serve(settings, stop, lots.SUBSCRIPTION, RunLots(), lots.DEADLINE_S))


async def _serve(
    settings: Settings, stop: asyncio.Event, subscription: Subscription, handler: Handler[Any], deadline_s: float
) -> None:
    name = f"leadline {subscription.queue}"
    async with open_database(settings.database, application_name=name, deadline_s=deadline_s) as database:
        await consume(
            service="assigner",
            amqp_url=settings.amqp_url,
            database=database,
            subscription=subscription,
            handler=handler,
            stop=stop,
        )


if __name__ == "__main__":
    run_service("assigner", serve)
