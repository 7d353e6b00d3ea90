"""What there is: groups, dead letters page by page, one of them whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from services.cli.deadletters.selection import WHERE, Selection
from services.cli.failures import CommandError
from shared.db.session import Database

STATUSES = ("new", "replaying", "resolved", "discarded")

#: Counted in the index alone; the newest of each group says what it is about.
GROUPS = text("""
    WITH counted AS (
        SELECT group_id, count(*) AS messages, min(first_failed_at) AS first, max(failed_at) AS last, max(id) AS newest
        FROM dead_letters WHERE status = :status GROUP BY group_id
    )
    SELECT counted.group_id, counted.messages, dead_letters.queue, dead_letters.event_type, dead_letters.reason,
           counted.first, counted.last
    FROM counted JOIN dead_letters ON dead_letters.id = counted.newest
    WHERE (CAST(:service AS text) IS NULL OR dead_letters.service = :service OR dead_letters.queue = :service)
    ORDER BY counted.messages DESC, counted.group_id
""")
LIST = text(f"""
    SELECT id, status, group_id, queue, event_type, lead_id, attempts, replays, failed_at, reason FROM dead_letters
    WHERE (CAST(:status AS text) IS NULL OR status = :status) AND id > :after AND {WHERE}
    ORDER BY id LIMIT :limit
""")  # noqa: S608  # the WHERE above
SHOW = text("""
    SELECT id, status, group_id, group_key, service, queue, event_type, content_type, lead_id, reason, error_type,
           attempts, replays, replay_id, first_failed_at, failed_at, stored_at, settled_at, headers, traceback, body,
           original_body
    FROM dead_letters WHERE id = :id
""")
ACTIONS = text("""
    SELECT at, actor, action, reason, before, after FROM dead_letter_actions WHERE dead_letter_id = :id ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters with one cause. `reason` is the newest one's."""

    group: str
    messages: int
    queue: str
    event_type: str | None
    reason: str
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Groups:
    """The largest first."""

    groups: Sequence[Group]


@dataclass(frozen=True, slots=True)
class Page:
    """Dead letters in the order in which they came; `more_after` goes to `--after`."""

    dead_letters: Sequence[Mapping[str, Any]]
    more_after: int | None


@dataclass(frozen=True, slots=True)
class Whole:
    """One dead letter with all that is known of it. Bodies are text; bytes that are none are shown as `\\xff`."""

    dead_letter: Mapping[str, Any]
    headers: Mapping[str, str]
    body: str
    original_body: str | None
    actions: Sequence[Mapping[str, Any]]


async def read_groups(database: Database, *, status: str = "new", service: str | None = None) -> Groups:
    async with database.reading() as connection:
        rows = await connection.execute(GROUPS, {"status": status, "service": service})
        return Groups([Group(*row) for row in rows])


async def read_page(database: Database, selection: Selection, *, status: str | None, after: int, limit: int) -> Page:
    values = {**selection.values, "status": status, "after": after, "limit": limit + 1}
    async with database.reading() as connection:
        rows = [dict(row) for row in (await connection.execute(LIST, values)).mappings()]
    return Page(rows[:limit], rows[limit - 1]["id"] if len(rows) > limit else None)


async def read_whole(database: Database, row_id: int) -> Whole:
    """Give one dead letter. CommandError if there is none of that id."""
    async with database.reading() as connection:
        row = (await connection.execute(SHOW, {"id": row_id})).mappings().one_or_none()
        if row is None:
            raise no_such(row_id)
        actions = [dict(action) for action in (await connection.execute(ACTIONS, {"id": row_id})).mappings()]
    letter = {name: value for name, value in row.items() if name not in {"headers", "body", "original_body"}}
    original = as_text(row["original_body"]) if row["original_body"] is not None else None
    return Whole(letter, row["headers"], as_text(row["body"]), original, actions)


def as_text(body: bytes) -> str:
    """Give a body as text that a terminal and jsonb take."""
    return bytes(body).decode(errors="backslashreplace").replace("\x00", "\\x00")


def no_such(row_id: int) -> CommandError:
    return CommandError(f"there is no dead letter {row_id}; `leadline deadletters list` shows them")
