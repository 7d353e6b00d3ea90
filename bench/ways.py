"""The ways to get leads from `lead.created` to `lead.assigned`: ours, two peers, and the floor that does no work."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aio_pika.abc import AbstractChannel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.ground import Ground, connect
from bench.leads import Lead
from bench.queues import QUORUM, declare
from bench.stages import Stage
from shared.messaging import topology
from shared.messaging.envelope import Outgoing


@dataclass(frozen=True, slots=True)
class Setting:
    """A way, ready to begin: its stages, last first, what they find where in the environment, and the last queue."""

    amqp_url: str
    environment: dict[str, str]
    stages: Sequence[Stage]
    last_queue: str


#: The queues of each way but ours.
PEER_QUEUES = ("created", "accepted", "assigned")


class Way(Protocol):
    """One way to do the work."""

    name: str
    label: str

    def missing(self) -> str | None:
        """Say what is not installed; None if nothing is."""

    async def set_up(self, ground: Ground) -> Setting:
        """Make database, exchanges and queues anew."""

    def messages(self, leads: Sequence[Lead]) -> Sequence[Outgoing]:
        """Give the leads as this way's first queue takes them."""


class Leadline:
    """Ours: `services.ingest` and `services.assigner` with everything on."""

    name, label = "leadline", "Leadline, everything on"

    def __init__(
        self, *, environment: dict[str, str] | None = None, assigners: int = 1, sql: Sequence[str] = ()
    ) -> None:
        """`sql` is run on the new database, with the triggers of the schema."""
        self._environment = environment or {}
        self._assigners = assigners
        self._sql = sql

    def missing(self) -> str | None:
        return None

    async def set_up(self, ground: Ground) -> Setting:
        amqp_url, database_url = ground.corner(self.name), await ground.database(self.name)
        admin = await connect(database_url)
        for statement in self._sql:
            await admin.execute(statement)
        await admin.close()
        return await self.setting(amqp_url, database_url)

    async def setting(self, amqp_url: str, database_url: str) -> Setting:
        """Declare the queues in a corner; the database is as it is."""
        await declare(amqp_url, ("ingest", "assigner", "documents"), topology.declare)
        environment = {"LEADLINE_AMQP_URL": amqp_url, "LEADLINE_DATABASE_URL": database_url, **self._environment}
        stages = (
            Stage("assigner", ["-m", "services.assigner"], "assigner", self._assigners),
            Stage("ingest", ["-m", "services.ingest"], "ingest"),
        )
        return Setting(amqp_url, environment, stages, "documents")

    def messages(self, leads: Sequence[Lead]) -> Sequence[Outgoing]:
        return [Outgoing("lead.created", lead.body, lead.lead_id) for lead in leads]


class _Peer(ABC):
    """Three queues, two stages."""

    name = label = ""
    libraries: Sequence[str] = ()
    first_queue = "created"

    def missing(self) -> str | None:
        absent = [library for library in self.libraries if importlib.util.find_spec(library) is None]
        return f"{', '.join(absent)} not installed: pip install 'leadline[bench]'" if absent else None

    async def set_up(self, ground: Ground) -> Setting:
        amqp_url = ground.corner(self.name)
        await declare(amqp_url, PEER_QUEUES, _declare_three)
        database_url = await self._database(ground)
        environment = {"BENCH_AMQP_URL": amqp_url, "BENCH_DATABASE_URL": database_url}
        return Setting(amqp_url, environment, self.stages(), "assigned")

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The last one first."""

    async def _database(self, ground: Ground) -> str:
        from bench.peers.tables import AGENTS, Base  # noqa: PLC0415  # only where a peer runs

        url = await ground.database(self.name, is_empty=True)
        engine = create_async_engine(url)
        async with engine.begin() as tx:
            await tx.run_sync(Base.metadata.create_all)
            await tx.execute(
                text(f"INSERT INTO agents SELECT n, lpad(n::text, 4, '0'), 0 FROM generate_series(1, {AGENTS}) AS n")  # noqa: S608
            )
        await engine.dispose()
        return url

    def messages(self, leads: Sequence[Lead]) -> Sequence[Outgoing]:
        return [Outgoing(self.first_queue, lead.body, lead.lead_id, exchange="") for lead in leads]


async def _declare_three(channel: AbstractChannel) -> None:
    for queue in PEER_QUEUES:
        await channel.declare_queue(queue, durable=True, arguments=QUORUM)


class FastStream(_Peer):
    """FastStream with SQLAlchemy, one transaction a message."""

    name, label = "faststream", "FastStream + SQLAlchemy"
    libraries = ("faststream",)

    def stages(self) -> Sequence[Stage]:
        program = ["-m", "bench.peers.faststream_peer"]
        return (
            Stage("faststream-assign", [*program, "assign"], "accepted"),
            Stage("faststream-store", [*program, "store"], "created"),
        )


class Celery(_Peer):
    """Celery with SQLAlchemy, one transaction a task."""

    name, label = "celery", "Celery + SQLAlchemy"
    libraries = ("celery", "psycopg")

    def stages(self) -> Sequence[Stage]:
        program = ["-m", "bench.peers.celery_peer"]
        return (
            Stage("celery-assign", [*program, "accepted"], "accepted"),
            Stage("celery-store", [*program, "created"], "created"),
        )

    def messages(self, leads: Sequence[Lead]) -> Sequence[Outgoing]:
        from bench.peers.celery_peer import message_of  # noqa: PLC0415  # only where Celery is installed

        messages = []
        for lead in leads:
            body, headers = message_of("store", lead.body)
            messages.append(Outgoing(self.first_queue, body, lead.lead_id, exchange="", headers=headers))
        return messages


class Floor(_Peer):
    """Two hops that do no work."""

    name, label = "floor", "bare aio-pika, two hops"

    def stages(self) -> Sequence[Stage]:
        program = ["-m", "bench.peers.floor"]
        return (
            Stage("floor-second", [*program, "accepted", "assigned"], "accepted"),
            Stage("floor-first", [*program, "created", "accepted"], "created"),
        )

    async def _database(self, ground: Ground) -> str:
        return ground.nodes.database_url


WAYS: Sequence[Way] = (Leadline(), FastStream(), Celery(), Floor())
