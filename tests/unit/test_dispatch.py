"""Outbox rows on their way: how many at once, each once, and what is left of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from shared.messaging import publisher
from shared.messaging.envelope import Outgoing
from shared.messaging.outbox import OutboxRow
from shared.messaging.publisher import Dispatch, Publisher, PublishError

pytestmark = pytest.mark.asyncio


class Slow(Publisher):
    """Confirms, or refuses, when it is told to."""

    def __init__(self) -> None:
        super().__init__("amqp://nowhere", "test")
        self.begun = 0
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.begun += 1
        await self.answer


def a_row(key: int, events: int = 1) -> OutboxRow:
    return OutboxRow(key, (Outgoing("lead.accepted", b"{}"),) * events)


async def is_waiting(sending: asyncio.Task[None]) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return not sending.done()


@pytest.mark.parametrize("limit", ["events", "rows"])
async def test_a_row_waits_while_too_much_is_unconfirmed(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(publisher, "EVENTS_IN_FLIGHT", 6 if limit == "events" else 100)
    monkeypatch.setattr(publisher, "ROWS_IN_FLIGHT", 2 if limit == "rows" else 100)
    slow = Slow()
    dispatch = Dispatch(slow)
    for key in (1, 2):
        await dispatch.send(a_row(key, events=3))

    sending = asyncio.create_task(dispatch.send(a_row(3)))
    assert await is_waiting(sending)
    slow.answer.set_result(None)
    await sending
    await dispatch.settled(1)

    assert dispatch.confirmed == {1, 2, 3}


async def test_a_row_that_is_on_its_way_is_not_sent_beside_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay may find a row due that has waited here, and send it."""
    monkeypatch.setattr(publisher, "EVENTS_IN_FLIGHT", 10)
    slow = Slow()
    dispatch = Dispatch(slow)

    for _ in range(3):
        await dispatch.send(a_row(1, events=6))
    assert await is_waiting(asyncio.create_task(slow.publish([])))
    assert slow.begun == 2  # the row, and the one above
    slow.answer.set_result(None)
    await dispatch.settled(1)

    assert dispatch.confirmed == dispatch.held == {1}
    await asyncio.wait_for(dispatch.send(a_row(2, events=6)), 1)
    await asyncio.wait_for(dispatch.send(a_row(3, events=6)), 1)


async def test_what_is_not_confirmed_leaves_its_place_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "EVENTS_IN_FLIGHT", 1)
    slow = Slow()
    dispatch = Dispatch(slow)
    await dispatch.send(a_row(1))
    slow.answer.set_exception(PublishError("the broker is away"))

    await asyncio.wait_for(dispatch.send(a_row(2)), 1)
    await dispatch.settled(1)

    assert dispatch.held == frozenset()
