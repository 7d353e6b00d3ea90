"""The database: a pool whose transactions end, one way or the other, in bounded time.

Nothing of ours is ever cancelled in the middle of a statement: a cancelled driver call leaks its connection. A
transaction that outlives its deadline has its socket cut instead; the driver then raises as for any lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.db.statement import Statement, driver_of
from shared.outage import DependencyGoneError

CONNECT_TIMEOUT_S = 5
DEADLINE_S = 12
#: The server's own limits, all below the deadline, so that it usually speaks first and says what it was.
SERVER_SETTINGS = {
    "lock_timeout": "4s",
    "tcp_user_timeout": "10s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "jit": "off",
}
#: For services whose statements all go by keys: planning them anew for each batch costs more than it finds. A plan that
#: is kept must not have been made for tables that were empty then: it would read all leads, batch by batch, until
#: autovacuum came.
PLANS_ARE_KEPT = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
PROBE = Statement("SELECT 1")


class Database:
    """Transactions and reads over one pool."""

    def __init__(self, engine: AsyncEngine, deadline_s: float = DEADLINE_S) -> None:
        self._engine = engine
        self._deadline_s = deadline_s

    @asynccontextmanager
    async def begin(self, *, deadline_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Open one READ COMMITTED transaction, committed when the block ends well, else rolled back.

        The connection's own `rollback` takes nothing back, as SQLAlchemy knows of no transaction: `begin_nested` does.

        Raises:
            DependencyGoneError: no connection could be had, or the driver found it closed.
            sqlalchemy.exc.DBAPIError, asyncpg.PostgresError: of any statement, or after `deadline_s` as a lost
                connection. An error on the way out leaves open whether the commit took place: run the block again, it
                must be idempotent.
        """
        async with _bounded(self._engine, deadline_s or self._deadline_s) as connection, _transaction(connection):
            yield connection

    @asynccontextmanager
    async def reading(self, *, deadline_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Open a connection in autocommit: no transaction is open between its statements. Raises as `begin` does."""
        async with _bounded(self._engine, deadline_s or self._deadline_s) as connection:
            yield connection

    async def probe(self) -> None:
        """Return if the database answers; raise what keeps it from answering."""
        async with self.reading(deadline_s=CONNECT_TIMEOUT_S) as connection:
            await PROBE.run(connection)


@asynccontextmanager
async def open_database(
    url: str,
    *,
    application_name: str = "leadline",
    pool_size: int = 4,
    deadline_s: float = DEADLINE_S,
    server_settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Database]:
    """Give a pool on `url` (postgresql+asyncpg://…). Connects on first use. `server_settings` come on top of ours.

    A longer deadline is for what is larger than any batch of messages; nobody waits longer for a lock.
    """
    engine = create_async_engine(
        url,
        isolation_level="AUTOCOMMIT",  # transactions are begun by `begin`, on the driver
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=DEADLINE_S,
        pool_use_lifo=True,  # the one that has just been used: its server process has everything at hand
        hide_parameters=True,  # an error's text may be shown: no rows in it
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "server_settings": {
                **SERVER_SETTINGS,
                "statement_timeout": f"{deadline_s * 2 / 3:.0f}s",
                "idle_in_transaction_session_timeout": f"{deadline_s * 5 / 6:.0f}s",
                **(server_settings or {}),
                "application_name": application_name,
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    try:
        yield Database(engine, deadline_s)
    finally:
        await engine.dispose()


def _refuse_closed(connection: Any, *_: object) -> None:
    """Have the pool give another in the place of one that was lost while it lay there, or that a deadline has cut."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


@asynccontextmanager
async def _transaction(connection: AsyncConnection) -> AsyncIterator[None]:
    """Hold a transaction on the driver, for `Statement` too: SQLAlchemy would begin one with its first `text()`."""
    driver = driver_of(connection)
    transaction = driver.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        if not driver.is_closed():
            await transaction.rollback()
        raise
    await transaction.commit()


@asynccontextmanager
async def _bounded(engine: AsyncEngine, deadline_s: float) -> AsyncIterator[AsyncConnection]:
    connection = engine.connect()
    try:
        await connection.start()
    except (
        OSError,
        PoolTimeoutError,
        DBAPIError,
    ) as error:  # nothing of ours was said yet: whatever it is, it is theirs
        raise DependencyGoneError("database", str(error) or type(error).__name__) from error
    driver = driver_of(connection)
    deadline = asyncio.get_running_loop().call_later(deadline_s, driver.terminate)
    try:
        yield connection
    except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:  # they have no SQLSTATE that would say so
        if isinstance(error, asyncpg.InternalClientError):
            driver.terminate()  # the server has said good-bye while nobody asked it anything
        if driver.is_closed():
            raise DependencyGoneError("database", str(error)) from error
        raise
    finally:
        try:
            await connection.close()  # may still have to speak to the server: within the deadline, too
        finally:
            deadline.cancel()
