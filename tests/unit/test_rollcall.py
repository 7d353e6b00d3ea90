"""Who asks whether the queues are there shares a look with others; each gets one that began after it asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from shared.messaging.envelope import Outgoing
from shared.messaging.rollcall import RollCall, concerns


class Look:
    """Says what is missing, and when it was asked."""

    def __init__(self) -> None:
        self.queue: str | None = None
        self.looks = 0

    async def missing(self, queues: Sequence[str]) -> str | None:
        self.looks += 1
        await asyncio.sleep(0)
        return self.queue


def calling() -> tuple[Look, RollCall]:
    look: Any = Look()  # it has what is used of a broker's
    return look, RollCall(look)


async def test_many_share_a_look() -> None:
    look, roll_call = calling()
    assert await asyncio.gather(*(roll_call.missing() for _ in range(20))) == [None] * 20
    assert look.looks == 1
    assert await roll_call.missing() is None
    assert look.looks == 2


async def test_each_is_told_what_is_missing() -> None:
    look, roll_call = calling()
    look.queue = "documents"
    assert [*await asyncio.gather(*(roll_call.missing() for _ in range(2)))] == ["documents"] * 2
    look.queue = None
    assert await roll_call.missing() is None


def test_what_the_broker_need_not_tell_is_looked_for() -> None:
    """What two queues take, and what only a queue takes that may take nothing; not what one of ours always takes."""
    asked = {
        event: concerns([Outgoing(event, b"{}")]) for event in ("lead.assigned", "outcome.recorded", "lead.accepted")
    }
    assert asked == {"lead.assigned": True, "outcome.recorded": True, "lead.accepted": False}
