"""A handler driven as the core drives it, without a broker: prepare, then save, each piece in its transaction."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import text

from shared.db.session import Database
from shared.events import Event
from shared.messaging import failures
from shared.messaging.envelope import Delivery, Message
from shared.messaging.processing import Apart, Effect, Handler

E = TypeVar("E", bound=Event)

_tags = itertools.count(1)


def message(event: Event, headers: Mapping[str, Any] | None = None) -> Message:
    """An event as it arrives."""
    delivery = Delivery(
        tag=next(_tags),
        exchange="leads",
        routing_key=event.type,
        body=event.to_json().encode(),
        headers=headers or {},
        message_id=event.event_id,
    )
    return Message(delivery, event)


@dataclass
class Driver:
    """One replica: its handler, what it told, and how often it ran again over a deadlock or a lock timeout."""

    database: Database
    handler: Handler[Any]
    told: list[Event] = field(default_factory=list)
    refused: list[Apart] = field(default_factory=list)
    again: int = 0

    async def run(self, *events: Event | Message) -> list[Effect]:
        """One batch, to its end. Gives the effects of the run that went through."""
        batch = [each if isinstance(each, Message) else message(each) for each in events]
        for tries in itertools.count():
            effects: list[Effect] = []
            try:
                async with aclosing(self.handler.prepare(self.database, batch)) as pieces:
                    async for piece in pieces:
                        async with self.database.begin() as tx:
                            saved = await self.handler.save(tx, piece)
                        effects += saved
                        self.told += [effect for effect in saved if isinstance(effect, Event)]
                        self.refused += [effect for effect in saved if not isinstance(effect, Event)]
            except Exception as error:
                if tries >= 5 or not isinstance(failures.classify(error), failures.Again):
                    raise
                self.again += 1
                print("again:", error)  # whoever expects none wants to know which
                await asyncio.sleep(random.uniform(0.01, 0.1))
            else:
                return effects
        raise AssertionError

    def take(self, *kinds: type[E]) -> list[E]:
        """What was told of these kinds, each once."""
        found = [event for event in self.told if isinstance(event, kinds)]
        self.told = [event for event in self.told if not isinstance(event, kinds)]
        return found


async def rows(database: Database, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    async with database.begin() as tx:
        return [tuple(row) for row in await tx.execute(text(statement), values)]


async def execute(database: Database, statement: str, **values: Any) -> None:
    async with database.begin() as tx:
        await tx.execute(text(statement), values)


async def scalar(database: Database, statement: str, **values: Any) -> Any:
    async with database.begin() as tx:
        return (await tx.execute(text(statement), values)).scalar_one_or_none()


def of(effects: Sequence[Effect], kind: type[Any]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]
