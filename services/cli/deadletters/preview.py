"""What a replay would do now, group by group, page by page; nothing stays of it, and nobody is held up.

Locks are waited for 100 ms and held for one page at most, and between two pages whoever waits gets as long a turn. A
page that cannot get its locks is tried again after the others; what is held even then could not be told.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text

from services.cli.deadletters.checking import opened
from services.cli.deadletters.letters import COLUMNS, Letter
from services.cli.deadletters.selection import WHERE, Selection
from services.cli.deadletters.trials import (
    AssignerTrial,
    DocumentsTrial,
    IngestTrial,
    LotTrial,
    NotifierTrial,
    Trial,
    WebhooksTrial,
)
from services.cli.deadletters.verdicts import GroupPreview, Outcome, Sum, Verdict
from services.ingest.reference import ReferenceReader
from shared.db.session import Database
from shared.errors import in_short
from shared.messaging import failures
from shared.messaging.deliveries import Deliveries
from shared.messaging.envelope import Message
from shared.settings import Settings

PAGE = 50
ROUNDS = 3
#: For every connection of a preview: it gives way, whoever it meets.
SERVER_SETTINGS = {"lock_timeout": "100ms", "statement_timeout": "3s"}
DEADLINE_S = 8.0
HELD = Verdict(Outcome.BUSY, "others hold its rows at this moment")

NEXT = text(f"""
    SELECT {COLUMNS}, first_failed_at FROM dead_letters WHERE status = 'new' AND id > :after AND {WHERE}
    ORDER BY id LIMIT :limit
""")  # noqa: S608  # the columns of a letter, and the selection's WHERE
AGAIN = text(f"SELECT {COLUMNS}, first_failed_at FROM dead_letters WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Preview:
    """What a replay would do now, the largest group first."""

    groups: Sequence[GroupPreview]


def trials(settings: Settings) -> dict[str, Trial]:
    """Give each queue's trial."""
    return {
        "ingest": IngestTrial(ReferenceReader(settings.default_region, settings.tz)),
        "assigner": AssignerTrial(),
        "assigner.lots": LotTrial(),
        "documents": DocumentsTrial(settings.sheets_dir, settings.sheet_key),
        "notifier": NotifierTrial(settings.sheets_dir, settings.env),
        "webhooks": WebhooksTrial(),
    }


async def preview(
    database: Database,
    selection: Selection,
    by_queue: Mapping[str, Trial],
    *,
    as_of_zone: ZoneInfo | None = None,
    show: Callable[[int], None] = lambda _: None,
) -> Preview:
    """Try what is selected and new; with `as_of_zone` as of the day on which each first failed, in that zone.

    `show` is told after each page how many have been tried.
    """
    tried = 0
    sums: dict[str, Sum] = defaultdict(Sum)
    trying = _Trying(database, by_queue, as_of_zone)
    held: list[int] = []
    async for page in _pages(database, selection):
        held += await trying.page(page, sums)
        tried += len(page)
        show(tried)
    for _ in range(ROUNDS - 1):
        held = [
            row_id for start in range(0, len(held), PAGE) for row_id in await trying.again(held[start:][:PAGE], sums)
        ]
    for start in range(0, len(held), PAGE):
        for letter, _ in await _read(database, held[start : start + PAGE]):
            sums[letter.group_id].add(letter.id, HELD)
    groups = [each.group(name) for name, each in sums.items()]
    return Preview(sorted(groups, key=lambda group: (-group.messages, group.group)))


async def _pages(database: Database, selection: Selection) -> AsyncIterator[list[tuple[Letter, datetime]]]:
    after = 0
    while True:
        values = {**selection.values, "after": after, "limit": PAGE}
        async with database.reading() as connection:
            page = [(Letter(*row[:-1]), row[-1]) for row in await connection.execute(NEXT, values)]
        if not page:
            return
        after = page[-1][0].id
        yield page


async def _read(database: Database, ids: Sequence[int]) -> list[tuple[Letter, datetime]]:
    async with database.reading() as connection:
        return [(Letter(*row[:-1]), row[-1]) for row in await connection.execute(AGAIN, {"ids": list(ids)})]


class _Trying:
    def __init__(self, database: Database, by_queue: Mapping[str, Trial], as_of_zone: ZoneInfo | None) -> None:
        self._database = database
        self._by_queue = by_queue
        self._zone = as_of_zone

    async def again(self, ids: Sequence[int], sums: Mapping[str, Sum]) -> list[int]:
        return await self.page(await _read(self._database, ids), sums)

    async def page(self, page: Sequence[tuple[Letter, datetime]], sums: Mapping[str, Sum]) -> list[int]:
        """Try a page; count what could be told, give the ids of the others."""
        began = time.monotonic()
        verdicts: dict[int, Verdict] = {}
        by_queue: dict[str, Deliveries] = defaultdict(Deliveries)
        for letter, failed_at in page:
            match opened(letter.delivery(self._day(failed_at)), letter.queue):
                case str() as wrong:
                    verdicts[letter.id] = Verdict(Outcome.FAILS, wrong)
                case message:
                    by_queue[letter.queue].put(message)
        for queue, deliveries in by_queue.items():
            while batch := deliveries.take(PAGE):
                messages = [message for message in batch if isinstance(message, Message)]
                verdicts |= await self._part(self._by_queue[queue], messages)
        for letter, _ in page:
            if letter.id in verdicts:
                sums[letter.group_id].add(letter.id, verdicts[letter.id])
        await asyncio.sleep(time.monotonic() - began)  # others' turn
        return [letter.id for letter, _ in page if letter.id not in verdicts]

    async def _part(self, trial: Trial, batch: Sequence[Message]) -> dict[int, Verdict]:
        """Try some messages; where they fail together each alone, as the consumer would. What is held is left out."""
        try:
            return await trial(self._database, batch)
        except Exception as error:  # told: the very question is what it raises
            match failures.classify(error):
                case failures.Again():
                    return {}
                case failures.Outage():
                    raise
                case failures.Other() if len(batch) == 1:
                    return {batch[0].delivery.tag: Verdict(Outcome.FAILS, in_short(error))}
        verdicts: dict[int, Verdict] = {}
        for message in batch:
            verdicts |= await self._part(trial, [message])
        return verdicts

    def _day(self, failed_at: datetime) -> date | None:
        return failed_at.astimezone(self._zone).date() if self._zone else None
