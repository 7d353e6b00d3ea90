"""Chaos works on a stack of real processes, on a database with nobody and nothing configured."""

from __future__ import annotations

import os

import pytest

from tests.e2e.conftest import pytest_runtest_makereport, stack

__all__ = ["pytest_runtest_makereport", "stack"]


@pytest.fixture(scope="session")
def chaos_leads() -> int:
    """How many leads the short run has."""
    return int(os.environ.get("LEADLINE_CHAOS_LEADS", "600"))
