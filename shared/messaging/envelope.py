"""What is on the wire around an event: AMQP properties, headers, CloudEvents; and what came, read into an event."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from msgspec import Struct
from pamqp import encode
from pydantic import ValidationError
from pydantic_core import from_json

from shared.events import BY_TYPE, Event
from shared.messaging.bodies import lead_id_in, why_unreadable
from shared.messaging.topology import EVENTS_EXCHANGE

SHORT_STRING_MAX_BYTES = 255
BODY_MAX_BYTES = 1_048_576
JSON = "application/json"
#: All headers of a message must fit one frame (128 kB): what a stranger's leave is enough for ours.
KEPT_HEADERS_MAX_BYTES = 64_000
REASON_MAX_BYTES = 1_000
TRACEBACK_MAX_BYTES = 6_000

ATTEMPTS = "x-attempts"
ORIGIN_QUEUE = "x-origin-queue"
ORIGIN_MESSAGE_ID = "x-origin-message-id"
REASON = "x-error-reason"
ERROR_TYPE = "x-error-type"
TRACEBACK = "x-error-traceback"
FIRST_FAILED_AT = "x-first-failed-at"
FAILED_AT = "x-failed-at"
#: What a failed copy tells; a replayed one begins without.
STORY = frozenset(
    {ATTEMPTS, ORIGIN_QUEUE, ORIGIN_MESSAGE_ID, REASON, ERROR_TYPE, TRACEBACK, FIRST_FAILED_AT, FAILED_AT}
)
#: On a replayed message and all its copies: the row of `dead_letters` that it comes from.
DEAD_LETTER_ID = "dead-letter-id"
BIGINT_MAX = 2**63 - 1
#: The broker's own, never copied: republished, 3.10 reads them as a cycle and keeps the message for ever.
BROKER_HEADERS = frozenset(
    {"x-death", "x-delivery-count", "x-acquired-count", "x-first-death-exchange", "x-first-death-queue"}
    | {"x-first-death-reason", "x-last-death-exchange", "x-last-death-queue", "x-last-death-reason", "CC", "BCC"}
)


#: Controls but the line feed, those of direction, and halves of characters.
_UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Outgoing(Struct, frozen=True):
    """A message to publish. `key` (the lead's id) becomes the correlation id where it fits."""

    routing_key: str
    body: bytes
    key: str | None = None
    exchange: str = EVENTS_EXCHANGE
    headers: Mapping[str, Any] = {}
    #: The event type, where the routing key is not it.
    type: str | None = None
    content_type: str = JSON
    #: Fail when no queue takes it.
    is_mandatory: bool = True


class Delivery(Struct, frozen=True):
    """A message as the broker delivered it, on one channel."""

    tag: int
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any]
    type: str | None = None
    content_type: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    is_redelivered: bool = False

    @property
    def delivery_count(self) -> int:
        """How often it was delivered before and came back: by a crash, a lost channel, or handed back."""
        count = self.headers.get("x-delivery-count", int(self.is_redelivered))
        return count if isinstance(count, int) else 0

    @property
    def attempts(self) -> int:
        """How often it failed before, as its retry copies tell."""
        attempts = self.headers.get(ATTEMPTS, 0)
        return attempts if isinstance(attempts, int) else 0

    @property
    def event_type(self) -> str:
        """The routing key on the exchange `leads`; elsewhere, on a copy of ours, its `type` property."""
        return self.routing_key if self.exchange == EVENTS_EXCHANGE else self.type or self.routing_key


class Message(Struct, frozen=True):
    """A delivery that holds a valid event."""

    delivery: Delivery
    event: Event

    @property
    def key(self) -> str:
        return self.event.key or self.event.event_id


class Invalid(Struct, frozen=True):
    """A delivery that holds none, and why, in words. `error` is pydantic's, where the JSON was readable.

    `lead_id` is the lead that it is about, where that can be read and can be one.
    """

    delivery: Delivery
    reason: str
    error: ValidationError | None = None
    lead_id: str | None = None

    @property
    def key(self) -> str:
        return f"invalid {self.delivery.tag}"


def read(delivery: Delivery, event_types: Sequence[str]) -> Message | Invalid:
    """Read a delivery's body as the event that its type says, CloudEvents unwrapped."""
    event_type = delivery.event_type
    if event_type not in event_types:
        known = ", ".join(event_types)
        return Invalid(delivery, f"this queue takes {known}; the message is a {event_type[:80]!r}")
    if len(delivery.body) > BODY_MAX_BYTES:
        size = len(delivery.body)
        return Invalid(delivery, f"the body has {size:,} bytes; at most {BODY_MAX_BYTES:,} are taken")
    try:
        return Message(delivery, _event(delivery, BY_TYPE[event_type]))
    except ValidationError as error:
        return Invalid(delivery, _in_words(error), error, lead_id_in(delivery.body))
    except ValueError as error:
        return Invalid(delivery, str(error), lead_id=lead_id_in(delivery.body))


