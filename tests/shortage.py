"""A broker that is short of disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.cli.local.nodes import Broker

NEVER_FREE = "1000000000000000"
USUAL = "200MB"


@asynccontextmanager
async def no_disk_left(node: Broker) -> AsyncIterator[None]:
    """The broker's disk alarm: it reads nothing more from who publishes."""
    await asyncio.to_thread(node.ctl, "set_disk_free_limit", NEVER_FREE)
    try:
        yield
    finally:
        await asyncio.to_thread(node.ctl, "set_disk_free_limit", USUAL)
