"""API: HTTP → lead.created, lead.closed, lead.reopened, assignment.requested, lot.requested, sheet.returned; reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn

from services.api.app import create_app
from services.api.observed import Observed
from shared.db.session import open_database
from shared.messaging.facts import UNOBSERVED, Observer
from shared.messaging.publisher import open_publisher
from shared.process import run_service
from shared.settings import Settings

POOL = 8
GRACE_S = 10


class Server(uvicorn.Server):
    """Leaves signals to `run_service`; streams, which have no end of their own, end before it waits for requests."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._end_streams()
        await super().shutdown(sockets)


async def serve(settings: Settings, stop: asyncio.Event, observer: Observer = UNOBSERVED) -> None:
    """Answer until stopped; then finish what is being answered."""
    observed = Observed(observer)
    async with (
        open_database(settings.database, application_name="leadline api", pool_size=POOL) as database,
        open_publisher(settings.amqp_url, "leadline-api") as publisher,
    ):
        observed.depends_on("database", database.probe)
        app = create_app(settings, database, publisher, observed=observed)
        server = Server(
            uvicorn.Config(
                app,
                host=settings.api_host,
                port=settings.api_port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE_S,
            ),
            app.state.console.close,
        )
        stopping = asyncio.create_task(_stop(server, stop))
        try:
            await server.serve()
        finally:
            stopping.cancel()
            await app.state.shared.close()


async def _stop(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


if __name__ == "__main__":
    run_service("api", serve)
