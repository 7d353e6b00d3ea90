"""Waiting for what becomes true, with a deadline instead of a sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
_EVERY_S = 0.04


@overload
async def eventually(check: Callable[[], Awaitable[T | None]], within: float = 5) -> T: ...
@overload
async def eventually(check: Callable[[], T | None], within: float = 5) -> T: ...
async def eventually(check: Callable[[], Any], within: float = 5) -> Any:
    """The first truthy value that `check` gives; asked at once, then every 40 ms, and once more at the deadline.

    A check that raises AssertionError has not come true yet. After `within` s: AssertionError with the last value.
    """
    deadline = time.monotonic() + within
    while True:
        is_last = time.monotonic() >= deadline
        try:
            found = check()
            value = await found if inspect.isawaitable(found) else found
        except AssertionError:
            if is_last:
                raise
        else:
            if value:
                return value
            if is_last:
                name = getattr(check, "__name__", "the check")
                raise AssertionError(f"not within {within} s: {name} gave {value!r} last")
        await asyncio.sleep(_EVERY_S)
