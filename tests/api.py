"""The API as it runs, over HTTP, on a test's own database and virtual host; and the services it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import httpx
import uvicorn

from services.api.__main__ import Server
from services.api.app import create_app
from services.cli.keys import Role, create_key
from services.cli.services import serve_of
from shared.db.session import Database, open_database
from shared.messaging import topology
from shared.messaging.facts import UNOBSERVED
from shared.messaging.publisher import open_publisher
from shared.settings import Settings
from tests.waiting import eventually


@dataclass(frozen=True, slots=True)
class Api:
    """A running API, and a client of it with an admin's key."""

    url: str
    client: httpx.AsyncClient
    database: Database
    key: str

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON of a GET that goes well."""
        response = await self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: Any = None, *, expect: int = 201, key: str | None = None) -> Any:
        """The JSON of a POST that is answered as expected."""
        headers = {"Idempotency-Key": key} if key else {}
        response = await self.client.post(path, json=body, headers=headers)
        assert response.status_code == expect, response.text
        return response.json()

    async def client_of(self, role: Role) -> httpx.AsyncClient:
        """A client with a key of this role."""
        key = (await create_key(self.database, name=f"a {role.value}", role=role, actor="test")).key
        return httpx.AsyncClient(base_url=self.url, headers={"X-API-Key": key}, timeout=30)


@asynccontextmanager
async def serving(settings: Settings, name: str = "test") -> AsyncIterator[Api]:
    """Serve on a free port; `name` is the key's."""
    async with (
        open_database(settings.database, application_name="test api", pool_size=8) as database,
        open_publisher(settings.amqp_url, "leadline-api") as publisher,
    ):
        app = create_app(settings, database, publisher)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
        server = Server(config, app.state.console.close)
        task = asyncio.create_task(server.serve())
        try:
            await eventually(lambda: server.started, within=10)
            port = server.servers[0].sockets[0].getsockname()[1]
            key = (await create_key(database, name=name, role=Role.ADMIN, actor="test")).key
            url = f"http://127.0.0.1:{port}"
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
                yield Api(url, client, database, key)
        finally:
            server.should_exit = True
            await task
            await app.state.shared.close()


@asynccontextmanager
async def consuming(settings: Settings, *names: str) -> AsyncIterator[None]:
    """Run services in this process until the block ends."""
    await declare(settings)
    stop = asyncio.Event()
    tasks = [asyncio.ensure_future(serve_of(name)(settings, stop, UNOBSERVED)) for name in names]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def declare(settings: Settings) -> None:
    """Make the queues."""
    connection = await aio_pika.connect(settings.amqp_url)
    async with connection, connection.channel() as channel:
        await topology.declare(channel)
