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


OF_TEXTS = "SELECT CAST(:ids AS bigint[]), CAST(:names AS text[])"
ARRAYS = "SELECT CAST($1 AS bigint[]), CAST($2 AS text[])"
AS_ONE = "SELECT CAST($1 AS bigint[]), string_to_array($2, chr(31), chr(26))"


@pytest.mark.parametrize(
    ("names", "one"),
    [
        (["a", "b"], "a\x1fb"),
        (["a", None, ""], "a\x1f\x1a\x1f"),
        ([None], "\x1a"),
        ([], ""),
        (None, None),
    ],
)
def test_texts_travel_as_one(names: list[str | None] | None, one: str | None) -> None:
    assert asked(OF_TEXTS, {"ids": [1], "names": names}) == (AS_ONE, [1], one)


@pytest.mark.parametrize("names", [[""], ["a\x1fb"], ["\x1a"], ["a\x1f", None]])
def test_texts_that_would_be_split_otherwise_travel_as_an_array(names: list[str | None]) -> None:
    assert asked(OF_TEXTS, {"ids": [1], "names": names}) == (ARRAYS, [1], names)
