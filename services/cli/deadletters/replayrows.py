"""A replay's frozen selection in the database: what waits, what is on its way, what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.cli.deadletters.letters import COLUMNS, Letter
from services.cli.deadletters.selection import WHERE, Selection
from services.cli.failures import CommandError
from shared.db.session import Database

#: The first half of the two-part key of our advisory locks: replays.
LOCK_CLASS = 4_270_002
#: Whether somebody, anywhere, holds the lock of the replay of this row.
IS_RUNNING = f"""EXISTS (
        SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = {LOCK_CLASS} AND objsubid = 2
          AND objid = dead_letter_replays.id % 2147483648
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )"""  # noqa: S608  # a number of ours
#: The lock is held as long as the replay runs.
LOCK_DEADLINE_S = 30 * 24 * 3600.0
FREEZE_TIMEOUT_S = 120.0

ADD = text("""
    INSERT INTO dead_letter_replays (actor, selection, as_of) VALUES (:actor, CAST(:selection AS jsonb), :as_of)
    RETURNING id
""")
FREEZE = text(f"""
    INSERT INTO dead_letter_replay_rows (replay_id, dead_letter_id, replays)
    SELECT :replay_id, id, replays FROM dead_letters WHERE status = 'new' AND {WHERE}
""")  # noqa: S608  # the selection's WHERE
READ = text("SELECT as_of, state FROM dead_letter_replays WHERE id = :replay_id")
CLAIM_REPLAY = text("SELECT pg_try_advisory_lock(:lock_class, CAST(:replay_id % 2147483648 AS integer))")
RELEASE_REPLAY = text("SELECT pg_advisory_unlock(:lock_class, CAST(:replay_id % 2147483648 AS integer))")
END = text("UPDATE dead_letter_replays SET state = :state WHERE id = :replay_id")
#: Only of one that runs: whoever begins a run takes the wish of the one before away.
ASK_TO_REST = text(f"""
    UPDATE dead_letter_replays SET is_asked_to_rest = true
    WHERE id = :replay_id AND {IS_RUNNING}
    RETURNING true
""")  # noqa: S608  # a condition of ours
BEGIN_RUN = text("UPDATE dead_letter_replays SET is_asked_to_rest = false WHERE id = :replay_id AND is_asked_to_rest")
IS_ASKED_TO_REST = text("SELECT is_asked_to_rest FROM dead_letter_replays WHERE id = :replay_id")
COUNT = text(
    "SELECT state, count(*) AS letters FROM dead_letter_replay_rows WHERE replay_id = :replay_id GROUP BY state"
)

_letter = ", ".join(f"dead_letters.{name}" for name in COLUMNS.split(", "))
#: The next letters that are as they were when the selection was frozen go on their way; those that are not, because
#: somebody else replayed, discarded or resolved them, are passed over. Rows that somebody holds are left for later.
CLAIM = text(f"""
    WITH next AS (
        SELECT dead_letters.id, dead_letters.status = 'new' AND dead_letters.replays = frozen.replays AS is_open
        FROM dead_letter_replay_rows AS frozen JOIN dead_letters ON dead_letters.id = frozen.dead_letter_id
        WHERE frozen.replay_id = :replay_id AND frozen.state = 'waiting'
        ORDER BY frozen.dead_letter_id LIMIT :limit
        FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
        UPDATE dead_letter_replay_rows AS frozen
        SET state = CASE WHEN is_open THEN 'claimed' ELSE 'passed over' END
        FROM next WHERE frozen.replay_id = :replay_id AND frozen.dead_letter_id = next.id
    ), claimed AS (
        UPDATE dead_letters SET status = 'replaying', replay_id = :replay_id, replays = replays + 1
        FROM next WHERE dead_letters.id = next.id AND next.is_open
        RETURNING {_letter}, dead_letters.first_failed_at
    ), recorded AS (
        INSERT INTO dead_letter_actions (dead_letter_id, action, actor, before, after)
        SELECT id, 'replay', :actor, '{{"status": "new"}}',
               jsonb_build_object('status', 'replaying', 'replay_id', CAST(:replay_id AS bigint))
        FROM claimed
    )
    SELECT next.id, next.is_open, {_letter.replace("dead_letters.", "claimed.")}, claimed.first_failed_at
    FROM next LEFT JOIN claimed ON claimed.id = next.id ORDER BY next.id
""")  # noqa: S608  # the columns of a letter
#: Whoever died between claim and mark leaves open whether these were published.
CLAIMED = text(f"""
    SELECT dead_letters.id, true, {_letter}, dead_letters.first_failed_at
    FROM dead_letter_replay_rows AS frozen JOIN dead_letters ON dead_letters.id = frozen.dead_letter_id
    WHERE frozen.replay_id = :replay_id AND frozen.state = 'claimed' AND dead_letters.status = 'replaying'
      AND dead_letters.replay_id = :replay_id
    ORDER BY dead_letters.id LIMIT :limit
""")  # noqa: S608
SENT = text("""
    UPDATE dead_letter_replay_rows SET state = 'sent'
    WHERE replay_id = :replay_id AND dead_letter_id = ANY(CAST(:ids AS bigint[])) AND state = 'claimed'
