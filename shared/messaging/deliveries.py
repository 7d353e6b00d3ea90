"""What has arrived and is not yet worked on, given out as batches with at most one event per key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container, Sequence

from shared.messaging.envelope import Invalid, Message

Arrival = Message | Invalid


class Deliveries:
    """Arrivals in order. Two events of one key never share a batch, and never change places."""

    def __init__(self) -> None:
        self._waiting: deque[Arrival] = deque()
        #: It is known that none of them had been delivered before.
        self._are_fresh = True
        self.arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_returned(self) -> bool:
        """Whether one waits that had been delivered before."""
        self._are_fresh = self._are_fresh or not any(arrival.delivery.delivery_count > 0 for arrival in self._waiting)
        return not self._are_fresh

    def put(self, arrival: Arrival) -> None:
        self._waiting.append(arrival)
        self._are_fresh = self._are_fresh and arrival.delivery.delivery_count == 0
        self.arrived.set()

    def take(self, limit: int) -> list[Arrival]:
        """Give up to `limit` arrivals, the next event of a key only with the next batch."""
        batch: list[Arrival] = []
        later: deque[Arrival] = deque()
        keys: set[str] = set()
        while self._waiting and len(batch) < limit:
            arrival = self._waiting.popleft()
            key = arrival.key
            if key in keys:
                later.append(arrival)
            else:
                keys.add(key)
                batch.append(arrival)
        later.extend(self._waiting)
        self._waiting = later
        self._tell()
        return batch

    def take_newest(self, *, besides: Container[str] = ()) -> Arrival | None:
        """Give the newest message that never came before and is first of its key, if any; of no key in `besides`."""
        first: dict[str, Arrival] = {}
        for arrival in self._waiting:
            first.setdefault(arrival.key, arrival)
        for key, arrival in reversed(first.items()):
            if isinstance(arrival, Message) and arrival.delivery.delivery_count == 0 and key not in besides:
                self._waiting.remove(arrival)
                self._tell()
                return arrival
        return None

    def take_all(self) -> tuple[list[Arrival], list[Arrival]]:
        """Empty it: what came for the first time, and what had been delivered before."""
        clean = [arrival for arrival in self._waiting if arrival.delivery.delivery_count == 0]
        returned = [arrival for arrival in self._waiting if arrival.delivery.delivery_count > 0]
        self._waiting.clear()
        self._tell()
        return clean, returned

    def put_back(self, arrivals: Sequence[Arrival]) -> None:
        """Give arrivals back to the front, in their order."""
        self._waiting.extendleft(reversed(arrivals))
        self._are_fresh = False
        self._tell()

    def _tell(self) -> None:
        if self._waiting:
            self.arrived.set()
        else:
            self.arrived.clear()
