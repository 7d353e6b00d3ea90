"""The whole system behind the console, in a thread with a loop of its own: a browser's tests are not of that loop."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aio_pika

from services.cli.config import apply_config
from services.cli.configfile import read
from services.cli.keys import Role, create_key
from shared.settings import Settings
from tests.api import Api, consuming, serving
from tests.driving import execute, rows, scalar
from tests.waiting import eventually

T = TypeVar("T")

SERVICES = ("ingest", "assigner", "documents", "deadletters")
#: A name that would be a script if it were shown as anything but text.
EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
CONFIGURATION = f"""
sources: [META, WALK-IN]
agents:
  - {{code: "0001", name: Asha Verma, email: agent01@example.com}}
  - {{code: "0002", name: Bruno Keller, email: agent02@example.com}}
  - {{code: "0003", name: {json.dumps(EVIL[:120])}, email: agent03@example.com}}
routes:
  - {{name: everyone, policy: smooth_weighted, source: META, members: ["0001", "0002", "0003"]}}
  - {{name: by hand, policy: fair, source: WALK-IN, retry_pending: false, sheets: false, members: []}}
"""


@dataclass
class World:
    """A running console, and what an outsider may do to what is behind it."""

    api: Api
    amqp_url: str
    loop: asyncio.AbstractEventLoop
    keys: dict[Role, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.api.url

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something beside the services."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def publish(self, routing_key: str, *bodies: dict[str, Any] | bytes) -> None:
        """Publish as any client does."""
        self.run(self._publish(routing_key, bodies))

    def leads(self, *lead_ids: str, **fields: Any) -> None:
        """Send leads and wait until they are stored."""
        self.publish("lead.created", *({"lead_id": each, "source": "META", **fields} for each in lead_ids))
        for each in lead_ids:
            self.until("SELECT count(*) FROM leads WHERE lead_id = :id", id=each)

    def until(self, statement: str, **values: Any) -> Any:
        """Wait until a statement's value is true, and give it."""

        async def look() -> Any:
            return await eventually(lambda: scalar(self.api.database, statement, **values), within=20)

        return self.run(look())

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        return self.run(rows(self.api.database, statement, **values))

    def execute(self, statement: str, **values: Any) -> None:
        self.run(execute(self.api.database, statement, **values))

    async def _publish(self, routing_key: str, bodies: tuple[dict[str, Any] | bytes, ...]) -> None:
        connection = await aio_pika.connect(self.amqp_url)
        async with connection, connection.channel() as channel:
            exchange = await channel.get_exchange("leads", ensure=False)
            for body in bodies:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                await exchange.publish(aio_pika.Message(content), routing_key)


@contextmanager
def running(database_url: str, amqp_url: str, folder: Path) -> Iterator[World]:
    """Give the world with its configuration applied, a key of each role, and some leads to look at."""
    settings = Settings(
        _env_file=None,
        database_url=database_url,
        amqp_url=amqp_url,
        sheets_dir=folder / "sheets",
        sheet_workers=1,
        api_rate=10_000,
    )
    ready, over, worlds = threading.Event(), threading.Event(), list[World]()

    async def live() -> None:
        async with consuming(settings, *SERVICES), serving(settings) as api:
            await apply_config(api.database, read(CONFIGURATION, file="world"), actor="test", file="world")
            keys = {
                role: (await create_key(api.database, name=f"the {role}", role=role, actor="test")).key for role in Role
            }
            worlds.append(World(api, amqp_url, asyncio.get_running_loop(), keys))
            ready.set()
            await asyncio.to_thread(over.wait)

    def work() -> None:
        try:
            asyncio.run(live())
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="world")
    thread.start()
    try:
        ready.wait(60)
        assert worlds, "the world has not begun: see above"
        seed(worlds[0])
        yield worlds[0]
    finally:
        over.set()
        thread.join()


#: Replicas that tell of themselves until the tests are over; the services of this process tell nothing.
REPLICAS = """
    INSERT INTO replicas (id, service, host, pid, problems, seen_at)
    SELECT service || host, service, host, pid, problems, now() + interval '1 hour'
    FROM (VALUES
        ('ingest', 'app-1', 101, CAST('{}' AS text[])),
        ('ingest', 'app-2', 102, '{}'),
        ('assigner', 'app-1', 103, '{}'),
        ('assigner', 'app-2', 104, '{"assigner: waiting for database to answer"}'),
        ('documents', 'app-1', 105, '{}'),
        ('scheduler', 'app-1', 106, '{"broker does not answer: ConnectionRefusedError"}')
    ) AS told (service, host, pid, problems)
"""


def seed(world: World) -> None:
    """Replicas; leads that are assigned, that wait for a person, and that died."""
    world.execute(REPLICAS)
    names = ("Nila Sarkar", "Omar Haddad", EVIL, "Pia Lund", "Quentin Roy", "Rhea Das")
    for number, name in enumerate(names, 1):
        world.leads(f"L{number}", customer_name=name, mobile_number=f"+9198200000{number:02}", store_code="BOM01")
    world.leads("W1", "W2", "W3", source="WALK-IN", customer_name="Sven Walker")
    world.publish("lead.created", b'{"lead_id": "D1"}', b'{"lead_id": "D2"}', b"no json")
    world.until("SELECT count(*) = 6 FROM documents")
    world.until("SELECT count(*) = 3 FROM assignments WHERE reason IS NOT NULL AND is_current")
    world.until("SELECT count(*) = 3 FROM dead_letters")
