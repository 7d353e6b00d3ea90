"""What is wrong with the broker and the queues in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from services.cli.doctor.findings import Finding, problem
from services.cli.doctor.management import NoManagementError, is_leaderless, refuses_when_full, undrained
from services.cli.doctor.tellers import Teller, first_told
from shared.messaging import broker, moving, topology

CONSUMED = (*(queue.name for queue in topology.WORK_QUEUES), topology.DEAD_QUEUE)
OURS = frozenset(topology.queue_arguments())
ANSWERS_WITHIN_S = 8.0
LOOK_AGAIN_AFTER_S = 6.0
SERVICE_OF = {"assigner.lots": "assigner", topology.DEAD_QUEUE: "deadletters"}
#: What AMQP does not tell.
UNSEEN = (
    "whether each quorum queue has a leader",
    "whether each queue of ours has its bindings, and no others",
    "whether outsiders' queues on `leads` make the broker refuse events",
    "whether expired messages leave the retry queues",
)


async def examine_broker(amqp_url: str, tellers: Sequence[Teller]) -> list[Finding]:
    """Look at all queues of ours by AMQP, and at the rest by whoever tells of it."""
    where = "RabbitMQ, LEADLINE_AMQP_URL"
    try:
        async with broker.connect(amqp_url, "leadline doctor") as connection:
            found = [problem(what, where, "see there") for what in await topology.problems(connection)]
            found += [
                problem(f"the move of the queue {queue!r} was interrupted", where, "leadline setup --migrate-queues")
                for queue in OURS
                if await moving.is_under_way(connection, queue)
            ]
            if not found:
                found = [finding for queue in CONSUMED for finding in await _consumed(connection, queue)]
    except (ValueError, *broker.BROKER_ERRORS) as error:
        return [problem(f"it does not answer: {error}", where, "start it, or mend the address")]
    try:
        return found + await first_told(tellers, _from_within)
    except NoManagementError as error:
        return [*found, Finding("not looked at", "; ".join(UNSEEN), f"RabbitMQ: {error}", ENABLE)]


async def _consumed(connection: Any, queue: str) -> list[Finding]:
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            state = await broker.queue_state(connection, queue)
    except TimeoutError:
        return [problem("the queue does not answer: it may have no leader", queue, ELECT)]
    if state.consumers:
        return []
    service = SERVICE_OF.get(queue, queue)
    return [problem(f"nobody consumes it, {state.ready} messages wait", queue, f"start `leadline service {service}`")]


ELECT = (
    "start the broker's other nodes; if it stays so, "
    "delete the queue, whose messages are lost, and run `leadline setup`"
)


ENABLE = (
    "on the broker `rabbitmq-plugins enable rabbitmq_management`, and `rabbitmqctl set_user_tags USER monitoring` for"
    " the user of LEADLINE_AMQP_URL; LEADLINE_RABBITMQ_API_URL if the API is elsewhere; or run the doctor on the"
    " broker's machine as root, where rabbitmqctl tells it too"
)


async def _from_within(teller: Teller) -> list[Finding]:
    queues = await teller.queues()
    bindings = await teller.bindings()
    stuck = undrained(queues)
    if stuck:
        await asyncio.sleep(LOOK_AGAIN_AFTER_S)  # what has just expired is on its way for a moment
        stuck &= undrained(await teller.queues())
    leaderless = [
        problem("the quorum queue has no leader: nothing goes in or out", queue["name"], ELECT)
        for queue in queues
        if is_leaderless(queue)
    ]
    undrained_here = [
        problem("expired messages do not leave it", name, "see the broker's log; the target may be missing or full")
        for name in sorted(stuck)
    ]
    return leaderless + undrained_here + wrong_bindings(queues, bindings)


def wrong_bindings(queues: Sequence[dict[str, Any]], bindings: Sequence[dict[str, Any]]) -> list[Finding]:
    """Name bindings of our queues that are missing or strange, and others' queues. Those on demand may be there."""
    by_name = {queue["name"]: queue for queue in queues}
    is_there = {(each["source"], each["routing_key"], each["destination"]) for each in bindings}
    wanted = {
        (each.exchange, each.key, queue) for queue in OURS & by_name.keys() for each in topology.bindings_of(queue)
    }
    on_demand = {(each.exchange, each.key, queue) for queue in OURS for each in topology.demanded(queue)}
    missing = [
        problem(f"it is not bound to {source} by {key}: such messages do not reach it", queue, "leadline setup")
        for source, key, queue in sorted(wanted - is_there - on_demand)
    ]
    strange = [
        problem(f"it is bound to {source} by {key}, which is not ours", queue, "unbind it")
        for source, key, queue in sorted(is_there - wanted)
        if queue in OURS and source
    ]
    outsiders = sorted({queue for source, _, queue in is_there if source == topology.EVENTS_EXCHANGE} - OURS)
    return missing + strange + [_outsider(name, by_name.get(name, {})) for name in outsiders]


def _outsider(name: str, queue: dict[str, Any]) -> Finding:
    if (why := refuses_when_full(queue)) is not None:
        what = f"an outsider's queue makes the broker refuse events: {why}"
        return problem(what, name, "ask its owner to empty it, to raise its limit, or to unbind it from `leads`")
    return Finding("note", f"an outsider's queue is bound to `leads`, {queue.get('messages', 0)} messages in it", name)
