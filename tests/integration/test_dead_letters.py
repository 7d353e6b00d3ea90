"""The ledger against a real PostgreSQL: what dies again, what is replayed, what is old enough to go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from services.deadletters import consumer as deadletters
from services.scheduler.purge import Retention, purge_dead_letters
from shared.db.session import Database
from shared.messaging.envelope import Delivery
from shared.messaging.replays import resolve
from tests.driving import execute, rows, scalar

DAY = timedelta(days=1)
LATE = datetime(2030, 1, 1, tzinfo=UTC)
STATE = "SELECT status, reason, attempts, body FROM dead_letters ORDER BY id"


def dead(body: bytes = b"{}", queue: str = "ingest", **headers: Any) -> Delivery:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery(tag=1, exchange="leads.dead", routing_key=queue, body=body, headers=told, type="lead.created")


async def bury(database: Database, *deliveries: Delivery) -> None:
    handler = deadletters.StoreDeadLetters()
    batch = {arrived.key: arrived for arrived in map(deadletters.read, deliveries)}
    async for piece in handler.prepare(database, list(batch.values())):
        async with database.begin() as tx:
            await handler.save(tx, piece)


async def replaying(database: Database) -> int:
    """One dead letter on its way."""
    await bury(database, dead(b'{"lead_id": "A"}', x_attempts=6, x_error_reason="first"))
    await execute(database, "UPDATE dead_letters SET status = 'replaying', replays = 1, body = 'edited'")
    return int(await scalar(database, "SELECT id FROM dead_letters"))


def failed_again(row_id: int, at: datetime, queue: str = "ingest") -> Delivery:
    """The copy that a failed replay leaves: no `event_id` in it, and a message id of its own."""
    return dead(
        b"as it was sent",
        queue,
        dead_letter_id=row_id,
        x_attempts=1,
        x_error_reason="second",
        x_origin_message_id=str(at),
        x_failed_at=at.isoformat(),
    )


async def test_a_replay_that_fails_again_opens_its_row_again(database: Database) -> None:
    """The same row with the body that the operator knows; once, however often the copy is delivered."""
    row_id = await replaying(database)
    for _ in range(2):
        await bury(database, failed_again(row_id, LATE))
    assert await rows(database, STATE) == [("new", "second", 7, b"edited")]


async def test_a_replay_that_is_through_twice_and_fails_then_is_open_again(database: Database) -> None:
    row_id = await replaying(database)
    for _ in range(2):
        async with database.begin() as tx:
            await resolve(tx, "ingest", [row_id])
    assert await scalar(database, "SELECT status FROM dead_letters WHERE settled_at IS NOT NULL") == "resolved"
    await bury(database, failed_again(row_id, LATE))
    assert await rows(database, "SELECT status, settled_at FROM dead_letters") == [("new", None)]


async def test_a_strangers_header_touches_nobody_elses_row(database: Database) -> None:
    """Of another queue, of a row that was never replayed, of none: each is a dead letter of its own, none resolved."""
    row_id = await replaying(database)
    async with database.begin() as tx:
        await resolve(tx, "assigner", [row_id])
    await bury(database, failed_again(row_id, LATE, queue="assigner"))
    await bury(database, failed_again(row_id + 1, LATE + DAY), failed_again(10**15, LATE + 2 * DAY))
    assert [row[:2] for row in await rows(database, STATE)] == [("replaying", "first"), *[("new", "second")] * 3]
    await execute(database, "UPDATE dead_letters SET status = 'new'")
    async with database.begin() as tx:
        await resolve(tx, "ingest", [row_id])
    assert await scalar(database, "SELECT status FROM dead_letters WHERE id = :id", id=row_id) == "new"


async def test_what_is_settled_goes_after_its_time_and_what_is_new_stays(database: Database) -> None:
    await bury(database, *(dead(f'{{"event_id": "{number}"}}'.encode()) for number in range(4)))
    first = await scalar(database, "SELECT min(id) FROM dead_letters")
    aged = (
        "UPDATE dead_letters SET status = '{}', failed_at = now() - interval '99 days', settled_at = {} WHERE id = :id"
    )
    ages = (("resolved", "now() - interval '31 days'"), ("discarded", "now()"), ("new", "NULL"), ("replaying", "NULL"))
    for number, (status, settled) in enumerate(ages):
        await execute(database, aged.format(status, settled), id=first + number)
    await execute(
        database,
        """INSERT INTO dead_letter_actions (dead_letter_id, action, actor, before)
           SELECT id, action, 'Asha', '{"body": "{}"}' FROM dead_letters, unnest(ARRAY['edit', 'undo']) AS action""",
    )

    assert await purge_dead_letters(database, Retention(30)) == 1
    assert await rows(database, "SELECT status FROM dead_letters ORDER BY id") == [
        ("discarded",),
        ("new",),
        ("replaying",),
    ]
    assert await rows(
        database, "SELECT action FROM dead_letter_actions WHERE dead_letter_id = :id AND before IS NULL", id=first
    ) == [("edit",)]
    assert await purge_dead_letters(database, Retention(30, new_days=90)) == 1
    assert await scalar(database, "SELECT count(*) FROM dead_letters WHERE status = 'new'") == 0
    assert await scalar(database, "SELECT count(*) FROM dead_letter_actions") == 8
