"""A dead letter as the message that it was, and as the one that a replay sends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic_core import from_json

from shared.events import BY_TYPE
from shared.messaging.envelope import DEAD_LETTER_ID, JSON, STORY, Delivery, Outgoing
from shared.messaging.topology import REQUEUE_EXCHANGE

#: The columns of a letter, in its order.
COLUMNS = "id, queue, event_type, content_type, lead_id, body, headers, group_id"


@dataclass(frozen=True, slots=True)
class Letter:
    """What of a row makes the message."""

    id: int
    queue: str
    event_type: str | None
    content_type: str | None
    lead_id: str | None
    body: bytes
    headers: Mapping[str, str]
    group_id: str

    def delivery(self, as_of: date | None = None) -> Delivery:
        """Give the message as its consumer would have it; its tag is the row's id."""
        return Delivery(
            tag=self.id,
            exchange=REQUEUE_EXCHANGE,
            routing_key=f"replay.{self.queue}",
            body=with_day(self.event_type, bytes(self.body), as_of),
            headers=self.headers,
            type=self.event_type,
            content_type=self.content_type,
            correlation_id=self.lead_id,
        )

    def outgoing(self, as_of: date | None = None) -> Outgoing:
        """Give the message for the one queue that it came from, attempts at nothing; `as_of` where its event has it."""
        headers = {name: value for name, value in self.headers.items() if name not in STORY}
        return Outgoing(
            routing_key=f"replay.{self.queue}",
            body=with_day(self.event_type, bytes(self.body), as_of),
            key=self.lead_id,
            exchange=REQUEUE_EXCHANGE,
            headers={**headers, DEAD_LETTER_ID: self.id},
            type=self.event_type,
            content_type=self.content_type or JSON,
        )


def with_day(event_type: str | None, body: bytes, as_of: date | None) -> bytes:
    """Give the body with the day as of which it is to be handled, inside a CloudEvent too; others as they are."""
    model = BY_TYPE.get(event_type or "")
    if as_of is None or model is None or "as_of" not in model.model_fields:
        return body
    try:
        content: Any = from_json(body)
    except ValueError:
        return body
    if not isinstance(content, dict):
        return body
    inner = content.get("data") if "specversion" in content else None
    (inner if isinstance(inner, dict) else content)["as_of"] = as_of.isoformat()
    return json.dumps(content).encode()
