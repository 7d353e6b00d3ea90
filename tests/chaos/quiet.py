"""Waiting until nothing is on its way any more: no message anywhere, no event in the outbox, nobody at work."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable

from services.cli.local.failures import LocalError
from services.notifier.asking import ask_again
from shared.db.session import open_database
from shared.messaging.topology import queue_arguments
from shared.settings import Settings
from tests.chaos.faults import unacked_by_port
from tests.stack import Stack

LOOK_EVERY_S = 0.5
#: Each queue's messages, those included that a consumer holds.
MESSAGES = (
    "[{{binary_to_list(element(4, amqqueue:get_name(Q))),"
    " proplists:get_value(messages, rabbit_amqqueue:info(Q, [messages]), 0)}}"
    ' || Q <- rabbit_amqqueue:list(<<"{vhost}">>)]'
)
SAY_EVERY_S = 20.0

#: Nobody runs the service here, whose work is at endpoints of others.
UNATTENDED = frozenset({"webhooks"})


async def become_quiet(stack: Stack, within_s: float, say: Callable[[str], None]) -> dict[str, int]:
    """Return {} when nothing is on its way, or what still is after `within_s`.

    What waits for long is on the retry ladder: a `lead.closed` that came before its lead. Faults spend no attempts.
    """
    loop = asyncio.get_running_loop()
    deadline, said = loop.time() + within_s, loop.time()
    while (left := await what_moves(stack)) and loop.time() < deadline:
        if loop.time() > said + SAY_EVERY_S:
            said = loop.time()
            say(f"waiting for {left}")
        await asyncio.sleep(LOOK_EVERY_S)
    return left


async def what_moves(stack: Stack) -> dict[str, int]:
    """Count what is on its way, by where it is; the dear looks only where the cheap ones see nothing."""
    if moving := await _seen(stack):
        return moving
    unacked = sum((await unacked_by_port(stack) or {"unknown": 1}).values())
    if unacked:
        return {"unacknowledged": unacked}
    try:
        listed = await asyncio.to_thread(stack.nodes.broker.evaluate, MESSAGES.format(vhost=stack.vhost))
    except (LocalError, subprocess.TimeoutExpired):
        return {"unknown": 1}
    counts = {name: int(count) for name, count in re.findall(r'\{"([^"]+)", *(\d+)\}', listed)}
    kept = {name: count for name, count in counts.items() if name in queue_arguments() and name not in UNATTENDED}
    kept = {name: count for name, count in kept.items() if count}
    return kept or await _seen(stack)


async def mails_to_ask_for(stack: Stack) -> int:
    """How many mails the next sweep would ask for again."""
    async with (
        open_database(stack.database_url, pool_size=1) as database,
        database.begin() as tx,
        tx.begin_nested() as attempt,
    ):
        asked = await ask_again(tx, env=Settings.model_fields["env"].default, limit=1)
        await attempt.rollback()  # who asks must send the events, too
    return len(asked)


async def _seen(stack: Stack) -> dict[str, int]:
    moving = await stack.ready(*(queue for queue in queue_arguments() if queue not in UNATTENDED))
    if outbox := await stack.count("outbox"):
        moving["outbox"] = outbox
    return moving
