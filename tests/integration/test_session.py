"""The database's transactions: one for `text()` and `Statement` alike, and connections that were lost."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest
from asyncpg import PostgresError, UniqueViolationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.session import Database, open_database
from shared.db.statement import Statement, driver_of
from shared.messaging import failures
from shared.outage import DependencyGoneError

pytestmark = pytest.mark.asyncio

ADD = Statement("INSERT INTO sources (name) SELECT unnest(CAST(:names AS text[])) RETURNING id, name")
ADD_BY_TEXT = text("INSERT INTO sources (name) VALUES (:name)")
NAMES = Statement("SELECT name FROM sources ORDER BY name")
BACKEND = Statement("SELECT pg_backend_pid() AS pid")
END = Statement("SELECT pg_terminate_backend(:pid)")
TEXTS = Statement("SELECT CAST(:first AS text[]) AS first, CAST(:second AS text[]) AS second")
SLEEP = Statement("SELECT pg_sleep(:seconds)")


async def names(database: Database) -> list[str]:
    async with database.reading() as connection:
        return [name for (name,) in await NAMES.run(connection)]


async def test_both_ways_are_one_transaction(database: Database) -> None:
    async with database.begin() as tx:
        await tx.execute(ADD_BY_TEXT, {"name": "A"})
        ((_, added),) = await ADD.run(tx, {"names": ["B"]})
        assert added == "B"
        assert await names(database) == []
    assert await names(database) == ["A", "B"]


async def test_what_fails_leaves_nothing_of_either(database: Database) -> None:
    async def fail() -> None:
        async with database.begin() as tx:
            await ADD.run(tx, {"names": ["A"]})
            await tx.execute(ADD_BY_TEXT, {"name": "B"})
            await ADD.run(tx, {"names": ["A"]})

    with pytest.raises(UniqueViolationError) as failed:
        await fail()
    assert failures.classify(failed.value) == failures.Other("UniqueViolationError:23505:test_session.fail")
    assert await names(database) == []


async def test_a_savepoint_is_the_transactions(database: Database) -> None:
    async with database.begin() as tx:
        await ADD.run(tx, {"names": ["A"]})
        async with tx.begin_nested() as attempt:
            await ADD.run(tx, {"names": ["B"]})
            await attempt.rollback()
        await ADD.run(tx, {"names": ["C"]})
    assert await names(database) == ["A", "C"]


async def _end(database: Database, pid: int) -> None:
    async with database.reading() as other:
        await END.run(other, {"pid": pid})


async def _pid(connection: AsyncConnection) -> int:
    return int((await BACKEND.run(connection))[0]["pid"])


@pytest.mark.parametrize("way", ["statement", "text"])
async def test_a_connection_that_is_lost_in_a_transaction_is_an_outage(database: Database, way: str) -> None:
    async def lose() -> None:
        async with database.begin() as tx:
            await ADD.run(tx, {"names": ["A"]})
            await _end(database, await _pid(tx))
            await (SLEEP.run(tx, {"seconds": 5}) if way == "statement" else tx.execute(text("SELECT pg_sleep(5)")))

    with pytest.raises((PostgresError, DBAPIError, DependencyGoneError)) as lost:
        await lose()
    assert failures.classify(lost.value) == failures.Outage("database", failures.fingerprint_of(lost.value))
    assert await names(database) == []


async def test_a_connection_that_the_driver_finds_closed_is_an_outage(database: Database) -> None:
    async def close() -> None:
        async with database.begin() as tx:
            driver_of(tx).terminate()
            await NAMES.run(tx)

    with pytest.raises(DependencyGoneError):
        await close()


async def test_one_that_was_lost_in_the_pool_is_not_given_out(database_url: str) -> None:
    async with open_database(database_url, pool_size=1) as database, open_database(database_url) as another:
        async with database.reading() as connection:
            pid, driver = await _pid(connection), driver_of(connection)
        await _end(another, pid)
        async with asyncio.timeout(10):
            while not driver.is_closed():  # noqa: ASYNC110  # the driver tells nobody
                await asyncio.sleep(0.01)
        async with database.begin() as tx:
            assert await _pid(tx) != pid


async def test_a_transaction_that_outlives_its_deadline_is_cut_off(database: Database) -> None:
    async def outlive() -> None:
        async with database.begin(deadline_s=0.2) as tx:
            await ADD.run(tx, {"names": ["A"]})
            await SLEEP.run(tx, {"seconds": 5})

    with pytest.raises(PostgresError) as cut:
        await outlive()
    assert isinstance(failures.classify(cut.value), failures.Outage)
    assert await names(database) == []


A_TEXT = (None, "", "a", "\x1f", "\x1a", "{b,\x1f}", 'é"\n\\')


async def test_the_server_has_the_texts_that_were_given(database: Database) -> None:
    """Also texts that hold what stands between texts that travel as one, or for none."""
    async with database.reading() as connection:
        for texts in (list(some) for size in range(4) for some in product(A_TEXT, repeat=size)):
            ((*had,),) = await TEXTS.run(connection, {"first": texts, "second": ["b"]})
            assert had == [texts, ["b"]]
        ((*had,),) = await TEXTS.run(connection, {"first": None, "second": ["b"]})
        assert had == [None, ["b"]]
