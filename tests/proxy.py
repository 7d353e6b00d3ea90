"""A TCP proxy that gets into trouble when told to: what a network does between a client and PostgreSQL, on demand.

async with open_proxy(url) as proxy:
    proxy.url                       # the same server, through the proxy
    proxy.stall(); proxy.flow()     # nothing passes for a while, nothing is lost
    proxy.delay_s = 0.2             # what passes is late by so much, each way
    proxy.half_open()               # the server is gone, and the client is not told
    proxy.reset()                   # every connection is reset
    proxy.refuse(); await proxy.accept()
    proxy.fate_of_commit = lambda: "reset"      # the next COMMIT reaches the server, its answer nobody
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

#: After the lost answer the connection is reset, or stays open and silent.
Fate = Literal["reset", "silence"]
_LINGER_NOT = struct.pack("ii", 1, 0)


class Proxy:
    """Connections pass as long as nothing else is asked for."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[_Link] = set()
        self._server: asyncio.Server
        self.port = 0
        self.fate_of_commit: Callable[[], Fate | None] = lambda: None
        #: COMMITs whose answer was swallowed.
        self.swallowed = 0
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        netloc = self._target.netloc.replace(f":{self._target.port}", f":{self.port}")
        return self._target._replace(netloc=netloc).geturl()

    async def accept(self) -> None:
        """Listen, again on the same port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        self._server.close()

    def stall(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def half_open(self) -> None:
        for link in self._links:
            link.silence()

    def reset(self) -> None:
        for link in tuple(self._links):
            link.reset()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), back)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def passes(self) -> None:
        """Return as soon as bytes may pass."""
        await asyncio.sleep(self.delay_s)
        await self._flowing.wait()


class _Link:
    """One connection: a client's side and a server's side."""

    def __init__(
        self,
        proxy: Proxy,
        front: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        back: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._front, self._back = front, back
        self._is_silent = False
        self._fate: Fate | None = None

    async def run(self) -> None:
        with suppress(OSError):
            await asyncio.gather(self._ask(), self._answer())
        for _, writer in (self._front, self._back):
            writer.close()

    async def _ask(self) -> None:
        while data := await self._front[0].read(65_536):
            await self._proxy.passes()
            if _is_commit(data):
                self._fate = self._proxy.fate_of_commit()
            if not self._is_silent:
                self._back[1].write(data)
        self._back[1].close()

    async def _answer(self) -> None:
        while data := await self._back[0].read(65_536):
            await self._proxy.passes()
            if self._fate is not None:
                self._proxy.swallowed += 1
                self._meet(self._fate)
            if not self._is_silent:
                self._front[1].write(data)
        if not self._is_silent:
            self._front[1].close()

    def _meet(self, fate: Fate) -> None:
        self._fate = None
        self.silence()
        if fate == "reset":
            self.reset()

    def silence(self) -> None:
        """End the server's side; the client is not told."""
        self._is_silent = True
        self._back[1].transport.abort()

    def reset(self) -> None:
        front = self._front[1].get_extra_info("socket")
        if front.fileno() >= 0:  # the client may have closed it in the meantime
            front.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        for _, writer in (self._front, self._back):
            writer.transport.abort()


def _is_commit(data: bytes) -> bool:
    """Whether a client's message is a simple query, or the parsing of one, that says COMMIT."""
    return data[:1] in (b"Q", b"P") and b"COMMIT" in data[5:16]


@asynccontextmanager
async def open_proxy(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(url)
    await proxy.accept()
    try:
        yield proxy
    finally:
        proxy.refuse()
        proxy.flow()
        proxy.reset()
