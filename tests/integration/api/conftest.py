"""The API with ingest and assigner at work, or alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.api import Api, consuming, serving


@pytest.fixture
def settings(database_url: str, amqp_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url,
        amqp_url=amqp_url,
        sheets_dir=tmp_path / "sheets",
        sheet_workers=1,
        api_rate=10_000,
    )


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """The API, with topology declared and leads taken in and assigned."""
    async with consuming(settings, "ingest", "assigner"), serving(settings) as api:
        yield api


@pytest.fixture
async def alone(settings: Settings) -> AsyncIterator[Api]:
    """The API, with no queue and nobody who consumes."""
    async with serving(settings) as api:
        yield api
