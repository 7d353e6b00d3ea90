"""Which deliveries are settled, and the acknowledgements that follow: pure, one ledger for one channel's life.

A delivery tag means nothing outside the channel that gave it: a new channel gets a new ledger, and what is settled on
an old one is forgotten, since the broker delivers it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ack:
    """Acknowledge `tag`; with `is_multiple` all outstanding tags up to it."""

    tag: int
    is_multiple: bool


class Ledger:
    """Outstanding tags in the order of delivery, which is rising."""

    def __init__(self) -> None:
        self._outstanding: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._outstanding)

    def delivered(self, tag: int) -> None:
        self._outstanding[tag] = None

    def settle(self, tags: Iterable[int]) -> list[Ack]:
        """Give the fewest acknowledgements for `tags`: one up to the contiguous settled tag, holes singly.

        Tags that are not outstanding are dropped: nothing is ever acknowledged twice.
        """
        settled = self._outstanding.keys() & set(tags)
        contiguous: int | None = None
        for tag in self._outstanding:
            if tag not in settled:
                break
            contiguous = tag
        acks = [] if contiguous is None else [Ack(contiguous, is_multiple=True)]
        acks += [Ack(tag, is_multiple=False) for tag in sorted(settled) if contiguous is None or tag > contiguous]
        for tag in settled:
            del self._outstanding[tag]
        return acks

    def release(self, tags: Iterable[int]) -> list[int]:
        """Forget `tags` that are to be handed back, and give those that were outstanding, in order."""
        released = sorted(self._outstanding.keys() & set(tags))
        for tag in released:
            del self._outstanding[tag]
        return released

    def release_all(self) -> list[int]:
        """Forget all tags, and give them."""
        return self.release(tuple(self._outstanding))
