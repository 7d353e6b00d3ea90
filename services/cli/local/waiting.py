"""Waiting for what another process does: always for a condition, always with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.cli.local.failures import LocalError

POLL_EVERY_S = 0.02


def holds_within(check: Callable[[], bool], *, within_s: float) -> bool:
    """True as soon as `check` is; False when it still is not after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not check():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_EVERY_S)
    return True


def wait_until(check: Callable[[], bool], *, within_s: float, otherwise: str) -> None:
    """Return as soon as `check` holds; raise LocalError(`otherwise`) after `within_s` seconds."""
    if not holds_within(check, within_s=within_s):
        raise LocalError(otherwise)
