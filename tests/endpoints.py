"""Somebody else's endpoint for webhooks: an HTTP server that keeps what it is told, and answers what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shared.messaging import broker, topology
from tests.waiting import eventually


@dataclass
class Endpoint:
    """Where it listens, what it was sent, and the code that it answers with: those of `codes` first, one each."""

    url: str = ""
    code: int = 200
    codes: list[int] = field(default_factory=list)
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    #: Until it is set, what was heard is not answered.
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    @property
    def ids(self) -> list[str]:
        """The `webhook-id` of all that was heard."""
        return [headers["webhook-id"] for headers, _ in self.heard]

    async def answer(self, request: Request) -> Response:
        self.heard.append((dict(request.headers), await request.body()))
        code = self.codes.pop(0) if self.codes else self.code
        await self.answers.wait()
        return RedirectResponse("/elsewhere", 302) if code == 302 else Response(status_code=code)


class Server(uvicorn.Server):
    """Leaves signals to the tests."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def take_events(amqp_url: str) -> None:
    """Have the queue take its events, as the API does before it adds an endpoint."""
    async with broker.connect(amqp_url, "test") as connection, connection.channel() as channel:
        await topology.bind(channel, "webhooks")


@asynccontextmanager
async def listening() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    app = Starlette(routes=[Route("/{path:path}", endpoint.answer, methods=["GET", "POST"])])
    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started, within=10)
        endpoint.url = f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}/hook"
        yield endpoint
    finally:
        endpoint.answers.set()
        server.should_exit = True
        await task
