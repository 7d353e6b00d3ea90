"""Set up the database and the broker, and verify that both are as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelPreconditionFailed
from sqlalchemy import text

import migrations
from services.cli.doctor.management import NoManagementError
from services.cli.doctor.tellers import first_told, tellers_of
from services.cli.failures import CommandError
from services.webhooks import queries as webhooks
from shared.db.session import Database, open_database
from shared.messaging import broker, moving, topology
from shared.messaging.moving import Moved
from shared.messaging.publisher import open_publisher
from shared.outage import DependencyGoneError
from shared.settings import Settings

REFERENCE = text("""
    SELECT (SELECT count(*) FROM assignment_statuses) = 4 AS "assignment statuses",
           (SELECT count(*) FROM countries) > 0 AS countries,
           (SELECT count(*) FROM pipelines) > 0 AS pipelines,
           (SELECT count(*) FROM notification_profiles) > 0 AS "notification profiles",
           to_regclass('routes') IS NOT NULL AND to_regclass('route_members') IS NOT NULL AS "routes and members",
           EXISTS (SELECT 1 FROM information_schema.columns
                   WHERE (table_name, column_name) = ('agent_counters', 'auto_assign_count')) AS "auto_assign_count",
           to_regclass('auto_assign_history') IS NOT NULL AS "view auto_assign_history",
           to_regclass('current_assignments') IS NOT NULL AS "view current_assignments"
