"""A real PostgreSQL and a real RabbitMQ, started with the first test that asks for them.

A test has a database of its own (`database_url`, a clone of one that was migrated once) and a virtual host of its own
(`amqp_url`), so it may leave behind what it likes. Each worker of pytest-xdist has servers of its own: what a test
does to them, no test beside it feels.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from hypothesis import settings

import migrations
from services.cli.local.nodes import Nodes, running_nodes, state_of_tests
from tests.replica import remove_orphans

# A machine that is busy with other tests is no failure of the one that runs.
settings.register_profile("leadline", deadline=None)
settings.load_profile("leadline")

T = TypeVar("T")
# What a session makes carries its process id, so that the next one can tell what a killed session has left behind.
PREFIX = "leadline_test"
OURS = f"{PREFIX}_{os.getpid()}"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
#: A server that is killed loses nothing by these, only a machine would.
QUICK = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB", "shared_buffers": "128MB"}


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """Both servers, shared by all tests of this worker. A test that stops or kills one starts it again."""
    remove_orphans()
    with running_nodes(state_of_tests() / WORKER, postgres_settings=QUICK) as nodes:
        yield nodes


@pytest.fixture(scope="session")
def template(nodes: Nodes) -> Iterator[str]:
    """The name of a migrated database, to be cloned only."""
    with migrated(nodes, f"{OURS}_template") as name:
        yield name


@contextmanager
def migrated(nodes: Nodes, name: str) -> Iterator[str]:
    """A migrated database of this name while the block lasts; what killed sessions have left goes first."""
    if nodes.postgres.is_ours:
        for left in sql(nodes.database_url, f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'"):
            if is_left_behind(left["datname"]):
                sql(nodes.database_url, f"DROP DATABASE IF EXISTS {left['datname']} WITH (FORCE)")
    sql(nodes.database_url, f"CREATE DATABASE {name}")
    apart(lambda: migrations.upgrade(named(nodes.database_url, name)))
    yield name
    sql(nodes.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def clone(nodes: Nodes, template: str, name: str) -> None:
    """Make a database like the template; file by file where that costs no waiting for a disk."""
    strategy = "STRATEGY FILE_COPY" if nodes.postgres.is_ours else ""
    sql(nodes.database_url, f"CREATE DATABASE {name} TEMPLATE {template} {strategy}")


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"{OURS}_{number}" for number in itertools.count(1))


@pytest.fixture
def database_url(nodes: Nodes, template: str, database_names: Iterator[str]) -> Iterator[str]:
    """A migrated database of the test's own, for SQLAlchemy; dropped afterwards, whoever is still connected."""
    name = next(database_names)
    clone(nodes, template, name)
    yield named(nodes.database_url, name)
    sql(nodes.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(nodes: Nodes, database_names: Iterator[str]) -> Iterator[str]:
    """A database without any table, for tests of the migrations themselves."""
    name = next(database_names)
    sql(nodes.database_url, f"CREATE DATABASE {name}")
    yield named(nodes.database_url, name)
    sql(nodes.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def vhosts(nodes: Nodes) -> VirtualHosts:
    return VirtualHosts(nodes)


@pytest.fixture
def amqp_url(nodes: Nodes, vhosts: VirtualHosts) -> str:
    """A virtual host of the test's own, nothing declared in it; on a broker that is not ours, the one that is named."""
    return named(nodes.amqp_url, vhosts.take()) if nodes.broker.is_ours else nodes.amqp_url


class VirtualHosts:
    """Virtual hosts made and removed some at a time.

    At the end of a session some are left: the next one removes what nobody who lives has made.
    """

    #: A broker that a test kills comes back the sooner the fewer are left in it.
    BATCHES = (5, 10)
    KIND = "any"

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._free: list[str] = []
        self._given: list[str] = []
        self._made = 0

    def take(self) -> str:
        """A new virtual host that the node's user may do everything in."""
        if not self._free:
            self._make(self.BATCHES[min(self._made, 1)])
        self._given.append(self._free.pop())
        return self._given[-1]

    def _make(self, count: int) -> None:
        names = [f"{OURS}_{self.KIND}_{self._made + number}" for number in range(count)]
        user = urlsplit(self._nodes.amqp_url).username
        self._evaluate(
            self._removal(self._done_with()),
            f"lists:foreach(fun(V) -> rabbit_vhost:add(V, {TESTS}), ok = rabbit_auth_backend_internal:set_permissions("
            f'<<"{user}">>, V, <<".*">>, <<".*">>, <<".*">>, {TESTS}) end, {erlang(names)})',
        )
        self._made += count
        self._free = names

    def _done_with(self) -> list[str]:
        """All that were given out before, since one test runs at a time."""
        given, self._given = self._given, []
        return given

    def remove_done(self) -> None:
        """Remove those that were given out before."""
        self._evaluate(self._removal(self._done_with()))

    @staticmethod
    def _removal(names: list[str]) -> str:
        """Erlang that removes these, and what sessions that are gone have left."""
        alive = [f"{PREFIX}_{pid}_" for pid in psutil.pids()]
        return (
            f"lists:foreach(fun(V) -> rabbit_vhost:delete(V, {TESTS}) end, {erlang(names)} ++"
            f' [V || V <- rabbit_vhost:list_names(), binary:match(V, <<"{PREFIX}_">>) =/= nomatch,'
            f" binary:match(V, {erlang(alive)}) =:= nomatch])"
        )

    def _evaluate(self, *expressions: str) -> None:
        """By rabbitmqctl, which is slow: the broker refuses queues for a moment after it has deleted others."""
        self._nodes.broker.ctl("eval", ", ".join(expressions) + ".")


TESTS = '<<"tests">>'


def erlang(names: list[str]) -> str:
    return "[" + ", ".join(f'<<"{name}">>' for name in names) + "]"


def is_left_behind(name: str) -> bool:
    """Whether the session that made it is gone."""
    return not psutil.pid_exists(int(name.removeprefix(f"{PREFIX}_").split("_")[0]))


def named(url: str, path: str) -> str:
    """The same server, another database or virtual host."""
    return urlsplit(url)._replace(path=f"/{path}").geturl()


def sql(url: str, statement: str) -> list[Any]:
    """The rows of one statement, run outside a transaction."""

    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            rows: list[Any] = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    return apart(lambda: asyncio.run(fetch()))


def apart(function: Callable[[], T]) -> T:
    """Run what has an event loop of its own in a thread of its own: pytest-asyncio's loop is left alone."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function).result()
