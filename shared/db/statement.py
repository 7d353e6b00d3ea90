"""Statements on the path that every lead takes: given to the driver as they are, beside SQLAlchemy's pool.

What `text()` costs between the values and the rows is as much as the call itself (0025); everything else goes by it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from typing import Any

from asyncpg import Connection, Record
from sqlalchemy.ext.asyncio import AsyncConnection

#: A parameter as `text()` writes it; a cast by two colons is none.
_PARAMETER = re.compile(r"(?<![:\w]):([a-z]\w*)")
NOTHING: Mapping[str, Any] = {}


class Statement:
    """SQL with `:name` for each value, as `text()` takes it."""

    def __init__(self, sql: str) -> None:
        self.text = sql
        self._names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        self._sql = _PARAMETER.sub(lambda found: f"${self._names.index(found[1]) + 1}", sql)

    def run(self, connection: AsyncConnection, values: Mapping[str, Any] = NOTHING) -> Awaitable[list[Record]]:
        """Give all its rows. KeyError for a value that is not given; further ones are left alone.

        No coroutine of its own: an error's innermost place is the caller's.

        Raises:
            asyncpg.PostgresError: what the server says.
            asyncpg.InterfaceError: the connection is closed, or a value is none of its parameter's type.
        """
        rows: Awaitable[list[Record]] = driver_of(connection).fetch(self._sql, *[values[name] for name in self._names])
        return rows


def driver_of(connection: AsyncConnection) -> Connection[Record]:
    """Give the driver's side of a connection that is open."""
    pooled = connection.sync_connection
    assert pooled is not None
    driver: Connection[Record] | None = pooled.connection.driver_connection
    assert driver is not None
    return driver
