"""What is wrong with the database and the rows in it."""

from __future__ import annotations

from datetime import UTC, datetime

from asyncpg import PostgresError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

import migrations
from services.cli.doctor.findings import Finding, problem
from shared.db.session import Database
from shared.messaging import outbox
from shared.outage import DependencyGoneError

WHERE = "PostgreSQL, LEADLINE_DATABASE_URL"
REVISION = text("SELECT version_num FROM alembic_version")
CLOCK = text("SELECT clock_timestamp()")
OLD_LETTERS = text("""
    SELECT count(*) AS letters, min(first_failed_at) AS oldest FROM dead_letters
    WHERE status = 'new' AND first_failed_at < now() - interval '1 day'
""")
STUCK_AFTER_S = 60.0
CLOCKS_APART_S = 2.0


async def examine_database(database: Database) -> list[Finding]:
    """Look at the schema, the clock, the outbox and the dead letters."""
    try:
        async with database.reading() as connection:
            revision = (await connection.execute(REVISION)).scalar()
            before = datetime.now(UTC)
            theirs: datetime = (await connection.execute(CLOCK)).scalar_one()
            after = datetime.now(UTC)
            if (newest := migrations.newest()) != revision:
                what = f"the schema is at {revision}, this version needs {newest}"
                return [problem(what, WHERE, "leadline setup")]
            rows, oldest_s = await outbox.left(connection)
            letters = (await connection.execute(OLD_LETTERS)).one()
    except DependencyGoneError as error:
        return [problem(f"it does not answer: {str(error).splitlines()[0]}", WHERE, "start it, or mend the address")]
    except (SQLAlchemyError, PostgresError) as error:
        what = f"it refused: {str(error.__cause__ or error).splitlines()[0]}"
        return [problem(what, WHERE, "leadline setup")]
    return [
        *clocks_apart(theirs, before, after),
        *_outbox(rows, oldest_s),
        *_letters(int(letters.letters), letters.oldest),
    ]


def clocks_apart(theirs: datetime, before: datetime, after: datetime) -> list[Finding]:
    """Say by how much the database's clock differs from this machine's, if it matters."""
    ahead_s = max((theirs - after).total_seconds(), 0) - max((before - theirs).total_seconds(), 0)
    if abs(ahead_s) < CLOCKS_APART_S:
        return []
    what = f"its clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    return [problem(what, WHERE, "synchronise both by NTP: days and shifts are told by the database's")]


def _outbox(rows: int, oldest_s: float) -> list[Finding]:
    if oldest_s < STUCK_AFTER_S:
        return []
    count = f"{rows:,}{' or more' if rows >= 10_000 else ''}"
    what = f"{count} rows are not confirmed, the oldest for {oldest_s:.0f} s"
    return [problem(what, "table outbox", "any running service sends them; see its log for publishing.fails")]


def _letters(letters: int, oldest: datetime | None) -> list[Finding]:
    if not letters or oldest is None:
        return []
    what = f"{letters:,} dead letters have waited for more than a day, the oldest since {oldest:%Y-%m-%d}"
    return [problem(what, "table dead_letters", "leadline deadletters groups, then replay or discard")]
