"""What a hundred people who look at the console cost the consumers: leads a second with and without them, by turns.

    python -m bench.viewers --leads 300 --viewers 100 --rounds 24      (against the stack of ./run up)

A lead counts when its mail is sent: all four consumers have worked then, and none is at work when the next turn begins.

Each round sends the same number of leads twice, once with nobody looking; what counts is the ratio of a round, since a
machine's speed changes from one minute to the next: many short rounds say more than few long ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from secrets import token_hex

import asyncpg
import httpx

from bench.queues import publish
from services.api.console.live import STREAMS_MOST
from shared.messaging.envelope import Outgoing
from tests.waiting import eventually

LOOK_EVERY_S = 0.1
READ_BYTES = 1 << 16
ENDPOINTS = Path(__file__).resolve().parents[1] / ".local/endpoints.json"
#: By primary key: to look must cost nothing itself.
LAST_MAIL = "SELECT coalesce(max(id), 0) FROM notifications"
SENT = "SELECT count(*) FROM notifications WHERE id > $1 AND status = 'sent'"


async def main() -> None:
    asked = arguments()
    if not ENDPOINTS.exists():
        raise SystemExit("no stack has been started here: run ./run up first")
    endpoints = json.loads(ENDPOINTS.read_text())
    ratios = []
    for number in range(1, asked.rounds + 1):
        # By turns also within the round: who is first meets a colder machine.
        turns = (0, asked.viewers) if number % 2 else (asked.viewers, 0)
        rates = {viewers: await measure(endpoints, asked.leads, viewers) for viewers in turns}
        ratios.append(rates[asked.viewers] / rates[0])
        print(
            f"round {number}: {rates[0]:,.0f} leads a second alone, {rates[asked.viewers]:,.0f} with {asked.viewers}"
            f" viewers, ratio {ratios[-1]:.3f}"
        )
    print(f"median ratio {statistics.median(ratios):.3f}: the viewers cost {1 - statistics.median(ratios):.1%}")


async def measure(endpoints: dict[str, str], leads: int, viewers: int) -> float:
    """Give leads a second, from the first that is sent to the last whose mail is."""
    run = f"VIEW-{token_hex(4)}"
    messages = [lead(f"{run}-{number}") for number in range(leads)]
    async with looking(endpoints, viewers) as frames:
        database = await asyncpg.connect(endpoints["database_url"].replace("+asyncpg", ""))
        try:
            before = await database.fetchval(LAST_MAIL)
            began = time.monotonic()
            await publish(endpoints["amqp_url"], messages)
            while await database.fetchval(SENT, before) < leads:  # noqa: ASYNC110  # the table tells nobody
                await asyncio.sleep(LOOK_EVERY_S)
            took = time.monotonic() - began
        finally:
            await database.close()
        if viewers and min(frames) == 0:
            raise SystemExit("a viewer has seen nothing: the measure is worth nothing")
    return leads / took


def lead(lead_id: str) -> Outgoing:
    body = {"lead_id": lead_id, "source": "META", "customer_name": "Vera Viewer"}
    return Outgoing("lead.created", json.dumps(body).encode(), lead_id)


@asynccontextmanager
async def looking(endpoints: dict[str, str], viewers: int) -> AsyncIterator[list[int]]:
    """Hold so many streams open; give how many frames each has been sent."""
    frames = [0] * viewers
    async with AsyncExitStack() as stack:
        clients = [await log_in(stack, endpoints) for _ in range(0, viewers, STREAMS_MOST)]
        tasks = [asyncio.create_task(look(clients[n // STREAMS_MOST], frames, n)) for n in range(viewers)]
        await eventually(lambda: all(frames), within=60)
        try:
            yield frames
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def log_in(stack: AsyncExitStack, endpoints: dict[str, str]) -> httpx.AsyncClient:
    """Give a client with a session of its own, which may have so many streams and no more."""
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=endpoints["api_url"], timeout=60))
    answer = await client.post("/console/login", data={"key": endpoints["api_key"]})
    if answer.status_code != 303:
        raise SystemExit(f"the console does not let the key in: {answer.status_code}")
    return client


async def look(client: httpx.AsyncClient, frames: list[int], number: int) -> None:
    """Hold a stream on a bare connection, which costs as little as can be: who looks is not what is measured."""
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    where = client.base_url
    reader, writer = await asyncio.open_connection(where.host, where.port)
    try:
        request = f"GET /console/live/now HTTP/1.1\r\nHost: {where.netloc.decode()}\r\nCookie: {cookies}\r\n\r\n"
        writer.write(request.encode())
        if not (status := await reader.readline()).startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"the stream is not given: {status.decode().strip()}")
        while await reader.read(READ_BYTES):
            frames[number] += 1
    finally:
        writer.close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--leads", type=int, default=300)
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=24)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
