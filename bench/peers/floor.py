"""The floor: a hop that does no work. Consume, publish with confirm, acknowledge; aio-pika, one process a hop.

python -m bench.peers.floor FROM TO
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from shared.process import spare_the_collector

PREFETCH = int(os.environ.get("BENCH_PREFETCH", "200"))


async def hop(amqp_url: str, source: str, target: str) -> None:
    """Carry messages from one queue to the other until stopped."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await aio_pika.connect(amqp_url) as connection, await aio_pika.connect(amqp_url) as publishing:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=PREFETCH)
        exchange = (await publishing.channel(publisher_confirms=True)).default_exchange
        queue = await channel.get_queue(source)

        async def carry(message: AbstractIncomingMessage) -> None:
            body = aio_pika.Message(
                message.body,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                content_type="application/json",
                message_id=message.message_id,
            )
            await exchange.publish(body, target)
            await message.ack()

        await queue.consume(carry)
        await stop.wait()


if __name__ == "__main__":
    spare_the_collector()
    uvloop.run(hop(os.environ["BENCH_AMQP_URL"], *sys.argv[1:3]))
