"""Tells endpoints of others what happened: one piece an endpoint, each event to each once it has said that it has it.

A crash between an endpoint's answer and our commit repeats the event there, under the same id. An endpoint that does
not answer rests for a while: what is for it goes to the retry ladder, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.webhooks import queries
from services.webhooks.queries import Endpoint
from services.webhooks.sending import Answer, Sender, Status
from services.webhooks.signing import body_of, headers_of
from shared.db.session import Database
from shared.events import LeadAssigned, LeadUnassigned, OutcomeRecorded
from shared.messaging.envelope import Message
from shared.messaging.processing import Deferred, Effect, Subscription

SUBSCRIPTION = Subscription(queue="webhooks", events=(LeadAssigned, LeadUnassigned, OutcomeRecorded), batch_size=50)
EVENTS = tuple(event.type for event in SUBSCRIPTION.events)
#: Requests to one endpoint at the same time.
AT_ONCE = 8
REST_S = 30.0
RESTING = Answer(Status.FAILED, "not asked: it did not answer a moment ago")


@dataclass(frozen=True, slots=True)
class Told:
    """What an endpoint said to some events."""

    endpoint: Endpoint
    answers: Sequence[tuple[Message, Answer]]


class TellEndpoints:
    """The handler."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._rests_until: dict[int, float] = {}

    async def prepare(self, database: Database, batch: Sequence[Message]) -> AsyncGenerator[Told, None]:
        async with database.reading() as connection:
            found = await queries.endpoints(connection)
            if not found:
                return
            settled = await queries.settled(connection, found, [message.event.event_id for message in batch])
        due = {
            endpoint: wanted
            for endpoint in found
            if (
                wanted := [
                    message
                    for message in batch
                    if message.event.type in endpoint.events and (endpoint.id, message.event.event_id) not in settled
                ]
            )
        }
        for told in await self._tell(due):
            yield told

    async def save(self, tx: AsyncConnection, piece: Told) -> Sequence[Effect]:
        rows = [
            {
                "event_id": message.event.event_id,
                "type": message.event.type,
                "lead_id": message.event.key,
                "status": answer.status.value,
                "answer": answer.words,
            }
            for message, answer in piece.answers
        ]
        await queries.keep(tx, piece.endpoint.id, rows)
        if any(answer.is_gone for _, answer in piece.answers):
            await queries.switch_off(tx, piece.endpoint.id)
        return [
            Deferred(message, f"webhook {piece.endpoint.id}: {answer.words}", "WebhookFailed")
            for message, answer in piece.answers
            if answer.status is Status.FAILED
        ]

    async def _tell(self, due: Mapping[Endpoint, Sequence[Message]]) -> list[Told]:
        """Tell all endpoints at the same time."""
        return await asyncio.gather(*(self._tell_one(endpoint, messages) for endpoint, messages in due.items()))

    async def _tell_one(self, endpoint: Endpoint, messages: Sequence[Message]) -> Told:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(message: Message) -> tuple[Message, Answer]:
            async with gate:
                return message, await self._send(endpoint, message)

        return Told(endpoint, await asyncio.gather(*(one(message) for message in messages)))

    async def _send(self, endpoint: Endpoint, message: Message) -> Answer:
        if time.monotonic() < self._rests_until.get(endpoint.id, 0.0):
            return RESTING
        body = body_of(message.event)
        headers = headers_of(endpoint.secret, message.event.event_id, datetime.now(UTC), body)
        answer = await self._sender.send(endpoint.url, body, headers)
        if answer.is_silent:
            self._rests_until[endpoint.id] = time.monotonic() + REST_S
        return answer
