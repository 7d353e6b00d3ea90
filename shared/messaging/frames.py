"""AMQP 0-9-1 frames of messages, to bytes and from them. Pure; what is rare in them is left to pamqp.

What a stranger sends can be anything: text that is no UTF-8 is read with replacement characters, a table of headers
that cannot be read is an empty one.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pamqp import decode, encode

from shared.messaging.envelope import SHORT_STRING_MAX_BYTES, Delivery, Outgoing

METHOD, HEADER, BODY = 1, 2, 3
FRAME = struct.Struct(">BHI")
FRAME_END = b"\xce"
#: Bytes of a frame besides its payload.
FRAME_EXTRA = FRAME.size + len(FRAME_END)
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

#: Class `basic` and its methods, as a payload begins.
PUBLISH, RETURN, DELIVER = b"\x00\x3c\x00\x28", b"\x00\x3c\x00\x32", b"\x00\x3c\x00\x3c"
ACK, NACK = b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
_REQUEUE = 0b10
_BASIC = b"\x00\x3c\x00\x00"
_PERSISTENT = b"\x02"
#: Content type, headers, delivery mode, message id, timestamp, type, app id; and with it the correlation id.
_FLAGS, _WITH_CORRELATION_ID = b"\xb0\xe8", b"\xb4\xe8"
_LENGTH = struct.Struct(">I")
_LONG = struct.Struct(">Q")
_TAG = struct.Struct(">QB")
_CONTENT = struct.Struct(">QH")
_UNREADABLE = (ValueError, TypeError, OverflowError, OSError, RecursionError, struct.error)

# Outward.


def published(message: Outgoing, app_id: str, message_id: str, *, channel: int, frame_max: int) -> bytes:
    """Give the frames that publish a message: persistent, with this id and the present time.

    A key that is too long for a correlation id is left out. TypeError or ValueError where headers cannot be encoded.
    """
    key = (message.key or "").encode(errors="replace")
    has_key = 0 < len(key) <= SHORT_STRING_MAX_BYTES
    body = message.body
    publish, content_type, kind_and_app = _same_for_many(
        message.exchange, message.routing_key, message.is_mandatory, message.content_type, message.type, app_id, channel
    )
    properties = b"".join(
        (
            _BASIC,
            _LONG.pack(len(body)),
            _WITH_CORRELATION_ID if has_key else _FLAGS,
            content_type,
            table(message.headers),
            _PERSISTENT,
            bytes((len(key),)) + key if has_key else b"",
            short(message_id),
            _LONG.pack(int(time.time())),
            kind_and_app,
        )
    )
    return b"".join(
        (
            publish,
            FRAME.pack(HEADER, channel, len(properties)),
            properties,
            FRAME_END,
            *_bodies(body, channel, frame_max - FRAME_EXTRA),
        )
    )


@lru_cache(maxsize=1_000)
def _same_for_many(
    exchange: str, routing_key: str, is_mandatory: bool, content_type: str, kind: str | None, app_id: str, channel: int
) -> tuple[bytes, bytes, bytes]:
    """Give the method frame, the content type, and the type with the app id."""
    method = _method(PUBLISH + b"\x00\x00" + short(exchange) + short(routing_key) + bytes((is_mandatory,)), channel)
    return method, short(content_type), short(kind or routing_key) + short(app_id)


def _bodies(body: bytes, channel: int, size: int) -> Sequence[bytes]:
    if 0 < len(body) <= size:
        return FRAME.pack(BODY, channel, len(body)), body, FRAME_END
    parts = (body[start : start + size] for start in range(0, len(body), size))
    return [piece for part in parts for piece in _bodies(part, channel, size)]


def short(value: str) -> bytes:
    """Give a short string. ValueError over 255 bytes."""
    text = value.encode()
    if len(text) > SHORT_STRING_MAX_BYTES:
        raise ValueError(f"a short string has at most {SHORT_STRING_MAX_BYTES} bytes")
    return bytes((len(text),)) + text


def table(headers: Mapping[str, Any]) -> bytes:
    """Give a table; one line of text, as `traceparent` is, without pamqp."""
    if len(headers) == 1:
        ((name, value),) = headers.items()
        if type(value) is str:
            text = value.encode()
            entry = short(name) + b"S" + _LENGTH.pack(len(text)) + text
            return _LENGTH.pack(len(entry)) + entry
    return encode.field_table(dict(headers))


def acknowledged(tag: int, *, is_multiple: bool, channel: int) -> bytes:
    """Give the frame that acknowledges a delivery, or all that are open up to it."""
    return _method(ACK + _TAG.pack(tag, is_multiple), channel)


def handed_back(tag: int, *, channel: int) -> bytes:
    """Give the frame that returns a delivery to its queue."""
    return _method(NACK + _TAG.pack(tag, _REQUEUE), channel)


def _method(payload: bytes, channel: int) -> bytes:
    return FRAME.pack(METHOD, channel, len(payload)) + payload + FRAME_END


# Inward.


def delivery(method: bytes, header: bytes, body: bytes) -> Delivery:
    """Give what a delivery's three payloads say. `method` begins with `DELIVER`."""
    place = 5 + method[4]  # past the consumer tag
    tag, is_redelivered = _TAG.unpack_from(method, place)
    exchange, routing_key = _address(method[place + _TAG.size :])
    properties = _properties(header)
    return Delivery(
        tag=tag,
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        headers=properties.get("headers") or {},
        type=properties.get("type"),
        content_type=properties.get("content_type"),
        message_id=properties.get("message_id"),
        correlation_id=properties.get("correlation_id"),
        is_redelivered=bool(is_redelivered & 1),
    )


