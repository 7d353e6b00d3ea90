"""Statements as the driver gets them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from shared.db.statement import Statement


class Driver:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: tuple[Any, ...] = ()

    async def fetch(self, *asked: Any) -> list[Any]:
        self.asked = asked
        return []


def asked(sql: str, values: dict[str, Any]) -> tuple[Any, ...]:
    driver = Driver()
    connection: Any = SimpleNamespace(
        sync_connection=SimpleNamespace(connection=SimpleNamespace(driver_connection=driver))
    )

    async def run() -> None:
        await Statement(sql).run(connection, values)

    asyncio.run(run())
    return driver.asked


def test_each_name_is_one_parameter() -> None:
    assert asked("SELECT :b, :a, :b", {"a": 1, "b": 2}) == ("SELECT $1, $2, $1", 2, 1)


def test_what_is_no_parameter_stays() -> None:
    sql = "SELECT now()::date, x[1:2], '10:30', interval '1 s' WHERE y = ANY(CAST(:ids AS bigint[]))"
    assert asked(sql, {"ids": [1]}) == (sql.replace(":ids", "$1"), [1])


def test_what_is_not_asked_for_is_left_alone() -> None:
    assert asked("SELECT 1", {"a": 1}) == ("SELECT 1",)


def test_a_value_that_is_missing_is_said_by_name() -> None:
    with pytest.raises(KeyError, match="lead_ids"):
        asked("SELECT :lead_ids", {})
