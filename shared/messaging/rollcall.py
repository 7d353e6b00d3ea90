"""Whether each queue of ours that takes an event was there when the event was published.

The broker confirms an event as soon as all queues have it that are bound, and sends it back only where there is none:
of two queues one may be deleted, and nobody is told. So who publishes what several queues take looks afterwards.
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
    """Whether several queues of ours take one of these."""
    return any(message.exchange == EVENTS_EXCHANGE and message.routing_key in _SHARED for message in messages)


class RollCall:
    """Looks at these queues. Who asks while a look is under way shares the next with all who ask meanwhile."""

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
            asked = self._asked
            queue = await self._look.missing(_QUEUES)
            if queue is None:
                self._answered = asked
            return queue
