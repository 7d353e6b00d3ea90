"""`leadline doctor`: what is wrong is named with its place and a remedy."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
from pamqp.common import FieldTable

from services.cli.doctor.brokers import examine_broker
from services.cli.doctor.command import examine
from services.cli.doctor.findings import Finding
from services.cli.doctor.management import management_of
from services.cli.doctor.rabbitmqctl import Rabbitmqctl
from services.cli.installation import set_up
from services.cli.local.nodes import running_nodes, state_of_tests
from services.cli.local.ports import free_port
from services.cli.local.rabbitmq import PrivateBroker
from shared.health import Health
from shared.messaging import topology
from shared.messaging.facts import NotConsuming
from shared.probing import Probes, answering
from shared.settings import Settings
from tests.conftest import OURS, QUICK, WORKER, VirtualHosts, migrated, sql
from tests.integration.core import Ground, ground_on
from tests.mailserver import Server
from tests.mailserver import running as mail_server
from tests.waiting import eventually


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Nodes of this module's own, the broker with its management API."""
    with (
        running_nodes(state_of_tests() / f"{WORKER}-doctor", postgres_settings=QUICK) as nodes,
        migrated(nodes, f"{OURS}_doctor_template") as template,
        ground_on(nodes, template, VirtualHosts(nodes)) as ground,
    ):
        enable_management(ground.nodes.broker)
        yield ground


PORT = free_port()


def enable_management(broker: Any) -> None:
    """As `rabbitmq-plugins enable` does on a running node, but on a port of our own."""
    assert isinstance(broker, PrivateBroker)
    plugins = broker._home / "enabled_plugins"
    plugins.write_text("[rabbitmq_management].\n")
    listener = f'[{{port, {PORT}}}, {{ip, "127.0.0.1"}}]'
    broker.ctl("eval", f"application:set_env(rabbitmq_management, tcp_config, {listener}, [{{persistent, true}}]).")
    broker.ctl("eval", f'rabbit_plugins:ensure("{plugins}").')
    broker.ctl("set_user_tags", "leadline", "administrator")


@pytest.fixture
async def settings(ground: Ground, tmp_path: Path) -> AsyncIterator[Settings]:
    """Everything is well, and each queue has a consumer."""
    database_url, amqp_url = ground.take()
    async with mail_server(Server()) as server, consumed(amqp_url):
        yield Settings(
            database_url=database_url,
            amqp_url=amqp_url,
            rabbitmq_api_url=f"http://127.0.0.1:{PORT}",
            sheets_dir=tmp_path / "sheets",
            smtp_port=server.port,
        )


async def keep(_: aio_pika.abc.AbstractIncomingMessage) -> None:
    """Take, and settle nothing."""


@asynccontextmanager
async def consumed(amqp_url: str) -> AsyncIterator[None]:
    async with opened(amqp_url) as channel:
        await topology.declare(channel)
        for queue in (*(work.name for work in topology.WORK_QUEUES), topology.DEAD_QUEUE):
            await (await channel.get_queue(queue)).consume(keep, consumer_tag=queue)
        yield


