"""The probes over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.health import Health
from shared.messaging.facts import NotConsuming
from shared.probing import Probes, answering


async def ask(port: int, request: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ")[1]) if head else 0, body


def get(path: str, *headers: str) -> str:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *headers)) + "\r\n\r\n"


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def port(health: Health) -> AsyncIterator[int]:
    async with answering(Probes(health, lambda: b"metric 1\n", "text/plain"), "127.0.0.1", 0) as port:
        yield port


async def test_alive_ready_and_not(health: Health, port: int) -> None:
    """It is alive whatever is wrong; what is wrong is told with 503."""
    assert await ask(port, get("/readyz")) == (200, "ready\n")
    health.observe(NotConsuming("ingest", "the channel was lost"))
    assert await ask(port, get("/readyz?verbose")) == (503, "ingest: not consuming: the channel was lost\n")
    assert await ask(port, get("/healthz")) == (200, "alive\n")
    assert await ask(port, get("/metrics")) == (200, "metric 1\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), 404),
        ("POST /healthz HTTP/1.1\r\n\r\n", 405),
        ("nonsense\r\n\r\n", 0),
        ("GET /" + "a" * 20_000 + " HTTP/1.1\r\n\r\n", 0),
    ],
)
async def test_other_requests(port: int, request_: str, status: int) -> None:
    """Told so where they are HTTP, else hung up on; the next one is answered."""
    assert (await ask(port, request_))[0] == status
    assert (await ask(port, get("/healthz")))[0] == 200


async def test_a_head_without_body(port: int) -> None:
    assert await ask(port, "HEAD /healthz HTTP/1.1\r\n\r\n") == (200, "")


@pytest.mark.parametrize(
    ("token", "brought", "is_local", "status"),
    [("", "", True, 200), ("", "", False, 403), ("s3cret", "s3cret", False, 200), ("s3cret", "", True, 403)],
)
async def test_metrics_are_for_this_machine_or_for_the_token(
    health: Health, token: str, brought: str, is_local: bool, status: int
) -> None:
    probes = Probes(health, lambda: b"", "text/plain", token)
    assert (await probes.answer("GET", "/metrics", is_local=is_local, token=brought)).status == status


async def test_a_port_that_is_taken_is_told(health: Health, port: int) -> None:
    with pytest.raises(OSError, match=str(port)):
        async with answering(Probes(health, lambda: b"", "text/plain"), "127.0.0.1", port):
            pass
