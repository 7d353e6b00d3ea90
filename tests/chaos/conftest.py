"""Chaos has nodes of its own, as the tests of real processes have."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from services.cli.local.nodes import TEST_STATE, Nodes, running_nodes
from tests.conftest import OURS, WORKER, migrated
from tests.e2e.conftest import pytest_runtest_makereport, stack, vhosts
from tests.replica import remove_orphans

__all__ = ["pytest_runtest_makereport", "stack", "vhosts"]


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    remove_orphans()
    with running_nodes(TEST_STATE / f"chaos-{WORKER}") as nodes:
        yield nodes


@pytest.fixture(scope="session")
def template(nodes: Nodes) -> Iterator[str]:
    """A database that is migrated, with nobody and nothing configured."""
    with migrated(nodes, f"{OURS}_chaos_template") as name:
        yield name


@pytest.fixture(scope="session")
def chaos_leads() -> int:
    """How many leads the short run has."""
    return int(os.environ.get("LEADLINE_CHAOS_LEADS", "600"))
