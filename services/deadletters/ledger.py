"""What a dead message was, and why it died: pure, from the message itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from services.deadletters.grouping import group_key
from shared.messaging import envelope
from shared.messaging.envelope import BROKER_HEADERS, Delivery, dead_letter_id
from shared.messaging.topology import EVENTS_EXCHANGE, REQUEUE_EXCHANGE

#: Of all text that comes in headers, reason and traceback too, as it is stored.
HEADERS_MAX_BYTES = 8_192
REASON_MAX_BYTES = envelope.REASON_MAX_BYTES
TRACEBACK_MAX_BYTES = envelope.TRACEBACK_MAX_BYTES
NAME_MAX_BYTES = envelope.SHORT_STRING_MAX_BYTES
ATTEMPTS_MAX = 2**31


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row of `dead_letters` to be."""

    content_key: str
    service: str
    queue: str
    event_type: str | None
    content_type: str | None
    lead_id: str | None
    body: bytes
    headers: Mapping[str, str]
    reason: str
    error_type: str
    traceback: str | None
    group_key: str
    attempts: int
    first_failed_at: datetime
    failed_at: datetime
    #: The row that it was replayed from.
    replayed_id: int | None = None


def dead_letter(delivery: Delivery, now: datetime) -> DeadLetter:
    """Read a message off the queue `dead`: one of ours, with its story in headers, or one that the broker buried."""
    headers = delivery.headers
    death = _last_death(delivery)
    why = _text(death.get("reason", "unroutable"), NAME_MAX_BYTES)
    queue = _text(headers.get(envelope.ORIGIN_QUEUE) or death.get("queue") or _addressed(delivery), NAME_MAX_BYTES)
    reason = _text(headers.get(envelope.REASON) or _of_the_broker(why), REASON_MAX_BYTES)
    error_type = _text(headers.get(envelope.ERROR_TYPE) or why, NAME_MAX_BYTES)
    traceback = _text(headers.get(envelope.TRACEBACK) or "", TRACEBACK_MAX_BYTES) or None
    event_type = _text(_event_type(delivery, death), NAME_MAX_BYTES)
    body = _object(delivery.body)
    died_at = _moment(death.get("time"), now)
    failed_at = _moment(headers.get(envelope.FAILED_AT), died_at)
    return DeadLetter(
        content_key=_content_key(queue, delivery, body),
        service=queue.partition(".")[0],
        queue=queue,
        event_type=event_type,
        content_type=_text(delivery.content_type, NAME_MAX_BYTES) if delivery.content_type else None,
        lead_id=_lead_id(body, delivery),
        body=delivery.body,
        headers=_others(headers, HEADERS_MAX_BYTES - len(reason.encode()) - len((traceback or "").encode())),
        reason=reason,
        error_type=error_type,
        traceback=traceback,
        group_key=group_key(queue, event_type, error_type, reason, is_error=traceback is not None),
        attempts=min(max(delivery.attempts, 1), ATTEMPTS_MAX),
        first_failed_at=min(_moment(headers.get(envelope.FIRST_FAILED_AT), failed_at), failed_at),
        failed_at=failed_at,
        replayed_id=dead_letter_id(delivery),
    )


def _last_death(delivery: Delivery) -> Mapping[str, Any]:
    """The broker's newest entry; a header of that name is anybody's to send."""
    deaths = delivery.headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def _addressed(delivery: Delivery) -> str:
    """The queue that a message was meant for: what no queue takes comes by the alternate exchange with its key."""
    if delivery.exchange == REQUEUE_EXCHANGE:
        return delivery.routing_key.partition(".")[2] or delivery.routing_key
    return delivery.routing_key


def _event_type(delivery: Delivery, death: Mapping[str, Any]) -> object:
    """The type that the sender told, else the key that it sent to `leads`: the broker buries under the queue's name."""
    keys = death.get("routing-keys")
    if delivery.type is None and death.get("exchange") == EVENTS_EXCHANGE and isinstance(keys, list) and keys:
        return keys[0]
    return delivery.event_type


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
    return _text(str(lead_id)[:NAME_MAX_BYTES], NAME_MAX_BYTES) if lead_id is not None else None


def _others(headers: Mapping[str, Any], limit: int) -> dict[str, str]:
    """The sender's headers as text, the short ones first, as far as there is room; what was cut ends with `…`."""
    ours = BROKER_HEADERS | envelope.STORY | {envelope.DEAD_LETTER_ID}
    theirs = {_text(name, NAME_MAX_BYTES): _text(value, limit) for name, value in headers.items() if name not in ours}
    return dict(_that_fit(sorted(theirs.items(), key=lambda item: len(item[1])), limit))


def _that_fit(headers: Iterable[tuple[str, str]], left: int) -> Iterable[tuple[str, str]]:
    for name, value in headers:
        room = left - _size(name) - len(", :")
        if room < len('"…"') + 2:
            return
        while _size(value) > room:
            value = value[: max(len(value) - max(_size(value) - room, 1) - 1, 0)] + "…"  # noqa: PLW2901
        left = room - _size(value)
        yield name, value


def _size(text: str) -> int:
    """As JSON, in bytes."""
    return len(json.dumps(text, ensure_ascii=False).encode())


def _moment(value: object, otherwise: datetime) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return otherwise


def _text(value: object, limit: int) -> str:
    """Any value as text that PostgreSQL takes, also inside jsonb: no NUL, no half characters; so many bytes at most."""
    match value:
        case str():
            text = value
        case bytes():
            text = value.decode(errors="backslashreplace")
        case _:
            text = repr(value)
    return envelope.escaped(text[:limit])[:limit].decode(errors="ignore")
