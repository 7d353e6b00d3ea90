"""The private PostgreSQL and RabbitMQ: found, started, killed and brought back with what they had promised to keep."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import asyncpg
import psutil
import pytest
from pamqp.common import FieldTable

from services.cli.local import brokers
from services.cli.local.failures import LocalError, MissingError
from services.cli.local.nodes import STATE, External, Nodes, stop_unused
from services.cli.local.postgres import Postgres
from services.cli.local.processes import Processes
from services.cli.local.rabbitmq import PrivateBroker
from services.cli.local.waiting import wait_until

DURABLE: FieldTable = {"x-queue-type": "quorum"}
# RabbitMQ writes what it knows of a new queue to disk some seconds later: declared and killed at once, it may be gone.
WRITE_METADATA = "[ok = dets:sync(Table) || Table <- dets:all()]."


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Nodes of this module's own, so that killing them hurts nobody else; nothing of them is left at the end."""
    state = STATE / "test" / "local"
    stop_unused(state)
    shutil.rmtree(state, ignore_errors=True)
    nodes = Nodes(state)
    try:
        nodes.start()
        yield nodes
    finally:
        started = nodes.processes.all()
        nodes.stop()
        if isinstance(nodes.postgres, Postgres):
            nodes.postgres.remove()
        shutil.rmtree(state, ignore_errors=True)
    assert [process.name for process in started if process.is_running] == []


async def test_a_commit_survives_the_kill_of_postgres(nodes: Nodes) -> None:
    """Same address, same data, and no connection of the old server lives on."""
    address = nodes.database_url
    connection = await _database(nodes)
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    nodes.postgres.kill()
    with pytest.raises((asyncpg.PostgresError, OSError, asyncpg.InterfaceError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()
    nodes.postgres.start()
    assert nodes.database_url == address
    connection = await _database(nodes)
    assert await connection.fetchval("SELECT id FROM kept") == 7
    await connection.close()


async def test_postgres_keeps_its_promises(nodes: Nodes) -> None:
    """Tuned as the design says, with nothing turned off."""
    connection = await _database(nodes)
    for setting, value in {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}.items():
        assert await connection.fetchval("SELECT current_setting($1)", setting) == value
    assert await connection.fetchval("SELECT current_setting('max_wal_size')") == "4GB"
    assert await connection.fetchval("SELECT version() LIKE 'PostgreSQL 1%'")
    await connection.close()


async def test_a_frozen_postgres_answers_nothing_until_it_is_thawed(nodes: Nodes) -> None:
    """The connection stays open meanwhile."""
    connection = await _database(nodes)
    nodes.postgres.freeze()
    question = asyncio.ensure_future(connection.fetchval("SELECT 5"))
    done, _ = await asyncio.wait([question], timeout=0.3)
    assert not done
    nodes.postgres.thaw()
    assert await asyncio.wait_for(question, timeout=10) == 5
    await connection.close()


async def test_a_confirmed_message_survives_the_kill_of_the_broker(nodes: Nodes) -> None:
    """A persistent message in a quorum queue, `kill -9` of the node, the same address: the message is there.

    The address is the same although clients are connected when it dies.
    """
    address = nodes.amqp_url
    clients = [await aio_pika.connect(address) for _ in range(20)]
    channel = await clients[0].channel(publisher_confirms=True)
    await channel.declare_queue("kept", durable=True, arguments=DURABLE)
    message = aio_pika.Message(b"precious", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, routing_key="kept")
    await asyncio.to_thread(nodes.broker.ctl, "eval", WRITE_METADATA)
    nodes.broker.kill()
    nodes.broker.start()  # before this loop can run: no client has noticed
    assert nodes.amqp_url == address
    for client in clients:
        await client.close()
    connection = await aio_pika.connect(address)
    async with connection:
        queue = await (await connection.channel()).declare_queue("kept", durable=True, passive=True)
        found = await queue.get(timeout=10)
        assert found is not None
        assert found.body == b"precious"
        await found.ack()


async def test_a_frozen_broker_answers_nothing_until_it_is_thawed(nodes: Nodes) -> None:
    """A new connection is not even greeted."""
    nodes.broker.freeze()
    opening = asyncio.ensure_future(aio_pika.connect(nodes.amqp_url))
    done, _ = await asyncio.wait([opening], timeout=0.3)
    assert not done
    nodes.broker.thaw()
    await (await asyncio.wait_for(opening, timeout=10)).close()


def test_rabbitmqctl_speaks_to_the_private_node(nodes: Nodes) -> None:
    """And says what is wrong, when something is."""
    assert "leadline" in nodes.broker.ctl("list_users")
    with pytest.raises(LocalError, match="no_such_command"):
        nodes.broker.ctl("no_such_command")


def test_an_erlang_expression_is_evaluated_on_the_private_node(nodes: Nodes) -> None:
    """What cannot be is told."""
    assert nodes.broker.evaluate('[{"a queue", 3}, lists:sum([1, 2])]') == '[{"a queue", 3}, 3]'
    for wrong in ("lists:no_such_function()", "not an expression", "exit(bad)"):
        with pytest.raises(LocalError, match="erl_call"):
            nodes.broker.evaluate(wrong)


def test_starting_running_nodes_changes_nothing(nodes: Nodes) -> None:
    """Found again by whoever comes next, in another process too."""
    before = nodes.processes.all()
    again = Nodes(nodes.state)
    again.start()
    assert nodes.processes.all() == before
    assert (again.amqp_url, again.database_url) == (nodes.amqp_url, nodes.database_url)


def test_nothing_listens_beyond_the_loopback(nodes: Nodes) -> None:
    """Neither the servers nor epmd nor Erlang's distribution."""
    for known in nodes.processes.all():
        process = known.find()
        assert process is not None
        listening = [at for at in process.net_connections("inet") if at.status == psutil.CONN_LISTEN]
        assert listening, f"{known.name} listens nowhere"
        assert {at.laddr.ip for at in listening} <= {"127.0.0.1", "::1"}, known.name


def test_a_stopped_broker_takes_its_epmd_with_it(nodes: Nodes) -> None:
    """Nothing of Erlang is left."""
    if not isinstance(nodes.broker, PrivateBroker):
        pytest.skip("the broker of this machine runs in a container")
    erlang = [known for known in nodes.processes.all() if known.name in {"rabbitmq", "epmd"}]
    nodes.broker.stop()
    wait_until(lambda: not any(known.is_running for known in erlang), within_s=5, otherwise="Erlang runs on")
    nodes.broker.start()


def test_a_server_that_the_environment_names_is_never_disturbed() -> None:
    """It is used as it is."""
    external = External("amqp://elsewhere/")
    external.start()
    external.stop()
    with pytest.raises(LocalError, match="not ours"):
        external.kill()


def test_without_any_rung_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the command line ends with 2."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(brokers, "_SCRIPTS", ("nowhere",))
    with pytest.raises(MissingError, match="set LEADLINE_AMQP_URL") as caught:
        brokers.find_broker(tmp_path / "state", Processes(tmp_path / "state"), shared=tmp_path / "shared")
    assert caught.value.exit_code == 2


async def _database(nodes: Nodes) -> asyncpg.Connection:
    return await asyncpg.connect(nodes.database_url.replace("+asyncpg", ""))
