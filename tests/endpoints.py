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

from tests.waiting import eventually


@dataclass
class Endpoint:
    """Where it listens, what it was sent, and the code that it answers with."""

    url: str = ""
    code: int = 200
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.heard.append((dict(request.headers), await request.body()))
        return RedirectResponse("/elsewhere", 302) if self.code == 302 else Response(status_code=self.code)


class Server(uvicorn.Server):
    """Leaves signals to the tests."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
        server.should_exit = True
        await task
