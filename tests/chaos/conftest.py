"""Chaos has nodes of its own, as the tests of real processes have."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.cli.local.nodes import TEST_STATE, Nodes, running_nodes
from tests.conftest import OURS, WORKER, migrated
from tests.e2e.conftest import pytest_runtest_makereport, vhosts
from tests.replica import remove_orphans
from tests.stack import Stack

__all__ = ["pytest_runtest_makereport", "vhosts"]


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    remove_orphans()
    with running_nodes(TEST_STATE / f"chaos-{WORKER}") as nodes:
        yield nodes


@pytest.fixture(scope="session")
def template(nodes: Nodes) -> Iterator[str]:
    with migrated(nodes, f"{OURS}_chaos_template") as name:
        yield name


@pytest.fixture
async def stack(nodes: Nodes, database_url: str, amqp_url: str, tmp_path: Path) -> AsyncIterator[Stack]:
    """A mailbox and a supervisor on a migrated database."""
    stack = Stack(tmp_path, nodes, database_url, amqp_url)
    await stack.lay_out()
    try:
        yield stack
    finally:
        stack.end()
        await stack.disconnect()


@pytest.fixture(scope="session")
def chaos_leads() -> int:
    """How many leads the short run has."""
    return int(os.environ.get("LEADLINE_CHAOS_LEADS", "600"))