@lru_cache(maxsize=256)
def _address(payload: bytes) -> tuple[str, str]:
    """Give exchange and routing key: the same few all the time."""
    exchange, place = _short(payload, 0)
    return exchange, _short(payload, place)[0]


def body_size(header: bytes) -> int:
    """Give the size of the body that a content header announces."""
    size: int = _LONG.unpack_from(header, 4)[0]
    return size


def returned_id(header: bytes) -> str | None:
    """Give the message id of a returned message."""
    message_id: str | None = _properties(header).get("message_id")
    return message_id


def confirm(method: bytes) -> tuple[int, bool]:
    """Give the delivery tag of an ack or a nack, and whether it means all up to it."""
    tag, bits = _TAG.unpack_from(method, 4)
    return tag, bool(bits & 1)


#: In their order on the wire, by bit: short strings but for these.
_PROPERTIES = (
    (15, "content_type"),
    (14, "content_encoding"),
    (13, "headers"),
    (12, "delivery_mode"),
    (11, "priority"),
    (10, "correlation_id"),
    (9, "reply_to"),
    (8, "expiration"),
    (7, "message_id"),
    (6, "timestamp"),
    (5, "type"),
)
_OCTETS = frozenset({"delivery_mode", "priority"})


@lru_cache(maxsize=256)
def _names(flags: int) -> tuple[str, ...]:
    return tuple(name for bit, name in _PROPERTIES if flags & 1 << bit)


def _properties(header: bytes) -> dict[str, Any]:
    """Give a content header's properties up to the last that anybody here asks for."""
    found: dict[str, Any] = {}
    _, flags = _CONTENT.unpack_from(header, 4)
    place = 4 + _CONTENT.size
    for name in _names(flags):
        if name == "headers":
            size = 4 + _LENGTH.unpack_from(header, place)[0]
            found[name] = _table(header[place : place + size])
            place += size
        elif name in _OCTETS:
            place += 1
        elif name == "timestamp":
            place += 8
        else:
            found[name], place = _short(header, place)
    return found


def _short(payload: bytes, place: int) -> tuple[str, int]:
    end = place + 1 + payload[place]
    return payload[place + 1 : end].decode("utf-8", "replace"), end


def _table(payload: bytes) -> dict[str, Any]:
    """Read a table; one entry of text, as `traceparent` is, without pamqp."""
    if len(payload) == 4:
        return {}
    try:
        name_end = 5 + payload[4]
        if payload[name_end : name_end + 1] == b"S":
            text_at = name_end + 5
            if text_at + _LENGTH.unpack_from(payload, name_end + 1)[0] == len(payload):
                return {payload[5:name_end].decode(): payload[text_at:].decode()}
        read: dict[str, Any] = decode.field_table(payload)[1]
        return read
    except _UNREADABLE:
        return {}
