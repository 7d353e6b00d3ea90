"""Real processes, a whole stack of them for each test.

`LEADLINE_E2E_LEADS` (400) says how many leads the heaviest test feeds at least, `LEADLINE_E2E_OUTAGE_S` (6) how long
the database is away.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.cli import config
from services.cli.local.nodes import ROOT, Nodes
from tests.conftest import OURS, apart, migrated, named, sql
from tests.stack import Stack


@pytest.fixture(scope="session")
def template(nodes: Nodes) -> Iterator[str]:
    """A database that is migrated and has what `./run up` begins with: ten agents on one route."""
    with migrated(nodes, f"{OURS}_e2e_template") as name:
        url = named(nodes.database_url, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LEADLINE_DATABASE_URL", url)
            apart(lambda: config.apply(ROOT / "examples/start.yaml", False))
        sql(url, "DELETE FROM outbox")
        yield name


@pytest.fixture
async def stack(nodes: Nodes, database_url: str, amqp_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    """A mailbox and a supervisor; the test starts the services that it wants. All are gone afterwards."""
    stack = Stack(tmp_path, nodes, database_url, amqp_url)
    await stack.lay_out()
    try:
        yield stack
    finally:
        stack.end()
        await stack.disconnect()


@pytest.fixture(scope="session")
def many() -> int:
    """How many leads the heaviest test feeds at least."""
    return int(os.environ.get("LEADLINE_E2E_LEADS", "400"))


@pytest.fixture(scope="session")
def some(many: int) -> int:
    """How many leads the other tests under load feed."""
    return many // 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show the end of the processes' logs with a test that failed."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.when == "call" and report.failed and isinstance(stack, Stack):
        report.sections += [(f"log {name} (all: {stack.logs})", tail) for name, tail in stack.log_tails()]
    return report
