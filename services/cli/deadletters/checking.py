"""Whether a body would be taken: by its event's model, and by what its service reads out of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from services.assigner import consumer as assigner
from services.assigner import lots
from services.documents import consumer as documents
from services.ingest import consumer as ingest
from services.ingest import intake, problems
from services.ingest.reference import Known
from services.notifier import consumer as notifier
from services.webhooks import consumer as webhooks
from shared.events import LeadCreated, LeadUpdated
from shared.messaging.envelope import Delivery, Invalid, Message, read
from shared.messaging.processing import Subscription

SUBSCRIPTIONS: Mapping[str, Subscription] = {
    each.queue: each
    for each in (
        ingest.SUBSCRIPTION,
        assigner.SUBSCRIPTION,
        lots.SUBSCRIPTION,
        documents.SUBSCRIPTION,
        notifier.SUBSCRIPTION,
        webhooks.SUBSCRIPTION,
    )
}


def opened(delivery: Delivery, queue: str) -> Message | str:
    """Read a message as its queue's consumer does; else say why that could not."""
    subscription = SUBSCRIPTIONS.get(queue)
    if subscription is None:
        return f"no service of ours takes from the queue {queue!r}"
    arrival = read(delivery, tuple(event.type for event in subscription.events))
    if isinstance(arrival, Invalid):
        return subscription.refuse(arrival)[0]
    return arrival


def wrong_with(message: Message, known: Known) -> str | None:
    """Say what ingest would refuse in a lead, as things are configured now; None if nothing."""
    now = datetime.now(UTC)
    match message.event:
        case LeadCreated() as event:
            outcome = intake.read_created(event, known.rules(event.source), known.reference, now)
        case LeadUpdated() as event:
            changes = intake.read_updated(event, known.rules(event.source or ""), known.reference, now)
            return changes.reason if isinstance(changes, problems.Rejected) else None
        case _:
            return None
    return outcome.reason if isinstance(outcome, problems.Rejected) else None
