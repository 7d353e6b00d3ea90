"""Whether each queue of ours that takes an event was there when the event was published.

The broker confirms an event as soon as all queues have it that are bound, and sends it back only where there is none:
of two queues one may be deleted, and nobody is told. Nor is anybody where no queue need be bound (0026). So who
publishes such events looks afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from shared.messaging.broker import QueueLook
from shared.messaging.envelope import Outgoing
from shared.messaging.topology import EVENTS_EXCHANGE, shared_event_types

_SHARED = shared_event_types()
_QUEUES = tuple(sorted({queue for queues in _SHARED.values() for queue in queues}))


def concerns(messages: Iterable[Outgoing]) -> bool:
    """Whether the broker need not tell of one of these that a queue of ours is missing."""
    return any(message.exchange == EVENTS_EXCHANGE and message.routing_key in _SHARED for message in messages)


#: So long a look waits for others who want one: it costs as much as publishing a small batch, and all that waits for
#: its answer is a row of the outbox.
GATHER_S = 0.1


class RollCall:
    """Looks at these queues. Who asks shares the next look with all who ask until it begins."""

    def __init__(self, look: QueueLook) -> None:
        self._look = look
        self._one_at_a_time = asyncio.Lock()
        self._asked = 0
        self._answered = 0

    async def missing(self) -> str | None:
        """Name a queue that is not there, by a look that began after this was called; None: all are.

        Raises one of BROKER_ERRORS.
        """
        self._asked += 1
        mine = self._asked
        async with self._one_at_a_time:
            if self._answered >= mine:
                return None
            await asyncio.sleep(GATHER_S)
            asked = self._asked
            queue = await self._look.missing(_QUEUES)
            if queue is None:
                self._answered = asked
            return queue
