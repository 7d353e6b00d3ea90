"""One HTTP request to somebody else's endpoint: bounded, followed nowhere, to the address that was looked at."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import httpx

from services.webhooks.addresses import is_allowed

TIMEOUT_S = 5.0
#: Whatever an endpoint does: connecting, sending and answering together.
DEADLINE_S = 10.0
TRY_AGAIN = frozenset({408, 425, 429})
GONE = 410


class Status(StrEnum):
    """What became of a delivery."""

    SENT = "sent"
    #: For good: the endpoint does not want it, or may not be sent to.
    REFUSED = "refused"
    #: To be tried again.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said, or why it could not be asked. `is_gone`: it wants no more of anything."""

    status: Status
    words: str
    is_gone: bool = False
    #: Nothing came back: others need not try for a while.
    is_silent: bool = False


class Sender:
    """Sends to endpoints; `allow_private`: to those of this machine and network, too."""

    def __init__(self, client: httpx.AsyncClient, *, allow_private: bool) -> None:
        self._client = client
        self._allow_private = allow_private

    async def send(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Send once. Raises nothing: whatever an endpoint does is an answer."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                address = await self._address(httpx.URL(url))
                if address is None:
                    return Answer(Status.REFUSED, "its host is not on the open Internet")
                return _read(await self._post(httpx.URL(url), address, body, headers))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, UnicodeError) as error:
            return Answer(Status.FAILED, f"no answer: {type(error).__name__}", is_silent=True)

    async def _address(self, url: httpx.URL) -> str | None:
        """Find the address of a host; None if it may not be sent to."""
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        return next((each for each in addresses if is_allowed(each, allow_private=self._allow_private)), None)

    async def _post(self, url: httpx.URL, address: str, body: bytes, headers: dict[str, str]) -> int:
        """Post to the address, under the host's name: asked for again, the name might lead elsewhere."""
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={**headers, "host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.host},
        )
        response = await self._client.send(request, stream=True)
        await response.aclose()  # what it says is its own affair, and may be endless
        return response.status_code


def _read(code: int) -> Answer:
    words = f"HTTP {code}"
    if 200 <= code < 300:
        return Answer(Status.SENT, words)
    if code in TRY_AGAIN or code >= 500:
        return Answer(Status.FAILED, words)
    return Answer(Status.REFUSED, words, is_gone=code == GONE)


@asynccontextmanager
async def open_sender(*, allow_private: bool) -> AsyncIterator[Sender]:
    """Give a sender."""
    async with httpx.AsyncClient(
        timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, headers={"user-agent": "leadline-webhooks"}
    ) as client:
        yield Sender(client, allow_private=allow_private)