""")
#: A letter that is not on its way any more, or again on another's, has come to its end.
SETTLE = text("""
    UPDATE dead_letter_replay_rows AS frozen
    SET state = CASE WHEN dead_letters.status = 'resolved' THEN 'through' ELSE 'failed' END
    FROM dead_letters
    WHERE frozen.replay_id = :replay_id AND frozen.state IN ('claimed', 'sent')
      AND dead_letters.id = frozen.dead_letter_id
      AND (dead_letters.status <> 'replaying' OR dead_letters.replays > frozen.replays + 1)
    RETURNING frozen.state
""")


@dataclass(frozen=True, slots=True)
class Replay:
    """A frozen selection. `state`: open, stopped or done."""

    id: int
    as_of: str
    state: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """Letters that go on their way, each with when it first failed; and how many were passed over."""

    letters: Sequence[tuple[Letter, datetime]]
    passed_over: int

    @property
    def rows(self) -> int:
        return len(self.letters) + self.passed_over


async def freeze(database: Database, selection: Selection, *, selected: str, as_of: str, actor: str) -> Replay:
    """Keep which letters are new and selected at this moment, however many."""
    async with database.begin(deadline_s=FREEZE_TIMEOUT_S) as tx:
        await tx.execute(text(f"SET LOCAL statement_timeout = '{FREEZE_TIMEOUT_S * 0.6:.0f}s'"))
        values = {"actor": actor, "selection": selected, "as_of": as_of}
        replay_id = (await tx.execute(ADD, values)).scalar_one()
        await tx.execute(FREEZE, {**selection.values, "replay_id": replay_id})
    return Replay(replay_id, as_of, "open")


async def find(database: Database, replay_id: int) -> Replay:
    """Give a replay that was begun. CommandError if there is none."""
    async with database.reading() as connection:
        row = (await connection.execute(READ, {"replay_id": replay_id})).one_or_none()
    if row is None:
        raise CommandError(f"there is no replay {replay_id}")
    return Replay(replay_id, row.as_of, row.state)


@asynccontextmanager
async def held(database: Database, replay: Replay) -> AsyncIterator[None]:
    """Run a replay alone; the lock dies with its process. CommandError if somebody else runs it."""
    key = {"lock_class": LOCK_CLASS, "replay_id": replay.id}
    async with database.reading(deadline_s=LOCK_DEADLINE_S) as connection:
        if not (await connection.execute(CLAIM_REPLAY, key)).scalar_one():
            raise CommandError(f"replay {replay.id} is being run by somebody else at this moment")
        try:
            await connection.execute(BEGIN_RUN, {"replay_id": replay.id})
            yield
        finally:
            if not connection.invalidated:
                await connection.execute(RELEASE_REPLAY, key)


async def ask_to_rest(database: Database, replay_id: int) -> bool:
    """Have whoever runs a replay, wherever, let it rest; False if nobody runs it."""
    async with database.reading() as connection:
        return bool((await connection.execute(ASK_TO_REST, {"replay_id": replay_id})).scalar_one_or_none())


async def is_asked_to_rest(database: Database, replay: Replay) -> bool:
    """Whether somebody has asked that this run rest."""
    async with database.reading() as connection:
        return bool((await connection.execute(IS_ASKED_TO_REST, {"replay_id": replay.id})).scalar_one())


async def counts(database: Database, replay: Replay) -> dict[str, int]:
    """Count a replay's letters by state."""
    async with database.reading() as connection:
        return {row.state: row.letters for row in await connection.execute(COUNT, {"replay_id": replay.id})}


async def claim(database: Database, replay: Replay, *, limit: int, actor: str) -> Claimed:
    """Mark the next letters as under way, for good: each is given to one caller, whoever else asks."""
    async with database.begin() as tx:
        found = await _letters(tx, CLAIM, {"replay_id": replay.id, "limit": limit, "actor": actor})
    return Claimed([each for each in found if each is not None], found.count(None))


async def claimed_before(database: Database, replay: Replay, *, limit: int) -> Claimed:
    """Give letters that a run that died had claimed, and perhaps published."""
    async with database.reading() as connection:
        found = await _letters(connection, CLAIMED, {"replay_id": replay.id, "limit": limit})
    return Claimed([each for each in found if each is not None], 0)


async def _letters(connection: AsyncConnection, statement: Any, values: Any) -> list[tuple[Letter, datetime] | None]:
    width = len(fields(Letter))
    return [
        (Letter(*row[2 : 2 + width]), row[2 + width]) if row[1] else None
        for row in await connection.execute(statement, values)
    ]


async def mark_sent(database: Database, replay: Replay, letters: Sequence[Letter]) -> None:
    """Remember that the broker has confirmed these."""
    async with database.begin() as tx:
        await tx.execute(SENT, {"replay_id": replay.id, "ids": [letter.id for letter in letters]})


async def settle(database: Database, replay: Replay) -> tuple[int, int]:
    """Note what has come to an end since the last look: how many went through, how many failed again."""
    async with database.begin() as tx:
        states = list((await tx.execute(SETTLE, {"replay_id": replay.id})).scalars())
    return states.count("through"), states.count("failed")


async def end(database: Database, replay: Replay, state: str) -> None:
    async with database.begin() as tx:
        await tx.execute(END, {"replay_id": replay.id, "state": state})