@asynccontextmanager
async def opened(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        yield channel


async def problems(settings: Settings, **services: str) -> dict[str, Finding]:
    """What it finds, by the place."""
    found = (await examine(settings, services)).findings
    return {finding.where: finding for finding in found if finding.kind == "problem"}


async def test_all_is_well(settings: Settings) -> None:
    found = await examine(settings, {})
    assert found.is_well, found
    assert list(found.findings) == []


async def test_what_only_the_broker_tells_from_within(settings: Settings, ground: Ground) -> None:
    """By its API, else by its tool; without either it is said plainly what nobody has looked at."""
    unseen = await examine(settings.model_copy(update={"rabbitmq_api_url": "http://127.0.0.1:9"}), {})
    assert unseen.is_well
    (finding,) = unseen.findings
    assert finding.kind == "not looked at"
    assert "each quorum queue has a leader; whether each queue of ours has its bindings" in finding.what
    assert "http://127.0.0.1:9/api/queues" in finding.where
    assert "rabbitmq-plugins enable rabbitmq_management" in finding.remedy

    full: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await asyncio.to_thread(close_by_policy, settings, "closed")
    async with opened(settings.amqp_url) as channel:
        exchange = await channel.get_exchange("leads")
        for name, arguments in (("warehouse", {}), ("forgotten", full), ("closed", {})):
            await (await channel.declare_queue(name, durable=True, arguments=arguments)).bind(exchange, "lead.assigned")
        await channel.default_exchange.publish(aio_pika.Message(b"{}", delivery_mode=2), "forgotten")
        await (await channel.get_queue("ingest")).unbind(exchange, "lead.updated")
        await (await channel.get_queue("ingest")).bind(exchange, "lead.assigned")
    found = await eventually(lambda: seen(settings, "forgotten"), within=30)
    assert "makes the broker refuse events" in found["forgotten"].what
    assert "full (max-length 0)" in found["closed"].what
    assert "warehouse" not in found
    said = [finding.what for finding in (await examine(settings, {})).findings if finding.where == "ingest"]
    assert said == [
        "it is not bound to leads by lead.updated: such messages do not reach it",
        "it is bound to leads by lead.assigned, which is not ours",
    ]
    api = management_of(settings.amqp_url, settings.rabbitmq_api_url)
    tool = Rabbitmqctl(ground.nodes.broker.ctl, api.vhost, urlsplit(settings.amqp_url).port)
    assert await examine_broker(settings.amqp_url, [tool]) == await examine_broker(settings.amqp_url, [api])


def close_by_policy(settings: Settings, queue: str) -> None:
    """Have a queue of this name refuse all."""
    api = management_of(settings.amqp_url, settings.rabbitmq_api_url)
    credentials = base64.b64encode(f"{api.user}:{api.password}".encode()).decode()
    definition = {"max-length": 0, "overflow": "reject-publish"}
    policy = {"pattern": f"^{queue}$", "apply-to": "queues", "definition": definition}
    request = urllib.request.Request(
        f"{api.url}/api/policies/{api.vhost}/{queue}",
        data=json.dumps(policy).encode(),
        headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=10).close()


async def seen(settings: Settings, where: str) -> dict[str, Finding] | None:
    """What the API tells of a queue is some seconds old."""
    found = await problems(settings)
    return found if where in found else None


async def test_queues_that_are_missing_or_consumed_by_nobody(ground: Ground, settings: Settings) -> None:
    _, empty = ground.take()
    found = await problems(settings.model_copy(update={"amqp_url": empty}))
    assert "missing" in found["RabbitMQ, LEADLINE_AMQP_URL"].what
    async with opened(empty) as channel:
        await topology.declare(channel)
    found = await problems(settings.model_copy(update={"amqp_url": empty}))
    assert found["assigner.lots"].remedy == "start `leadline service assigner`"
    assert len(found) == len(topology.WORK_QUEUES) + 1


async def test_the_database(settings: Settings) -> None:
    """Rows that nobody sends, letters that nobody works, a schema that is behind."""
    await asyncio.to_thread(sql, settings.database_url, OUTBOX)
    found = await problems(settings)
    assert "1 rows are not confirmed, the oldest for 3" in found["table outbox"].what
    await asyncio.to_thread(sql, settings.database_url, "UPDATE alembic_version SET version_num = '0001'")
    assert "leadline setup" in (await problems(settings))["PostgreSQL, LEADLINE_DATABASE_URL"].remedy


OUTBOX = """
    INSERT INTO outbox (service, types, keys, bodies, traceparents, created_at)
    VALUES ('ingest', '{}', '{}', '{}', '{}', now() - interval '300 seconds')
"""


async def test_what_is_around(settings: Settings, tmp_path: Path) -> None:
    """A folder that is a file, a mail server and a mailbox that are not there, a service that is not ready."""
    (tmp_path / "file").write_text("no folder")
    health = Health()
    health.observe(NotConsuming("ingest", "the channel was lost"))
    wrong = {"sheets_dir": tmp_path / "file", "smtp_port": 1, "imap_host": "127.0.0.1", "imap_port": 1}
    async with answering(Probes(health, lambda: b"", "text/plain"), "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}"
        found = await problems(settings.model_copy(update=wrong), ingest=url, notifier="http://127.0.0.1:1")
    assert {where.partition(",")[0] for where in found} == {
        "LEADLINE_SHEETS",
        "LEADLINE_SMTP_HOST",
        "LEADLINE_IMAP_HOST",
        "ingest",
        "notifier",
    }
    assert found[f"ingest, {url}"].what == "it is not ready: ingest: not consuming: the channel was lost"
    assert all(finding.remedy for finding in found.values())


async def test_a_move_keeps_a_strangers_binding(settings: Settings, ground: Ground) -> None:
    """Where the management API tells of it."""
    database_url, amqp_url = ground.take()
    async with opened(amqp_url) as channel:
        await topology.declare_exchanges(channel)
        await channel.declare_exchange("partner", "topic", durable=True)
        await (await channel.declare_queue("ingest", durable=True)).bind("partner", "lead.created")
        here = settings.model_copy(update={"amqp_url": amqp_url, "database_url": database_url})
        await asyncio.to_thread(lambda: set_up(here, migrates_queues=True))
        partner = await channel.get_exchange("partner")
        await partner.publish(aio_pika.Message(b"{}", delivery_mode=2), "lead.created")
        queue = await channel.get_queue("ingest")
        assert await eventually(lambda: queue.get(fail=False), within=10)
