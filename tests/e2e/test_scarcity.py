"""What the services depend on is there and gives nothing: full, out of connections, silent. They wait, and say so.

The long forms, 60 s each: LEADLINE_LONG=1.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import pytest

from tests.conftest import sql
from tests.e2e.test_outages import LONG, all_are_ready, says_why, told_of_outages
from tests.feeding import a_lead, assert_each_exactly_once, everything_is_through, leads
from tests.proxy import open_proxy
from tests.shortage import no_disk_left
from tests.stack import ALL, Stack
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(400)
LASTS_S = 60.0 if LONG else 3.0
SILENT_S = 60.0 if LONG else 14.0
COUNT = 60


async def all_through_unharmed(stack: Stack, count: int) -> None:
    await eventually(lambda: everything_is_through(stack, count), within=150)
    assert await stack.heard("ladder") == []
    assert await stack.count("dead_letters") == 0
    await assert_each_exactly_once(stack, count, killed_notifiers=1)


async def test_a_broker_without_disk(stack: Stack) -> None:
    """Consumers go on acknowledging, which frees it; events wait in the outbox, and no row's turn is put off."""
    await stack.listen("ladder", ("leads.retry", "#"), ("leads.dead", "#"))
    await stack.publish("lead.created", *leads(COUNT))
    async with no_disk_left(stack.nodes.broker):
        await stack.start(*ALL)
        ingest = stack.one("ingest")
        await eventually(lambda: is_empty(stack, "ingest"), within=60)
        await eventually(partial(says_why, stack, "ingest", "short of disk or memory"), within=60)
        await asyncio.sleep(LASTS_S)
        assert await stack.probe(ingest, "healthz") == (200, "alive\n")
        assert await stack.count("leads") == COUNT
        assert await stack.count("outbox WHERE attempts > 1") == 0
        assert told_of_outages(stack, "ingest") <= 2
    await all_through_unharmed(stack, COUNT)
    await eventually(partial(all_are_ready, stack, [stack.one(name) for name in ALL]), within=60)


async def is_empty(stack: Stack, queue: str) -> bool:
    return await stack.ready(queue) == {}


@asynccontextmanager
async def a_role(stack: Stack) -> AsyncIterator[str]:
    """A user of the database whose number of connections can be limited: a superuser's cannot."""
    role = f"limited_{os.getpid()}"

    async def superuser(statement: str) -> None:
        await asyncio.to_thread(sql, stack.database_url, statement)

    await superuser(f"CREATE ROLE {role} LOGIN PASSWORD 'limited'")
    await superuser(f"GRANT pg_read_all_data, pg_write_all_data TO {role}")
    await superuser(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
    try:
        yield role
    finally:
        stack.end()
        await superuser(f"DROP OWNED BY {role}")
        await superuser(f"DROP ROLE {role}")


async def test_a_database_without_connections(stack: Stack) -> None:
    """SQLSTATE 53300 is an outage: no attempt is spent, and they come back by themselves."""
    await stack.listen("ladder", ("leads.retry", "#"), ("leads.dead", "#"))
    async with a_role(stack) as role:
        parts = urlsplit(stack.database_url)
        address = f"{role}:limited@{parts.hostname}:{parts.port}"
        stack.extra["LEADLINE_DATABASE_URL"] = parts._replace(netloc=address).geturl()
        await stack.start(*ALL)
        await stack.publish("lead.created", *leads(COUNT // 2))
        await eventually(lambda: stack.count("leads"), within=60)
        await stack.rows(f"ALTER ROLE {role} CONNECTION LIMIT 0")
        await stack.rows(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
        await stack.publish("lead.created", *(a_lead(number) for number in range(COUNT // 2, COUNT)))
        await eventually(partial(says_why, stack, "ingest", "database"), within=60)
        assert await stack.probe(stack.one("ingest"), "healthz") == (200, "alive\n")
        await asyncio.sleep(LASTS_S)
        await stack.rows(f"ALTER ROLE {role} CONNECTION LIMIT -1")
        await all_through_unharmed(stack, COUNT)


@pytest.mark.parametrize("what", ["database", "broker"])
async def test_silence(stack: Stack, what: str) -> None:
    """Connections stay open and nothing passes: it is noticed, told, and gone on from."""
    await stack.listen("ladder", ("leads.retry", "#"), ("leads.dead", "#"))
    url = stack.database_url if what == "database" else stack.amqp_url
    async with open_proxy(url) as proxy:
        stack.extra[f"LEADLINE_{'DATABASE' if what == 'database' else 'AMQP'}_URL"] = proxy.url
        await stack.start(*ALL)
        await stack.publish("lead.created", *leads(COUNT // 2))
        await eventually(lambda: stack.count("leads"), within=60)
        proxy.stall()
        await stack.publish("lead.created", *(a_lead(number) for number in range(COUNT // 2, COUNT)))
        if what == "database":
            await eventually(partial(says_why, stack, "ingest", "database"), within=60)
        assert await stack.probe(stack.one("ingest"), "healthz") == (200, "alive\n")
        await asyncio.sleep(SILENT_S)
        proxy.flow()
        await all_through_unharmed(stack, COUNT)
        stack.end()