def _event(delivery: Delivery, model: type[Event]) -> Event:
    """Give the event, or raise ValidationError, or ValueError with the reason why there is none to validate."""
    if _is_cloudevent(delivery):
        return model.model_validate(_unwrapped(delivery))
    try:
        return model.model_validate_json(delivery.body)
    except ValidationError as error:
        if error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] != "json_invalid":
            raise
        raise ValueError(why_unreadable(delivery.body)) from None


def _is_cloudevent(delivery: Delivery) -> bool:
    content_type = delivery.content_type or ""
    return content_type.startswith("application/cloudevents+json") or any(
        name.startswith(("cloudEvents_", "cloudEvents:")) for name in delivery.headers
    )


def _unwrapped(delivery: Delivery) -> dict[str, Any]:
    """Give the event inside a CloudEvent, with its id and time where the event itself has none."""
    try:
        body = from_json(delivery.body)
    except ValueError:
        raise ValueError(why_unreadable(delivery.body)) from None
    if not isinstance(body, dict):
        raise ValueError("a CloudEvent's body must be a JSON object")  # noqa: TRY004  # bad input, not a bad call
    if (delivery.content_type or "").startswith("application/cloudevents+json"):
        attributes, data = body, body.get("data")
    else:
        attributes = {name[len("cloudEvents_") :]: value for name, value in delivery.headers.items()}
        data = body
    if not isinstance(data, dict):
        raise ValueError("a CloudEvent's `data` must be a JSON object")  # noqa: TRY004
    given = {"event_id": attributes.get("id"), "occurred_at": attributes.get("time")}
    return {name: value for name, value in given.items() if value is not None} | data


def _in_words(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if problems[0]["type"] == "model_type":
        return "the body must be one JSON object"
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in problems)


def dead_letter_id(delivery: Delivery) -> int | None:
    """Give the row of `dead_letters` that a delivery was replayed from; the header is anybody's to send."""
    row_id = delivery.headers.get(DEAD_LETTER_ID)
    return row_id if type(row_id) is int and 0 < row_id <= BIGINT_MAX else None


# Outward.

_serial = itertools.count()
_process = uuid4().hex[:16]


def new_message_id() -> str:
    """Give a message id, fresh each publish: a returned message is found by it.

    Repeats are told by the `event_id` in the body.
    """
    return f"{_process}-{next(_serial)}"


def copy_of(
    delivery: Delivery, *, exchange: str, routing_key: str, headers: Mapping[str, Any] | None = None
) -> Outgoing:
    """Give a copy of a delivery under another address: its body and headers as they were, and `headers`."""
    return Outgoing(
        routing_key=routing_key,
        body=delivery.body,
        key=delivery.correlation_id,
        exchange=exchange,
        headers={**_kept(delivery), **(headers or {})},
        type=delivery.event_type,
        content_type=delivery.content_type or JSON,
    )


def failed_copy(
    delivery: Delivery, *, queue: str, exchange: str, routing_key: str, attempts: int, failure: Failure, now: datetime
) -> Outgoing:
    """Give the copy of a failed delivery for the retry ladder or the dead: the body as it was, the story in headers."""
    story = {
        ATTEMPTS: attempts,
        ORIGIN_QUEUE: queue,
        ORIGIN_MESSAGE_ID: delivery.headers.get(ORIGIN_MESSAGE_ID, delivery.message_id or ""),
        REASON: escaped(failure.reason[:REASON_MAX_BYTES])[:REASON_MAX_BYTES].decode(errors="ignore"),
        ERROR_TYPE: failure.error_type,
        TRACEBACK: escaped(failure.traceback[-TRACEBACK_MAX_BYTES:])[-TRACEBACK_MAX_BYTES:].decode(errors="ignore"),
        FIRST_FAILED_AT: delivery.headers.get(FIRST_FAILED_AT, now.isoformat()),
        FAILED_AT: now.isoformat(),
    }
    return copy_of(delivery, exchange=exchange, routing_key=routing_key, headers=story)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message failed, for people: one line, the error's type, its traceback where there is one."""

    reason: str
    error_type: str
    traceback: str = ""


def _kept(delivery: Delivery) -> dict[str, Any]:
    """The headers that came, without the broker's and those that would not fit, or go, on the wire again."""
    kept: dict[str, Any] = {}
    size = 0
    for name, value in delivery.headers.items():
        if name in BROKER_HEADERS:
            continue
        try:
            size += len(encode.field_table({name: value}))
        except (TypeError, ValueError):
            continue
        if size <= KEPT_HEADERS_MAX_BYTES:
            kept[name] = value
    return kept


def escaped(value: str) -> bytes:
    """Text for a header: what steers a terminal, or cannot be stored or encoded, as a backslash and its number."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), value).encode()
