"""Statements on the path that every lead takes: given to the driver as they are, beside SQLAlchemy's pool.

What `text()` costs between the values and the rows is as much as the call itself (0025); everything else goes by it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from asyncpg import Connection, Record
from sqlalchemy.ext.asyncio import AsyncConnection

#: A parameter as `text()` writes it; a cast by two colons is none.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z]\w*)")
_TEXTS = re.compile(r"CAST\(:([a-z]\w*) AS text\[\]\)")
#: What stands between texts that travel as one, and for none.
BETWEEN, NO_TEXT = "\x1f", "\x1a"
_SPLIT = rf"string_to_array(:\1, chr({ord(BETWEEN)}), chr({ord(NO_TEXT)}))"
NOTHING: Mapping[str, Any] = {}


class Statement:
    """SQL with `:name` for each value, as `text()` takes it.

    What it has as `CAST(:name AS text[])` travels as one text, which the server splits: the driver looks at each
    element of an array, and that costs more than the element. Texts that hold what splits them travel as an array.
    """

    def __init__(self, sql: str) -> None:
        self.text = sql
        self._names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        self._texts = frozenset(_TEXTS.findall(sql))
        self._sql = self._numbered(sql)
        self._sql_of_one = self._numbered(_TEXTS.sub(_SPLIT, sql))

    def _numbered(self, sql: str) -> str:
        return _PARAMETER.sub(lambda found: f"${self._names.index(found[1]) + 1}", sql)

    def run(self, connection: AsyncConnection, values: Mapping[str, Any] = NOTHING) -> Awaitable[list[Record]]:
        """Give all its rows. KeyError for a value that is not given; further ones are left alone.

        No coroutine of its own: an error's innermost place is the caller's.

        Raises:
            asyncpg.PostgresError: what the server says.
            asyncpg.InterfaceError: the connection is closed, or a value is none of its parameter's type.
            TypeError: what is given for texts is no list of texts and None.
        """
        arguments = [values[name] for name in self._names]
        sql = self._sql
        if self._texts and (as_one := self._as_one(arguments)) is not None:
            sql, arguments = self._sql_of_one, as_one
        rows: Awaitable[list[Record]] = driver_of(connection).fetch(sql, *arguments)
        return rows

    def _as_one(self, arguments: Sequence[Any]) -> list[Any] | None:
        """Give the arguments with each array of texts as one text; None if one of these would be split otherwise."""
        found: list[Any] = []
        for name, argument in zip(self._names, arguments, strict=True):
            if name not in self._texts or argument is None:
                found.append(argument)
            elif (one := joined(argument)) is not None:
                found.append(one)
            else:
                return None
        return found


def joined(texts: Sequence[str | None]) -> str | None:
    """Give texts as one that `string_to_array` splits into just these; None if there is no such text."""
    one = BETWEEN.join([NO_TEXT if text is None else text for text in texts])
    is_split_right = one.count(BETWEEN) == max(len(texts) - 1, 0) and (one != "" or not texts)
    return one if is_split_right and one.count(NO_TEXT) == texts.count(None) else None


def driver_of(connection: AsyncConnection) -> Connection[Record]:
    """Give the driver's side of a connection that is open."""
    pooled = connection.sync_connection
    assert pooled is not None
    driver: Connection[Record] | None = pooled.connection.driver_connection
    assert driver is not None
    return driver
