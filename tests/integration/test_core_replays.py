"""A replayed message in the core: its row is resolved before the acknowledgement, or comes back as dead."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from services.cli.local.nodes import Nodes
from shared.events import LeadAccepted
from shared.messaging.envelope import ATTEMPTS, DEAD_LETTER_ID, REASON, Outgoing
from shared.messaging.publisher import open_publisher
from tests.conftest import VirtualHosts
from tests.integration.core import Ground, Insert, Replica, drain, effects, ground_on, lay_out, publish, running
from tests.waiting import eventually

INSERT = """
    INSERT INTO dead_letters (content_key, service, queue, body, headers, reason, group_key, attempts,
                              first_failed_at, failed_at, status, replays)
    VALUES ($1, 'assigner', 'assigner', '', '{}', '', '', 1, now(), now(), 'replaying', 1) RETURNING id
"""


@pytest.fixture(scope="module")
def ground(nodes: Nodes, template: str, vhosts: VirtualHosts) -> Iterator[Ground]:
    with ground_on(nodes, template, vhosts) as ground:
        yield ground


@pytest.fixture
def core(ground: Ground) -> tuple[str, str]:
    return ground.take()


async def connected(database_url: str) -> asyncpg.Connection:
    return await asyncpg.connect(database_url.replace("+asyncpg", ""))


async def replay(amqp_url: str, rows: dict[str, int]) -> None:
    """Send an event for each lead, as a replay of its row does."""
    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish(
            [
                Outgoing(
                    "replay.assigner",
                    LeadAccepted(lead_id=lead_id, revision=1).to_json().encode(),
                    lead_id,
                    "leads.requeue",
                    {DEAD_LETTER_ID: row_id},
                    type="lead.accepted",
                )
                for lead_id, row_id in rows.items()
            ]
        )


async def test_a_row_is_resolved_with_what_went_through_and_with_nothing_else(core: tuple[str, str]) -> None:
    """Of four replayed together: one is refused, one waits on the ladder, one names a row of nobody's."""
    database_url, amqp_url = core
    await lay_out(amqp_url, database_url)
    rows = await connected(database_url)
    ids = {lead_id: await rows.fetchval(INSERT, lead_id) for lead_id in ("good", "bad", "early")} | {"odd": 10**12}
    await replay(amqp_url, ids)
    async with running(database_url, amqp_url, Insert()):
        await eventually(lambda: rows.fetchval("SELECT count(*) = 1 FROM dead_letters WHERE status = 'resolved'"), 20)
        copies = [await eventually(partial(drain, amqp_url, queue), 20) for queue in ("dead", "retry.5s")]
    states = dict(await rows.fetch("SELECT content_key, status FROM dead_letters"))
    assert states == {"good": "resolved", "bad": "replaying", "early": "replaying"}
    assert [copy.headers[DEAD_LETTER_ID] for (copy,) in copies] == [ids["bad"], ids["early"]]
    assert await effects(database_url) == {"good", "odd"}
    await rows.close()


async def test_a_replayed_message_that_fails_again_is_dead_at_once(core: tuple[str, str]) -> None:
    """Its operator waits for the outcome; what fails beside it for the first time climbs the ladder as ever."""
    database_url, amqp_url = core
    await lay_out(amqp_url, database_url)
    rows = await connected(database_url)
    row_id = await rows.fetchval(INSERT, "bug")
    async with running(database_url, amqp_url, Insert()):
        await replay(amqp_url, {"bug again": row_id})
        (dead,) = await eventually(partial(drain, amqp_url, "dead"), 20)
        await publish(amqp_url, ["bug of a stranger"])
        (waits,) = await eventually(partial(drain, amqp_url, "retry.5s"), 20)
    assert (dead.headers[DEAD_LETTER_ID], dead.headers[ATTEMPTS]) == (row_id, 1)
    assert dead.headers[REASON] == "ValueError: a bug met bug again"
    assert (waits.headers[ATTEMPTS], waits.headers.get(DEAD_LETTER_ID)) == (1, None)
    await rows.close()


async def test_a_replayed_message_waits_for_an_outage_like_any_other(core: tuple[str, str]) -> None:
    """It spends nothing while the network is away, and its row is resolved afterwards."""
    database_url, amqp_url = core
    await lay_out(amqp_url, database_url)
    rows = await connected(database_url)
    row_id = await rows.fetchval(INSERT, "one")
    left = iter((ConnectionError("away"), ConnectionError("away"), None))

    def trouble(_: str) -> None:
        if (error := next(left)) is not None:
            raise error

    async with running(database_url, amqp_url, Insert(trouble)):
        await replay(amqp_url, {"one": row_id})
        await eventually(lambda: rows.fetchval("SELECT status = 'resolved' FROM dead_letters"), 30)
    assert await drain(amqp_url, "dead") == await drain(amqp_url, "retry.5s") == []
    await rows.close()


async def test_a_replay_to_a_queue_that_is_gone_says_where_it_was_sent(core: tuple[str, str]) -> None:
    """It comes to the dead by the alternate exchange, under the exchange and key that it was sent to."""
    database_url, amqp_url = core
    await lay_out(amqp_url, database_url)
    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish([Outgoing("replay.gone", b"{}", None, "leads.requeue", {DEAD_LETTER_ID: 7}, type="x")])
    (dead,) = await eventually(lambda: drain(amqp_url, "dead"), 20)
    assert (dead.exchange, dead.routing_key, dead.headers[DEAD_LETTER_ID]) == ("leads.requeue", "replay.gone", 7)


async def test_killed_between_effect_and_mark_it_is_marked_when_the_message_comes_again(
    core: tuple[str, str], tmp_path: Path
) -> None:
    """The effect is committed and there once; the row is resolved by whoever gets the message next."""
    database_url, amqp_url = core
    await lay_out(amqp_url, database_url)
    rows, holder = await connected(database_url), await connected(database_url)
    row_id = await rows.fetchval(INSERT, "one")
    replica = Replica(database_url, amqp_url, tmp_path / "log")
    try:
        held = holder.transaction()
        await held.start()
        await holder.execute("SELECT 1 FROM dead_letters FOR UPDATE")
        await replay(amqp_url, {"one": row_id})
        await eventually(lambda: rows.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"), 30)
        assert await effects(database_url) == {"one"}
        assert replica.kill()
        await held.rollback()
        await eventually(lambda: rows.fetchval("SELECT status = 'resolved' FROM dead_letters"), 30)
        assert await rows.fetchval("SELECT saved FROM effects") == 1
    finally:
        replica.stop()
        await rows.close()
        await holder.close()