""")
#: What the clock shows in a zone, and in UTC at the same moment.
LOCAL_TIME = text("SELECT now() AT TIME ZONE :zone AS local, now() AS at")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    what: str
    is_well: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """All that was looked at."""

    is_well: bool
    checks: Sequence[Check]


def set_up(
    settings: Settings,
    *,
    migrates_queues: bool = False,
    wait_s: float = 0.0,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Moved]:
    """Migrate the database to the newest revision, and declare the topology. Idempotent, safe when two run at once.

    With `migrates_queues`, queues that exist with other arguments are moved, and moves that were interrupted completed.
    `warn` is told, before a queue is moved, that others' bindings of it cannot be seen.
    """
    asyncio.run(_reachable(settings))
    migrations.upgrade(settings.database)
    moved = asyncio.run(_migrate_queues(settings, wait_s, warn)) if migrates_queues else []
    asyncio.run(_declare(settings))
    return moved


async def verify(settings: Settings) -> Verification:
    """Look at database and broker; change nothing."""
    async with open_database(settings.database, application_name="leadline verify") as database:
        checks = [*await _database_checks(database, settings.tz), await _topology_check(settings.amqp_url)]
    return Verification(all(check.is_well for check in checks), checks)


async def _reachable(settings: Settings) -> None:
    async with open_database(settings.database, application_name="leadline setup") as database:
        try:
            await database.probe()
        except (DependencyGoneError, OSError) as error:
            raise CommandError(f"PostgreSQL does not answer, see LEADLINE_DATABASE_URL: {error}") from error


async def _declare(settings: Settings) -> None:
    async with (
        open_database(settings.database, application_name="leadline setup") as database,
        database.reading() as db,
    ):
        has_webhooks = bool(await webhooks.endpoints(db))
    try:
        async with broker.connect(settings.amqp_url, "leadline setup") as connection:
            for queue in topology.queue_arguments():
                await topology.refuse_other_arguments(connection, queue)
                if await moving.is_under_way(connection, queue):
                    raise CommandError(_interrupted(queue))
            async with connection.channel() as channel:
                await topology.declare(channel)
                if has_webhooks:  # as on a broker that is new, beside the database that was
                    await topology.bind(channel, "webhooks")
    except topology.TopologyError as error:
        raise CommandError(str(error)) from error
    except ChannelPreconditionFailed as error:
        raise CommandError(
            f"an exchange is not as Leadline declares it: {error}; delete it while nothing runs, then try again"
        ) from error
    except (ValueError, *broker.BROKER_ERRORS) as error:
        raise CommandError(f"RabbitMQ does not answer, see LEADLINE_AMQP_URL: {error}") from error


def _interrupted(queue: str) -> str:
    return f"the move of the queue {queue!r} was interrupted: run `leadline setup --migrate-queues`, which completes it"


async def _migrate_queues(settings: Settings, wait_s: float, warn: Callable[[str], None]) -> list[Moved]:
    try:
        async with (
            broker.connect(settings.amqp_url, "leadline setup") as connection,
            open_publisher(settings.amqp_url, "leadline-setup") as publisher,
        ):
            async with connection.channel() as channel:
                await topology.declare_exchanges(channel)
            strangers = await _strangers(settings, warn) if await _is_any_other(connection) else {}
            moves = [
                await moving.move(connection, publisher, queue, strangers=strangers.get(queue, ()), wait_s=wait_s)
                for queue in topology.queue_arguments()
            ]
    except moving.QueueInUseError as error:
        raise CommandError(str(error)) from error
    except broker.BROKER_ERRORS as error:
        raise CommandError(f"the move was interrupted, nothing is lost: {error}; run the same again") from error
    return [moved for moved in moves if moved.aside or moved.back]


async def _is_any_other(connection: AbstractConnection) -> bool:
    """Whether any queue is to be moved, or is on its way."""
    for queue in topology.queue_arguments():
        if await topology.other_arguments(connection, queue) is not None or await moving.is_under_way(
            connection, queue
        ):
            return True
    return False


async def _strangers(settings: Settings, warn: Callable[[str], None]) -> dict[str, list[topology.Binding]]:
    """Give the bindings of our queues that are not ours, where anybody tells them."""
    try:
        bindings = await first_told(tellers_of(settings), lambda teller: teller.bindings())
    except NoManagementError as error:
        warn(f"bindings that others have made to a moved queue cannot be seen and are not kept: {error}")
        return {}
    found: dict[str, list[topology.Binding]] = {}
    for each in bindings:
        queue = each["destination"].removesuffix(moving.SUFFIX)
        binding = topology.Binding(each["source"], each["routing_key"], each["arguments"] or None)
        is_moves = binding.exchange in {"", moving.beside(queue)}
        if queue in topology.queue_arguments() and not is_moves and binding not in topology.bindings_of(queue):
            found.setdefault(queue, []).append(binding)
    return found


async def _database_checks(database: Database, zone: ZoneInfo) -> list[Check]:
    try:
        async with database.reading() as connection:
            revision = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
            found = (await connection.execute(REFERENCE)).mappings().one()
            time = (await connection.execute(LOCAL_TIME, {"zone": zone.key})).one()
    except Exception as error:  # whatever it is, it is what is wrong
        return [Check("database", is_well=False, detail=f"{str(error).splitlines()[0]}; run `leadline setup`")]
    return [
        _revision_check(revision),
        *(Check(name, is_well=bool(is_well)) for name, is_well in found.items()),
        _zone_check(zone, time.local, time.at),
    ]


def _revision_check(revision: str | None) -> Check:
    newest = migrations.newest()
    if revision == newest:
        return Check("migrations", is_well=True, detail=f"at {revision}")
    return Check(
        "migrations", is_well=False, detail=f"at {revision}, this version needs {newest}; run `leadline setup`"
    )


def _zone_check(zone: ZoneInfo, local: datetime, at: datetime) -> Check:
    """Days and times of day are the database's: its zones are to say what ours say."""
    ours = at.astimezone(zone)
    is_well = ours.replace(tzinfo=None) == local
    return Check("time zone", is_well, f"{zone.key}, {ours:%H:%M %z}" + ("" if is_well else f"; there {local:%H:%M}"))


async def _topology_check(amqp_url: str) -> Check:
    try:
        async with broker.connect(amqp_url, "leadline verify") as connection:
            problems = await topology.problems(connection)
            problems += [
                _interrupted(queue)
                for queue in topology.queue_arguments()
                if await moving.is_under_way(connection, queue)
            ]
    except (ValueError, aio_pika.exceptions.AMQPError, *broker.BROKER_ERRORS) as error:
        return Check("topology", is_well=False, detail=f"{error}; run `leadline setup`")
    if problems:
        return Check("topology", is_well=False, detail="; ".join(problems))
    return Check("topology", is_well=True, detail="4 exchanges, 12 queues")
