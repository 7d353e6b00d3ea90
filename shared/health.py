"""Whether a service can do its work, from facts: what the broker has answered, what is waited for, what answers now.

Liveness is another matter: that an answer comes at all says that the event loop turns.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from shared.errors import in_short
from shared.messaging.facts import (
    Consuming,
    Fact,
    NotConsuming,
    OutboxSeen,
    Probe,
    PublishingFails,
    QueueSeen,
    Stuck,
    Waits,
)

PROBE_WITHIN_S = 2.0
#: The watchdog looks every 15 s; who has heard nothing of a queue for so long does not know.
SEEN_WITHIN_S = 75.0


@dataclass(frozen=True, slots=True)
class Consumer:
    """What is known of one queue's consumer."""

    why_not_consuming: str | None
    waits_for: str | None = None
    #: When the broker last showed that the consumer is registered.
    seen_at: float = 0.0


class Health:
    """An observer that remembers what keeps its service from working. `receive` is told all facts too."""

    def __init__(self, receive: Callable[[Fact], None] = lambda _: None, now: Callable[[], float] = time.monotonic):
        self._receive = receive
        self._now = now
        self._consumers: defaultdict[str, Consumer] = defaultdict(lambda: Consumer("it has not started"))
        self._publishing: dict[str, str] = {}
        self._probes: dict[str, Probe] = {}
        self._probing: dict[str, asyncio.Task[str | None]] = {}

    def observe(self, fact: Fact) -> None:
        match fact:
            case Consuming(queue):
                self._consumers[queue] = replace(self._consumers[queue], why_not_consuming=None, seen_at=self._now())
            case NotConsuming(queue, reason) | Stuck(queue, reason):
                self._consumers[queue] = replace(self._consumers[queue], why_not_consuming=reason)
            case QueueSeen(queue):
                self._consumers[queue] = replace(self._consumers[queue], seen_at=self._now())
            case Waits(queue, what):
                self._consumers[queue] = replace(self._consumers[queue], waits_for=what)
            case OutboxSeen(rows=0):
                self._publishing.clear()  # what could not be published is sent, by whichever process
            case PublishingFails(publisher, None):
                self._publishing.pop(publisher, None)
            case PublishingFails(publisher, str(reason)):
                self._publishing[publisher] = reason
        self._receive(fact)

    def depends_on(self, dependency: str, probe: Probe) -> None:
        self._probes[dependency] = probe

    async def problems(self) -> list[str]:
        """Say in words all that keeps the service from working now; nothing: it is ready. Answers within 2 s or so."""
        known = [why for queue, consumer in self._consumers.items() if (why := self._why_not(queue, consumer))]
        publishing = [f"publishing fails: {reason}" for reason in self._publishing.values()]
        answers = await asyncio.gather(*(self._ask(name, probe) for name, probe in self._probes.items()))
        return known + publishing + [answer for answer in answers if answer is not None]

    def _why_not(self, queue: str, consumer: Consumer) -> str | None:
        if consumer.why_not_consuming is not None:
            return f"{queue}: not consuming: {consumer.why_not_consuming}"
        if consumer.waits_for is not None:
            return f"{queue}: waiting for {consumer.waits_for}"
        silent_s = self._now() - consumer.seen_at
        if silent_s > SEEN_WITHIN_S:
            return f"{queue}: the broker has not told of it for {silent_s:.0f} s"
        return None

    async def _ask(self, dependency: str, probe: Probe) -> str | None:
        """Ask one dependency. A question that is still open is not asked again: nothing of ours is ever cancelled."""
        task = self._probing.get(dependency)
        if task is None or task.done():
            task = self._probing[dependency] = asyncio.create_task(_answer(dependency, probe))
        done, _ = await asyncio.wait([task], timeout=PROBE_WITHIN_S)
        return task.result() if done else f"{dependency} does not answer within {PROBE_WITHIN_S:.0f} s"

    async def close(self) -> None:
        """Wait for questions that are still open."""
        await asyncio.gather(*self._probing.values())


async def _answer(dependency: str, probe: Probe) -> str | None:
    try:
        await probe()
    except Exception as error:  # whatever it is, it does not answer
        return f"{dependency} does not answer: {in_short(error)}"
    return None
