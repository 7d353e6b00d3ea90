"""Moves dead messages from the broker into `dead_letters`, where operators can work them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.deadletters.ledger import DeadLetter, dead_letter
from shared.db.session import Database
from shared.events import Event
from shared.messaging.envelope import Delivery, Message
from shared.messaging.processing import Effect, Subscription
from shared.messaging.topology import DEAD_QUEUE

_COLUMNS = {
    "content_key": "text",
    "service": "text",
    "queue": "text",
    "event_type": "text",
    "content_type": "text",
    "lead_id": "text",
    "body": "bytea",
    "headers": "text",
    "reason": "text",
    "error_type": "text",
    "traceback": "text",
    "group_key": "text",
    "attempts": "bigint",
    "first_failed_at": "timestamptz",
    "failed_at": "timestamptz",
    "replayed_id": "bigint",
}
_new = f"""
    unnest({", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMNS.items())}) AS new ({", ".join(_COLUMNS)})
"""
_stored = [name for name in _COLUMNS if name != "replayed_id"]

#: The rows that messages were replayed from, as far as they are still there. A stranger's header names another queue's
#: row, or one that nobody is replaying: then the message is a dead letter of its own.
REPLAYED = text(f"""
    SELECT known.id FROM dead_letters AS known JOIN {_new} ON known.id = new.replayed_id AND known.queue = new.queue
    WHERE known.replays > 0
    ORDER BY known.id FOR NO KEY UPDATE OF known
""")  # noqa: S608  # names of columns
#: It failed again: the row is open again, its body as the operator knows it. A message that is delivered a second time
#: is no second failure.
REOPEN = text(f"""
    UPDATE dead_letters AS known
    SET status = 'new', settled_at = NULL, reason = new.reason, error_type = new.error_type, group_key = new.group_key,
        traceback = new.traceback, attempts = known.attempts + new.attempts, failed_at = new.failed_at
    FROM {_new}
    WHERE known.id = ANY(CAST(:known AS bigint[])) AND known.id = new.replayed_id
      AND (known.status = 'replaying' OR new.failed_at > known.failed_at)
""")  # noqa: S608  # names of columns
STORE = text(f"""
    INSERT INTO dead_letters AS known ({", ".join(_stored)})
    SELECT {", ".join("CAST(headers AS jsonb)" if name == "headers" else name for name in _stored)}
    FROM {_new}
    WHERE (replayed_id = ANY(CAST(:known AS bigint[]))) IS NOT TRUE
    ORDER BY content_key
    ON CONFLICT (content_key) DO UPDATE
    SET status = 'new', settled_at = NULL, reason = excluded.reason, error_type = excluded.error_type,
        traceback = excluded.traceback, group_key = excluded.group_key, failed_at = excluded.failed_at,
        attempts = greatest(known.attempts, excluded.attempts), headers = excluded.headers, body = excluded.body,
        original_body = NULL
    WHERE excluded.failed_at > known.failed_at
""")  # noqa: S608  # names of columns


class Dead(Event):
    """A dead message, whatever it was."""

    type: ClassVar[str] = "dead"

    @property
    def key(self) -> str:
        return self.event_id


def read(delivery: Delivery) -> Message:
    """Take any delivery: its key is the dead letter that it will be."""
    return Message(delivery, Dead(event_id=dead_letter(delivery, datetime.now(UTC)).content_key))


SUBSCRIPTION = Subscription(queue=DEAD_QUEUE, events=(), read=read, buries=False)


class StoreDeadLetters:
    """The handler: one row a message, however often it dies, also after a replay."""

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[list[DeadLetter], None]:
        now = datetime.now(UTC)
        yield [dead_letter(message.delivery, now) for message in batch]

    async def save(self, tx: AsyncConnection, piece: Sequence[DeadLetter]) -> Sequence[Effect]:
        columns = {field.name: [getattr(letter, field.name) for letter in piece] for field in fields(DeadLetter)}
        columns["headers"] = [json.dumps(dict(headers)) for headers in columns["headers"]]
        known = list((await tx.execute(REPLAYED, columns)).scalars()) if any(columns["replayed_id"]) else []
        if known:
            await tx.execute(REOPEN, {**columns, "known": known})
        await tx.execute(STORE, {**columns, "known": known})
        return ()
