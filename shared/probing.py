"""A service's probes over HTTP: /healthz, /readyz, /metrics. Three pages to GET need no framework."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from shared.health import Health

log = structlog.get_logger(__name__)

REQUEST_WITHIN_S = 5.0
HEAD_MAX_BYTES = 16_384
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe is told."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


class Probes:
    """Answers the three pages. Metrics go to this machine only, or to who brings the token."""

    def __init__(self, health: Health, metrics: Callable[[], bytes], metrics_type: str, token: str = "") -> None:
        self._health = health
        self._metrics = metrics
        self._metrics_type = metrics_type
        self._token = token

    async def answer(self, method: str, path: str, *, is_local: bool, token: str) -> Answer:
        """Answer one request; `token` is what the caller brought as its bearer."""
        if method not in {"GET", "HEAD"}:
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET\n")
        match path.partition("?")[0]:
            case "/healthz":
                return Answer(HTTPStatus.OK, b"alive\n")
            case "/readyz":
                problems = await self._health.problems()
                status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
                return Answer(status, ("\n".join(problems or ["ready"]) + "\n").encode())
            case "/metrics" if self._may_read(is_local, token):
                return Answer(HTTPStatus.OK, self._metrics(), self._metrics_type)
            case "/metrics":
                return Answer(HTTPStatus.FORBIDDEN, b"from elsewhere: Authorization: Bearer LEADLINE_METRICS_TOKEN\n")
        return Answer(HTTPStatus.NOT_FOUND, b"there are /healthz, /readyz and /metrics\n")

    def _may_read(self, is_local: bool, token: str) -> bool:
        if self._token:
            return hmac.compare_digest(token.encode(), self._token.encode())
        return is_local

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: one request, one answer."""
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            async with asyncio.timeout(REQUEST_WITHIN_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request, *headers = head.split("\r\n")
                method, path, _ = request.split(" ", 2)
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in headers)}
                token = fields.get("authorization", "").removeprefix("Bearer ")
                is_local = _is_loopback(writer.get_extra_info("peername"))
                answer = await self.answer(method, path, is_local=is_local, token=token)
                writer.write(_written(answer, has_body=method != "HEAD"))
                await writer.drain()
        with suppress(OSError):
            writer.close()


def _is_loopback(peer: tuple[str, int] | None) -> bool:
    return peer is not None and ipaddress.ip_address(peer[0]).is_loopback


def _written(answer: Answer, *, has_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (answer.body if has_body else b"")


@asynccontextmanager
async def answering(probes: Probes, host: str, port: int) -> AsyncIterator[int]:
    """Answer while the block runs; give the port, which the system has chosen if `port` is 0.

    Raises:
        OSError: the port is taken.
    """
    server = await asyncio.start_server(probes.serve, host, port, limit=HEAD_MAX_BYTES)
    chosen: int = server.sockets[0].getsockname()[1]
    log.info("health.listening", host=host, port=chosen)
    try:
        yield chosen
    finally:
        server.close()
