"""Standard Webhooks: what a message looks like, and its signature. Pure.

A receiver checks `webhook-signature` over `webhook-id`, `webhook-timestamp` and the body with its secret; the id is the
event's, so what is sent twice is known again.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode, b64encode
from datetime import datetime

from shared.events import Event

SECRET_PREFIX = "whsec_"  # noqa: S105  # how a secret begins, not one
SECRET_BYTES = 32


def secret_of(random: bytes) -> str:
    """Write a secret as receivers' libraries read it."""
    return SECRET_PREFIX + b64encode(random).decode()


def body_of(event: Event) -> bytes:
    """Give the body that is sent of an event: the same each time."""
    data = json.loads(event.to_json())
    told = {"type": event.type, "timestamp": data.get("occurred_at"), "data": data}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(secret: str, event_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Give the headers that identify and sign a body sent at a time."""
    timestamp = str(int(at.timestamp()))
    signed = f"{event_id}.{timestamp}.".encode() + body
    signature = hmac.digest(b64decode(secret.removeprefix(SECRET_PREFIX)), signed, "sha256")
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{b64encode(signature).decode()}",
        "content-type": "application/json",
    }
