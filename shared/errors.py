"""What may be told of an error: its types, its SQLSTATE, the names it is about and its places.

Never its text: a database's says rows, a driver's parameters, a parser's input, and any of them personal data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from traceback import FrameSummary, extract_tb
from typing import Any

#: What PostgreSQL says an error is about, as asyncpg names it.
SUBJECTS = {"table": "table_name", "column": "column_name", "constraint": "constraint_name"}
#: Of errors of this class (syntax, unknown names) PostgreSQL tells in the words of our own SQL, and of no row.
SQL_IS_WRONG = "42"
PLACES_MAX = 30


def chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what lies under it: what a wrapper wraps, else its cause; each once."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        original = getattr(following, "orig", None)
        following = original if isinstance(original, BaseException) else following.__cause__


def sqlstate_of(error: BaseException) -> str | None:
    """Give the SQLSTATE of an error or of what lies under it."""
    return next((str(state) for cause in chain(error) if (state := getattr(cause, "sqlstate", None))), None)


def in_short(error: BaseException) -> str:
    """Name an error in a few words: `IntegrityError from UniqueViolationError, SQLSTATE 23505`."""
    names = " from ".join(dict.fromkeys(type(cause).__name__ for cause in chain(error)))
    state = sqlstate_of(error)
    return f"{names}, SQLSTATE {state}" if state else names


def described(error: BaseException) -> dict[str, Any]:
    """Give what an operator needs to find the cause, for a log."""
    causes = list(chain(error))
    subjects = {
        name: value for name, attribute in SUBJECTS.items() for cause in causes if (value := _said(cause, attribute))
    }
    problem = _said(causes[-1], "message") if (sqlstate_of(error) or "").startswith(SQL_IS_WRONG) else None
    return {
        "error": in_short(error),
        **subjects,
        **({"problem": problem} if problem else {}),
        "where": list(dict.fromkeys(_place(frame) for cause in causes for frame in _frames(cause)))[-PLACES_MAX:],
    }


def _said(cause: BaseException, attribute: str) -> str | None:
    value = getattr(cause, attribute, None)
    return value if isinstance(value, str) else None


def _frames(error: BaseException) -> list[FrameSummary]:
    """Our own places, and the last one whosoever it is."""
    frames = list(extract_tb(error.__traceback__))
    return [frame for frame in frames[:-1] if is_ours(frame)] + frames[-1:]


def is_ours(frame: FrameSummary) -> bool:
    """Whether a place is in our own code: not in a library, nor in what one has compiled, which names its source."""
    return "site-packages" not in frame.filename and not frame.filename.endswith(".pyx")


def _place(frame: FrameSummary) -> str:
    return f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno} in {frame.name}"
