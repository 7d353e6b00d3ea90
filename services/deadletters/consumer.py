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

STORE = text("""
    INSERT INTO dead_letters AS known (content_key, service, queue, event_type, lead_id, body, headers, reason,
                                       error_type, traceback, group_key, attempts, first_failed_at, failed_at)
    SELECT content_key, service, queue, event_type, lead_id, body, CAST(headers AS jsonb), reason, error_type,
           traceback, group_key, attempts, first_failed_at, failed_at
    FROM unnest(CAST(:content_key AS text[]), CAST(:service AS text[]), CAST(:queue AS text[]),
                CAST(:event_type AS text[]), CAST(:lead_id AS text[]), CAST(:body AS bytea[]),
                CAST(:headers AS text[]), CAST(:reason AS text[]), CAST(:error_type AS text[]),
                CAST(:traceback AS text[]), CAST(:group_key AS text[]), CAST(:attempts AS bigint[]),
                CAST(:first_failed_at AS timestamptz[]), CAST(:failed_at AS timestamptz[]))
         AS new (content_key, service, queue, event_type, lead_id, body, headers, reason, error_type, traceback,
                 group_key, attempts, first_failed_at, failed_at)
    ORDER BY content_key
    ON CONFLICT (content_key) DO UPDATE
    SET status = 'new', reason = excluded.reason, error_type = excluded.error_type, traceback = excluded.traceback,
        group_key = excluded.group_key, attempts = greatest(known.attempts, excluded.attempts),
        failed_at = excluded.failed_at, headers = excluded.headers, body = excluded.body
    WHERE excluded.failed_at > known.failed_at
""")


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
    """The handler: one row a message, however often it dies."""

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[list[DeadLetter], None]:
        now = datetime.now(UTC)
        yield [dead_letter(message.delivery, now) for message in batch]

    async def save(self, tx: AsyncConnection, piece: Sequence[DeadLetter]) -> Sequence[Effect]:
        columns = {field.name: [getattr(letter, field.name) for letter in piece] for field in fields(DeadLetter)}
        columns["headers"] = [json.dumps(dict(headers)) for headers in columns["headers"]]
        await tx.execute(STORE, columns)
        return ()
