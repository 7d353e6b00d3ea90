"""What a dead message was, and why it died: pure, from the message itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from shared.messaging import envelope
from shared.messaging.envelope import Delivery

#: What differs between messages that failed for one cause: whatever is quoted or looks like JSON, ids, numbers.
VARIABLE = re.compile(r"'.*'|\".*\"|[\[{'\"].*|\b[0-9a-f]{8,}\b|\d+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row of `dead_letters` to be."""

    content_key: str
    service: str
    queue: str
    event_type: str | None
    lead_id: str | None
    body: bytes
    headers: Mapping[str, Any]
    reason: str
    error_type: str | None
    traceback: str | None
    group_key: str
    attempts: int
    first_failed_at: datetime
    failed_at: datetime


def dead_letter(delivery: Delivery, now: datetime) -> DeadLetter:
    """Read a message off the queue `dead`: one of ours, with its story in headers, or one that the broker buried."""
    headers = {name: value for name, value in delivery.headers.items() if name != "x-death"}
    death = _last_death(delivery)
    why = str(death.get("reason", "unroutable"))
    queue = _storable(headers.get(envelope.ORIGIN_QUEUE) or death.get("queue") or delivery.routing_key)
    reason = str(headers.get(envelope.REASON) or _of_the_broker(why))
    error_type = headers.get(envelope.ERROR_TYPE) or why
    event_type = _storable(delivery.type or delivery.event_type)
    body = _object(delivery.body)
    return DeadLetter(
        content_key=_content_key(queue, delivery, body),
        service=queue.partition(".")[0],
        queue=queue,
        event_type=event_type,
        lead_id=_lead_id(body, delivery),
        body=delivery.body,
        headers={_storable(name): _storable(value) for name, value in headers.items()},
        reason=_storable(reason),
        error_type=_storable(error_type),
        traceback=_storable(headers[envelope.TRACEBACK]) if headers.get(envelope.TRACEBACK) else None,
        group_key=_storable(f"{queue} · {event_type} · {VARIABLE.sub('…', reason)}"[:300]),
        attempts=delivery.attempts or 1,
        first_failed_at=_moment(headers.get(envelope.FIRST_FAILED_AT), now),
        failed_at=_moment(headers.get(envelope.FAILED_AT), now),
    )


def _last_death(delivery: Delivery) -> Mapping[str, Any]:
    """The broker's newest entry; a header of that name is anybody's to send."""
    deaths = delivery.headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def _of_the_broker(reason: str) -> str:
    return {
        "delivery_limit": "it came back too often: each time its consumer died with it, or lost its connection",
        "expired": "it expired",
        "maxlen": "the queue was full",
        "unroutable": "no queue takes it any more",
    }.get(reason, reason)


def _content_key(queue: str, delivery: Delivery, body: Mapping[str, Any]) -> str:
    """The same message that dies again is the same dead letter: by event id, else by message id, else by content."""
    identity = body.get("event_id") or delivery.headers.get(envelope.ORIGIN_MESSAGE_ID) or delivery.message_id
    content = f"{queue}\0{identity}".encode(errors="replace") if identity else queue.encode() + b"\0\0" + delivery.body
    return hashlib.sha256(content).hexdigest()


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = from_json(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _lead_id(body: Mapping[str, Any], delivery: Delivery) -> str | None:
    lead_id = body.get("lead_id", delivery.correlation_id)
    return _storable(str(lead_id)[:200]) if lead_id is not None else None


def _moment(value: object, now: datetime) -> datetime:
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except (ValueError, OverflowError):
        return now


def _storable(value: Any) -> str:
    """Text that PostgreSQL takes, also inside jsonb: no NUL, no half characters."""
    text = (
        value if isinstance(value, str) else value.decode(errors="replace") if isinstance(value, bytes) else repr(value)
    )
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()
