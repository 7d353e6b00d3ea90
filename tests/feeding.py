"""Leads for a stack, and what must have become of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.stack import CONSUMED, Stack

FEED_CHUNK = 20


def a_lead(number: int | str, **others: object) -> dict[str, object]:
    """The body of a `lead.created` of its own customer."""
    return {"lead_id": f"L{number}", "source": "META", "customer_name": f"Customer {number}", **others}


def leads(count: int, prefix: str = "") -> list[dict[str, object]]:
    return [a_lead(f"{prefix}{number}") for number in range(count)]


@asynccontextmanager
async def fed(
    stack: Stack, make: Callable[[int], object], *, at_least: int, over_s: float
) -> AsyncIterator[list[object]]:
    """Publish what `make` makes of 0, 1, 2 …, so many in so many seconds and on at that pace while the block runs.

    Gives the list of what was published, complete at the end of the block: how long that takes depends on the machine.
    """
    published: list[object] = []
    is_over = asyncio.Event()

    async def feed() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not is_over.is_set() or len(published) < at_least:
            chunk = [make(number) for number in range(len(published), len(published) + FEED_CHUNK)]
            await stack.publish("lead.created", *chunk)
            published.extend(chunk)
            due = began + over_s * len(published) / at_least
            with suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), max(due - loop.time(), 0))  # the pace of the feed

    feeding = asyncio.create_task(feed())
    try:
        yield published
        is_over.set()
        await feeding
    finally:
        feeding.cancel()


async def everything_is_through(stack: Stack, count: int) -> bool:
    """So many leads are assigned, printed and mailed, and nothing is on its way any more."""
    assert await stack.count("assignments WHERE is_current AND assignment_status_id = 2") == count
    assert await stack.count("documents WHERE status = 'ok'") == count
    assert await stack.count("notification_deliveries WHERE status = 'sent'") == count
    assert await stack.count("outbox") == 0
    assert await stack.ready(*CONSUMED.values()) == {}
    return True


async def assert_each_exactly_once(
    stack: Stack, count: int, *, killed_documents: int = 0, killed_notifiers: int = 0
) -> None:
    """Rows, files and mails agree: one assignment, sheet and mail a lead.

    Each killed `documents` may have left half a file behind, each killed `notifier` a mail that is sent again.
    """
    assert await stack.count("leads") == count
    assert await stack.count("assignments") == count
    assert await stack.count("assignments WHERE agent_id IS NOT NULL") == count
    rows = await stack.rows("SELECT sheet_key, file_path, sha256, lead_ids FROM documents")
    assert {row["file_path"]: row["sha256"] for row in rows} == stack.sheet_files()
    assert len(stack.leftovers()) <= killed_documents
    on_sheets = [lead_id for row in rows for lead_id in row["lead_ids"]]
    assert sorted(on_sheets) == [
        row["lead_id"] for row in await stack.rows('SELECT lead_id FROM leads ORDER BY lead_id COLLATE "C"')
    ]
    sent = {row["message_id"] for row in await stack.rows("SELECT message_id FROM notifications WHERE status = 'sent'")}
    mails = stack.mails_by_id()
    assert mails.keys() == sent
    assert len(sent) == count
    assert count <= sum(mails.values()) <= count + killed_notifiers
    counted = await stack.rows(
        "SELECT (SELECT sum(assigned_count) FROM member_counters) AS assigned,"
        " (SELECT sum(leads) FROM member_days) AS on_days"
    )
    assert [tuple(row) for row in counted] == [(count, count)]
