"""Events of the API, which writes no rows with them: published and confirmed before the answer is given."""

from __future__ import annotations

from shared.events import Event
from shared.messaging.envelope import Outgoing
from shared.messaging.publisher import Publisher


async def publish(publisher: Publisher, *events: Event) -> None:
    """Return when the broker has them. Raises PublishError if it is away."""
    await publisher.publish([Outgoing(event.type, event.to_json().encode(), event.key) for event in events])
