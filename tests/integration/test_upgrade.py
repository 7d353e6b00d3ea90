"""An installation of an older version, brought up to date by `leadline setup` alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import migrations
from services.cli.installation import set_up, verify
from services.cli.services import serve_of
from shared.db.session import Database
from shared.events import OutcomeRecorded
from shared.messaging import broker, outbox
from shared.messaging.envelope import Outgoing
from shared.messaging.facts import UNOBSERVED
from shared.messaging.publisher import PublishError, open_publisher
from shared.settings import Settings
from tests.api import declare
from tests.driving import execute, scalar
from tests.endpoints import listening, take_events
from tests.integration.test_webhooks import add, unassigned
from tests.waiting import eventually

#: The last revision that knows nothing of webhooks.
BEFORE_WEBHOOKS = "0007"


async def depth(amqp_url: str, queue: str) -> int:
    async with broker.connect(amqp_url, "looking") as connection:
        return await broker.queue_depth(connection, queue)


async def go_back(settings: Settings) -> None:
    """Have database and broker as the version before webhooks had them."""
    await declare(settings)
    async with broker.connect(settings.amqp_url, "test") as connection, connection.channel() as channel:
        await channel.queue_delete("webhooks")
    await asyncio.to_thread(migrations.downgrade, settings.database, BEFORE_WEBHOOKS)


async def test_a_broker_without_the_webhooks_queue(
    database: Database, database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    """What waits stays; services of the new version wait for the command; what nobody took before is told after it."""
    settings = Settings(
        _env_file=None,
        database_url=database_url,
        amqp_url=amqp_url,
        sheets_dir=tmp_path,
        webhooks_allow_http=True,
    )
    await go_back(settings)
    kept = unassigned("L1")  # the queue `documents` takes it all the same
    told = OutcomeRecorded(lead_id="L2", revision=1, lead_assignment_code="L2601010001-1")
    async with open_publisher(amqp_url, "test") as publisher:
        for event in (kept, told):
            with pytest.raises(PublishError):
                await publisher.publish([Outgoing(event.type, event.to_json().encode())])
    async with database.begin() as tx:  # as the new version's documents does, before anybody has run `setup`
        await outbox.add(tx, "documents", [told])
    await execute(database, "UPDATE outbox SET due_at = now() + interval '1 hour'")
    assert await depth(amqp_url, "documents") == 1
    before = await verify(settings)
    stop = asyncio.Event()
    service = asyncio.ensure_future(serve_of("webhooks")(settings, stop, UNOBSERVED))

    await asyncio.to_thread(set_up, settings)

    after = await verify(settings)
    assert (before.is_well, after.is_well) == (False, True), after.checks
    async with listening() as endpoint:
        await take_events(amqp_url)
        await add(database, endpoint.url, "outcome.recorded")
        await execute(database, "UPDATE outbox SET due_at = now()")
        await eventually(lambda: endpoint.ids == [told.event_id], within=30)
        stop.set()
        await service
    assert await scalar(database, "SELECT count(*) FROM outbox") == 0
    assert await depth(amqp_url, "documents") == 1


@pytest.mark.parametrize(("has_webhooks", "told"), [(False, 0), (True, 1)])
async def test_a_new_broker_beside_an_old_database(
    database: Database, database_url: str, amqp_url: str, *, has_webhooks: bool, told: int
) -> None:
    """`setup` has the webhooks' queue take events if there is an active webhook: else they would wait for nobody."""
    settings = Settings(_env_file=None, database_url=database_url, amqp_url=amqp_url)
    await add(database, "https://crm.example.com/off")
    await execute(database, "UPDATE webhooks SET is_active = false")
    if has_webhooks:
        await add(database, "https://crm.example.com/")

    await asyncio.to_thread(set_up, settings)

    async with open_publisher(amqp_url, "test") as publisher:
        await publisher.publish([Outgoing("lead.unassigned", unassigned().to_json().encode())])
    assert [await depth(amqp_url, queue) for queue in ("documents", "webhooks")] == [1, told]
