"""Chaos is on servers that may be killed, as the tests of real processes are."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from services.cli.local.nodes import Nodes
from tests.conftest import OURS, migrated
from tests.e2e.conftest import nodes, pytest_runtest_makereport, stack, vhosts

__all__ = ["nodes", "pytest_runtest_makereport", "stack", "vhosts"]


@pytest.fixture(scope="session")
def template(nodes: Nodes) -> Iterator[str]:
    """A database that is migrated, with nobody and nothing configured."""
    with migrated(nodes, f"{OURS}_chaos_template") as name:
        yield name


@pytest.fixture(scope="session")
def chaos_leads() -> int:
    """How many leads the short run has."""
    return int(os.environ.get("LEADLINE_CHAOS_LEADS", "600"))
