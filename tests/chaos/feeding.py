"""Publishes a load with confirms, on time as far as the broker lets it; what was not confirmed goes out again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aio_pika

from tests.chaos.load import Sent
from tests.stack import Stack

CHUNK = 50
AGAIN_AFTER_S = 0.3
CONFIRMED_WITHIN_S = 10.0


class Feeder:
    """One client that publishes, and what it has published so far."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.confirmed = 0
        self.repeated = 0

    async def feed(self, messages: Sequence[Sent]) -> None:
        """Publish all, in order; return when every one is confirmed."""
        began = asyncio.get_running_loop().time()
        left = list(messages)
        while left:
            try:
                async with self._stack.channel() as channel:
                    exchange = await channel.get_exchange("leads", ensure=False)
                    while left:
                        chunk = left[:CHUNK]
                        await asyncio.sleep(began + chunk[-1].at_s - asyncio.get_running_loop().time())
                        await self._publish(exchange, chunk)
                        del left[:CHUNK]
                        self.confirmed += len(chunk)
            except (aio_pika.exceptions.AMQPError, OSError, RuntimeError, TimeoutError):
                self.repeated += len(left[:CHUNK])
                await asyncio.sleep(AGAIN_AFTER_S)

    async def _publish(self, exchange: aio_pika.abc.AbstractExchange, chunk: Sequence[Sent]) -> None:
        """Some of a chunk may have been taken when this raises: the whole chunk goes out again."""
        confirms = (exchange.publish(_message(sent), sent.event_type) for sent in chunk)
        async with asyncio.timeout(CONFIRMED_WITHIN_S):
            await asyncio.gather(*confirms)


def _message(sent: Sent) -> aio_pika.Message:
    return aio_pika.Message(sent.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, message_id=sent.message_id)
