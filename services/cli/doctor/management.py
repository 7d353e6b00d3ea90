"""RabbitMQ's management API, for what AMQP does not tell: leaders, bindings, and what is stuck."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, unquote, urlsplit

ANSWERS_WITHIN_S = 5.0
PORTS = {"amqp": ("http", 15672), "amqps": ("https", 15671)}


class NoManagementError(Exception):
    """It does not answer, or not us; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Management:
    """The API of one broker, as one user, for one virtual host."""

    url: str
    user: str
    password: str
    vhost: str

    async def queues(self) -> list[dict[str, Any]]:
        """All queues of the virtual host. Raises NoManagementError."""
        return await self._get("queues")

    async def bindings(self) -> list[dict[str, Any]]:
        """All bindings of the virtual host. Raises NoManagementError."""
        return await self._get("bindings")

    async def _get(self, what: str) -> list[dict[str, Any]]:
        address = f"{self.url}/api/{what}/{quote(self.vhost, safe='')}"
        try:
            answer: list[dict[str, Any]] = await asyncio.to_thread(self._read, address)
        except (OSError, HTTPException, ValueError) as error:
            raise NoManagementError(f"{address}: {error}") from error
        return answer

    def _read(self, address: str) -> Any:
        credentials = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(address, headers={"Authorization": f"Basic {credentials}"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_S) as answer:  # noqa: S310  # http or https: checked
            return json.load(answer)


def management_of(amqp_url: str, api_url: str = "") -> Management:
    """Give the API at `api_url`, or where it is unless somebody has moved it; its user is that of `amqp_url`."""
    parts = urlsplit(amqp_url)
    scheme, port = PORTS[parts.scheme]
    url = api_url.rstrip("/") or f"{scheme}://{parts.hostname or '127.0.0.1'}:{port}"
    vhost = unquote(parts.path[1:]) or "/"
    return Management(url, unquote(parts.username or "guest"), unquote(parts.password or "guest"), vhost)


def is_leaderless(queue: dict[str, Any]) -> bool:
    """Whether a quorum queue has no leader that is online: nothing goes in, nothing comes out."""
    if queue.get("type") != "quorum" and queue.get("arguments", {}).get("x-queue-type") != "quorum":
        return False
    leader: object = queue.get("leader")
    return not leader or leader not in queue.get("online", [leader]) or queue.get("state") in {"down", "minority"}


def refuses_when_full(queue: dict[str, Any]) -> str | None:
    """Say why a queue makes the broker refuse what is published to it; None if it does not."""
    policy = queue.get("effective_policy_definition") or {}
    arguments = queue.get("arguments", {})
    settings = {**policy, **{name.removeprefix("x-"): value for name, value in arguments.items()}}
    if queue.get("state") in {"down", "stopped", "crashed"}:
        return f"it is {queue['state']}"
    if not str(settings.get("overflow", "")).startswith("reject-publish"):
        return None
    for limit, now in (("max-length", "messages"), ("max-length-bytes", "message_bytes")):
        most = settings.get(limit)
        if isinstance(most, int) and int(queue.get(now, 0)) >= most:
            return f"it is full ({limit} {most}) and rejects what is published"
    return None


def undrained(queues: Sequence[dict[str, Any]]) -> set[str]:
    """Name the queues that hold expired messages which nobody takes: counted, and neither ready nor delivered."""
    return {
        queue["name"]
        for queue in queues
        if queue.get("messages", 0) > queue.get("messages_ready", 0) + queue.get("messages_unacknowledged", 0)
        or (queue["name"].startswith("retry.") and queue.get("messages_unacknowledged", 0) > 0)
    }
