"""What most of these tests work with: a pool on the test's own database, and the services' handlers on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.documents.consumer import MakeSheets
from shared.db.session import Database, open_database
from shared.sheetstore import SheetStore
from tests.driving import Driver
from tests.histories import History


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, pool_size=12) as database:
        yield database


@pytest.fixture
def history(database: Database) -> History:
    return History(database)


@pytest.fixture
def store(tmp_path: Path) -> SheetStore:
    return SheetStore(tmp_path / "sheets")


@pytest.fixture
def documents(database: Database, store: SheetStore) -> Driver:
    return Driver(database, MakeSheets(store))
