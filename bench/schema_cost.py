"""What the schema costs: ingest and the assigner through the real core, no broker; microseconds and WAL per lead.

    .venv/bin/python -m bench.schema_cost [--leads 2000000] [--short] [--only PART …]

Two databases on a PostgreSQL of its own (`.local/bench`): an empty one and one that is filled with plausible leads. The
handlers run inside `Processor`, so prepare, save, outbox row and commit are what production does; only the broker is a
stand-in that confirms at once. Wall time on a shared machine says little: CPU of this process and of its backends is
measured beside it, and every variation stands between two runs of the schema as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import asyncpg
import structlog
import uvloop
from sqlalchemy.ext.asyncio import AsyncConnection

import migrations
from bench.stored import add_stored
from services.assigner.consumer import SUBSCRIPTION as ASSIGNER
from services.assigner.consumer import AssignLeads
from services.assigner.queries import assignments, decisions, records
from services.cli.local.locks import Users, alone
from services.cli.local.nodes import STATE, Nodes
from services.ingest.consumer import SUBSCRIPTION as INGEST
from services.ingest.consumer import StoreLeads
from services.ingest.reference import ReferenceReader
from services.simulator.leads import LeadMaker
from shared.db.session import PLANS_ARE_KEPT, Database, open_database
from shared.db.statement import Statement
from shared.messaging.deliveries import Deliveries
from shared.messaging.envelope import Delivery, Message, Outgoing, read
from shared.messaging.outbox import OutboxRow
from shared.messaging.processing import Effect, Processor, Subscription
from shared.messaging.publisher import Dispatch
from shared.messaging.settling import Settlement
from shared.process import spare_the_collector

BENCH_STATE = STATE / "bench"
APPLICATION = "leadline bench"
ZONE = ZoneInfo("Asia/Kolkata")
#: asyncpg's statements are prepared: PostgreSQL makes custom plans five times, then may keep a generic one.
WARM_UP = 7
BATCHES = {1: 200, 20: 60, 200: 20}
TEN, MANY = 10, 10_000

CONFIGURE = f"""
INSERT INTO sources (name) VALUES ('META'), ('GOOGLE'), ('WEBSITE'), ('REFERRAL'), ('WALK-IN');
INSERT INTO stores (store_code, store_name, assign_leads)
SELECT code, 'Store ' || code, true FROM unnest('{{BLR01,BOM02,DEL03,MAA04,PNQ05}}'::text[]) AS code;
INSERT INTO agents (agent_code, agent_name, email)
SELECT lpad(upper(to_hex(n)), 4, '0'), 'Agent ' || n, 'agent' || n || '@example.com'
FROM generate_series(1, {MANY}) AS n;
INSERT INTO routes (name, policy, is_enabled) VALUES ('ten', 'fair', true), ('many', 'fair', false);
INSERT INTO route_members (route_id, agent_id)
SELECT routes.id, agents.id FROM routes, agents WHERE routes.name = 'many' OR agents.id <= {TEN};
"""  # noqa: S608  # our own numbers


@dataclass(frozen=True, slots=True)
class Variation:
    """One thing made otherwise, and how to make it as it was. `within` changes the program instead of the schema."""

    name: str
    change: str = ""
    back: str = ""
    indexes: Sequence[str] = ()
    within: Callable[[], AbstractContextManager[None]] | None = None
    are_ids_random: bool = True
    #: It works on new connections only.
    is_of_session: bool = False


def _fk(table: str, column: str, target: str) -> tuple[str, str]:
    name = f"bench_{table}_{column}"
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {target} (id) NOT VALID"
    return add, f"ALTER TABLE {table} DROP CONSTRAINT {name}"


def _fks(*keys: tuple[str, str, str]) -> dict[str, Any]:
    pairs = [_fk(*key) for key in keys]
    return {"change": ";".join(add for add, _ in pairs), "back": ";".join(drop for _, drop in pairs)}


@contextmanager
def _statement(queries: ModuleType, name: str, change: Callable[[str], str]) -> Iterator[None]:
    """Let the assigner run another statement for a while."""
    before = getattr(queries, name)
    after = change(before.text)
    assert after != before.text, f"{name} is not what it was when this bench was written"
    setattr(queries, name, Statement(after))
    try:
        yield
    finally:
        setattr(queries, name, before)


def _without_snapshot(sql: str) -> str:
    return sql.replace(
        """rowid = new.rowid, lead_assignment_code = new.code, store_code = new.store_code,
            store_name = new.store_name,
            lead_date = new.lead_date, lead_type = new.lead_type, mobile_number = new.mobile_number,
            cx_name = new.cx_name, address = new.address, lead_source = new.lead_source""",
        "rowid = new.rowid, lead_assignment_code = new.code",
    )


def _without_record(sql: str) -> str:
    ids = (
        "SELECT lead_id, nextval('assignment_records_id_seq') AS id FROM unnest(CAST(:lead_ids AS bigint[])) AS lead_id"
    )
    return sql.replace(records.INSERT_RECORDS, ids)


def _without_decision(sql: str) -> str:
    before, _, rest = sql.partition("INSERT INTO decisions")
    return f"{before}SELECT sequence AS id FROM next {rest.partition('RETURNING id')[2]}"  # noqa: S608


def _triggers(*tables: str) -> dict[str, Any]:
    return {
        "change": ";".join(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in tables),
        "back": ";".join(f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in tables),
    }


def _session(name: str, value: str) -> dict[str, Any]:
    """Of every new session. Unlike ALTER SYSTEM it beats what the server's command line says."""
    return {
        "change": f"ALTER ROLE ALL SET {name} = {value}",
        "back": f"ALTER ROLE ALL RESET {name}",
        "is_of_session": True,
    }


FULL_PAGES_OFF = "ALTER SYSTEM SET full_page_writes = off; SELECT pg_reload_conf(); SELECT pg_sleep(0.2)"
FULL_PAGES_ON = "ALTER SYSTEM RESET full_page_writes; SELECT pg_reload_conf(); SELECT pg_sleep(0.2)"

VARIATIONS = (
    Variation("no audit trigger on leads", **_triggers("leads")),
    Variation("no audit trigger on assignments", **_triggers("assignments")),
    Variation("no audit triggers on either", **_triggers("leads", "assignments")),
    Variation("no ix_assignments_waiting", indexes=("ix_assignments_waiting",)),
    Variation("no ix_assignments_sheet_key", indexes=("ix_assignments_sheet_key",)),
    Variation("no ix_assignment_records_lead_id", indexes=("ix_assignment_records_lead_id",)),
    Variation(
        "none of these three indexes",
        indexes=("ix_assignments_waiting", "ix_assignments_sheet_key", "ix_assignment_records_lead_id"),
    ),
    Variation(
        "waiting and sheet_key gone, fillfactor 50 (HOT)",
        "ALTER TABLE assignments SET (fillfactor = 50)",
        "ALTER TABLE assignments RESET (fillfactor)",
        indexes=("ix_assignments_waiting", "ix_assignments_sheet_key"),
    ),
    Variation(
        "uq_assignments_current not unique",
        "DROP INDEX uq_assignments_current;"
        " CREATE INDEX uq_assignments_current ON assignments (lead_id) WHERE is_current",
        "DROP INDEX uq_assignments_current;"
        " CREATE UNIQUE INDEX uq_assignments_current ON assignments (lead_id) WHERE is_current",
    ),
    Variation(
        "no unique (route, sequence) on decisions",
        "ALTER TABLE decisions DROP CONSTRAINT uq_decisions_route_id_sequence",
        "ALTER TABLE decisions ADD CONSTRAINT uq_decisions_route_id_sequence UNIQUE (route_id, sequence)",
    ),
    Variation(
        "no natural keys (lead_keys unused)",
        "UPDATE sources SET natural_keys = '{}'",
        "UPDATE sources SET natural_keys = DEFAULT",
    ),
    Variation("foreign key assignments → leads", **_fks(("assignments", "lead_id", "leads"))),
    Variation("foreign key assignments → agents", **_fks(("assignments", "agent_id", "agents"))),
    Variation("foreign key records → assignments", **_fks(("assignment_records", "assignment_id", "assignments"))),
    Variation("foreign key leads → sources", **_fks(("leads", "source_id", "sources"))),
    Variation("foreign key keys → leads", **_fks(("lead_keys", "lead_id", "leads"))),
    Variation(
        "all five foreign keys",
        **_fks(
            ("assignments", "lead_id", "leads"),
            ("assignments", "agent_id", "agents"),
            ("assignment_records", "assignment_id", "assignments"),
            ("leads", "source_id", "sources"),
            ("lead_keys", "lead_id", "leads"),
        ),
    ),
    Variation("no snapshot columns", within=lambda: _statement(assignments, "ASSIGN", _without_snapshot)),
    Variation("no decision row", within=lambda: _statement(decisions, "ADD_GIVING", _without_decision)),
    Variation("no assignment record", within=lambda: _statement(assignments, "ASSIGN", _without_record)),
    Variation("lead ids in sequence, not random", are_ids_random=False),
    Variation("wal_compression off", **_session("wal_compression", "off")),
    Variation("synchronous_commit off", **_session("synchronous_commit", "off")),
    Variation("ingest's plans always custom", **_session("plan_cache_mode", "force_custom_plan")),
    Variation("ingest's plans always generic", **_session("plan_cache_mode", "force_generic_plan")),
)


# Measuring.


@dataclass(slots=True)
class Cost:
    """Microseconds per lead, batch by batch, and WAL bytes per lead."""

    wall: list[float] = field(default_factory=list)
    #: Wall time of the handler's `save` alone: the issue's figure.
    save: list[float] = field(default_factory=list)
    python: list[float] = field(default_factory=list)
    backend: list[float] = field(default_factory=list)
    wal: list[float] = field(default_factory=list)

    def row(self) -> tuple[float, ...]:
        """The lower quartile of the times, since whoever shares the machine only adds; the median batch's WAL."""
        times = [statistics.quantiles(each, n=4)[0] for each in (self.wall, self.save, self.python, self.backend)]
        return (*times, statistics.median(self.wal))


class Meter:
    """Reads the clocks around a batch."""

    def __init__(self, admin: asyncpg.Connection[Any]) -> None:
        self._admin = admin
        self._pids: list[int] = []

    async def look_for_backends(self, application: str) -> None:
        rows = await self._admin.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = $1", application)
        self._pids = [row["pid"] for row in rows]

    async def measure(self, cost: Cost, leads: int, work: Callable[[], Any]) -> None:
        wal = await self._wal()
        backend, python, wall = self._backend_s(), time.process_time(), time.perf_counter()
        await work()
        wall, python = time.perf_counter() - wall, time.process_time() - python
        backend = self._backend_s() - backend
        for values, seconds in ((cost.wall, wall), (cost.python, python), (cost.backend, backend)):
            values.append(seconds * 1e6 / leads)
        cost.wal.append((await self._wal() - wal) / leads)

    async def _wal(self) -> int:
        return int(await self._admin.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def _backend_s(self) -> float:
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in self._pids) / 1e9


class Confirmed:
    """Stands in for `Dispatch`: what is sent is confirmed at once, and kept."""

    def __init__(self) -> None:
        self.rows: set[int] = set()
        self.sent: list[Outgoing] = []

    @property
    def confirmed(self) -> frozenset[int]:
        return frozenset(self.rows)

    def forget(self, row_ids: frozenset[int]) -> None:
        self.rows -= row_ids

    async def send(self, row: OutboxRow | None) -> None:
        if row is not None:
            self.rows.add(row.id)
            self.sent += row.messages


class Timed:
    """A handler, with a clock around its save."""

    def __init__(self, handler: Any) -> None:
        self.prepare = handler.prepare
        self._handler = handler
        self.save_s = 0.0

    async def save(self, tx: AsyncConnection, piece: object) -> Sequence[Effect]:
        started = time.perf_counter()
        effects: Sequence[Effect] = await self._handler.save(tx, piece)
        self.save_s += time.perf_counter() - started
        return effects


class Acknowledged:
    """Stands in for `Settlement`: everything must go through."""

    is_lost = is_stopping = False

    def settle(self, deliveries: Iterable[Delivery]) -> None:
        list(deliveries)

    async def retry(self, delivery: Delivery, failure: object) -> None:
        raise AssertionError(f"{delivery.body!r} failed: {failure}")

    bury = retry

    async def pause(self, seconds: float) -> bool:
        raise AssertionError("something failed; see the log")


class Service:
    """A handler in the core, without a broker."""

    def __init__(self, name: str, database: Database, handler: Any, subscription: Subscription) -> None:
        self.dispatch = Confirmed()
        self._types = [event.type for event in subscription.events]
        self.handler = Timed(handler)
        self._processor = Processor(name, database, self.handler, subscription, cast("Dispatch", self.dispatch), {})
        self._processor.begin(cast("Settlement", Acknowledged()), Deliveries())

    def read(self, messages: Iterable[Outgoing]) -> list[Message]:
        return [
            cast("Message", read(Delivery(n, "leads", m.routing_key, m.body, dict(m.headers)), self._types))
            for n, m in enumerate(messages)
        ]

    def take_sent(self) -> list[Outgoing]:
        sent, self.dispatch.sent = self.dispatch.sent, []
        return sent

    async def process(self, batch: Sequence[Message]) -> None:
        await self._processor.process(batch)


Send = Callable[[int, int, tuple[Cost, Cost], bool], Awaitable[None]]


class Bench:
    """One database, measured block by block."""

    def __init__(self, url: str, admin: asyncpg.Connection[Any]) -> None:
        self.url = url
        self.admin = admin
        self._seed = 0
        self._sessions = itertools.count(1)
        self._meter = Meter(admin)

    async def block(
        self, size: int, batches: int, *, members: int = TEN, are_ids_random: bool = True, warm_up: int = WARM_UP
    ) -> tuple[Cost, Cost]:
        """Send new leads through ingest, then what it says through the assigner."""
        await self.admin.execute("CHECKPOINT")
        costs = Cost(), Cost()
        async with self.session(members) as send:
            if warm_up:
                await send(size, warm_up, (Cost(), Cost()), are_ids_random)
            await send(size, batches, costs, are_ids_random)
        return costs

    async def compare(self, variation: Variation, *, rounds: int, batches: int) -> tuple[tuple[float, ...], ...]:
        """Give both services' cost as it is and varied, measured in turns in one session."""
        usual, varied = (Cost(), Cost()), (Cost(), Cost())
        async with AsyncExitStack() as kept:
            send = await kept.enter_async_context(self.session())
            for number in range(2 * rounds):
                is_varied = number % 2 == 1
                async with self.varied(variation) if is_varied else nullcontext():
                    if variation.is_of_session:
                        await kept.aclose()
                        send = await kept.enter_async_context(self.session())
                    are_ids_random = variation.are_ids_random or not is_varied
                    warm_up = WARM_UP if variation.is_of_session else 2
                    await send(200, warm_up, (Cost(), Cost()), are_ids_random)
                    await send(200, batches, varied if is_varied else usual, are_ids_random)
        return together(*usual), together(*varied)

    @asynccontextmanager
    async def session(self, members: int = TEN) -> AsyncIterator[Send]:
        """Give a function that sends batches through both services, whose connections stay the same."""
        await self.admin.execute("UPDATE routes SET is_enabled = (name = $1)", "ten" if members == TEN else "many")
        application = f"{APPLICATION} {next(self._sessions)}"  # the backends of the last one may still be going
        async with (
            open_database(self.url, application_name=application, server_settings=PLANS_ARE_KEPT) as ingest_database,
            open_database(self.url, application_name=application, server_settings=PLANS_ARE_KEPT) as assigner_database,
        ):
            first = Service("ingest", ingest_database, StoreLeads(ReferenceReader("IN", ZONE)), INGEST)
            then = Service("assigner", assigner_database, AssignLeads(), ASSIGNER)
            await ingest_database.probe()
            await assigner_database.probe()
            await self._meter.look_for_backends(application)

            async def send(size: int, batches: int, costs: tuple[Cost, Cost], are_ids_random: bool) -> None:
                created = first.read(self._leads(size * batches, are_ids_random=are_ids_random))
                await self._run(first, created, size, costs[0])
                accepted = then.read(m for m in first.take_sent() if m.routing_key == "lead.accepted")
                await self._run(then, accepted, size, costs[1])
                assigned = sum(m.routing_key == "lead.assigned" for m in then.take_sent())
                assert assigned >= 0.99 * len(created), f"{assigned} of {len(created)} assigned"

            yield send

    async def _run(self, service: Service, messages: Sequence[Message], size: int, cost: Cost) -> None:
        gc.collect()
        gc.freeze()  # the messages that wait are not what a service in production holds
        for start in range(0, len(messages), size):
            part = messages[start : start + size]
            before = service.handler.save_s
            await self._meter.measure(cost, len(part), partial(service.process, part))
            cost.save.append((service.handler.save_s - before) * 1e6 / len(part))
        gc.unfreeze()

    def _leads(self, count: int, *, are_ids_random: bool) -> Iterator[Outgoing]:
        """The simulator's leads, with numbers that fall anywhere in an index, as real ones do."""
        self._seed += 1
        rng = random.Random(time.time_ns())
        maker = LeadMaker(self._seed, f"{time.time_ns()}")
        for _ in range(count):
            body = json.loads(maker.make(datetime.now(UTC)).body)
            if are_ids_random:
                body["lead_id"] = f"CRM-{rng.getrandbits(64):016x}"
                body["document_number"] = f"{rng.getrandbits(40):010X}Z"
                body["mobile_number"] = f"+919{rng.randrange(10**9):09d}"
            yield Outgoing("lead.created", json.dumps(body).encode())

    @asynccontextmanager
    async def varied(self, variation: Variation) -> AsyncIterator[None]:
        definitions = [
            (await self.admin.fetchval("SELECT pg_get_indexdef($1::regclass)", name)) for name in variation.indexes
        ]
        await self.each(variation.change)
        for name in variation.indexes:
            await self.admin.execute(f"DROP INDEX {name}")
        try:
            if variation.within is None:
                yield
            else:
                with variation.within():
                    yield
        finally:
            await self.each(variation.back)
            for definition in definitions:
                await self.admin.execute(definition)

    async def each(self, statements: str) -> None:
        for statement in filter(None, statements.split(";")):
            await self.admin.execute(statement)


# Printing.

HEAD = f"{'':52} {'wall':>7} {'save':>7} {'python':>7} {'backend':>7} {'WAL B':>7}"


def line(name: str, cost: Sequence[float]) -> str:
    return f"{name:52}" + "".join(f" {value:7.0f}" for value in cost)


def together(ingest: Cost, assigner: Cost) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(ingest.row(), assigner.row(), strict=True))


async def sizes(bench: Bench, what: str, *, is_short: bool) -> None:
    print(f"\n{what}\n{HEAD}")
    for members in (TEN, MANY):
        for size, batches in BATCHES.items():
            ingest, assigner = await bench.block(size, batches // 4 if is_short else batches, members=members)
            label = f"{members:6,} members, batches of {size:3}"
            print(line(f"{label}: ingest", ingest.row()))
            print(line(f"{label}: assigner", assigner.row()))
            print(line(f"{label}: both", together(ingest, assigner)), flush=True)


async def growth(bench: Bench, *, is_short: bool) -> None:
    """From empty on, without ANALYZE: does a plan that was kept when the tables were small stay good?"""
    print(f"\nGrowing from empty, batches of 200, one session, no ANALYZE\n{HEAD}")
    batches = 50 if is_short else 300
    ingest, assigner = await bench.block(200, batches, warm_up=0)
    for start in range(0, batches, batches // 10):
        part = slice(start, start + batches // 10)
        for name, cost in (("ingest", ingest), ("assigner", assigner)):
            values = Cost(cost.wall[part], cost.save[part], cost.python[part], cost.backend[part], cost.wal[part])
            print(line(f"  after {start * 200:7,} leads: {name}", values.row()), flush=True)


async def variations(bench: Bench, names: Sequence[str], *, is_short: bool) -> None:
    print(
        "\nOne thing otherwise, batches of 200, both services, no full page images: difference to the schema as it is"
    )
    print(HEAD, flush=True)
    rounds, batches = (2, 4) if is_short else (4, 8)
    totals = []
    await bench.each(FULL_PAGES_OFF)
    for variation in VARIATIONS:
        if names and not any(name in variation.name for name in names):
            continue
        usual, varied = await bench.compare(variation, rounds=rounds, batches=batches)
        totals.append(usual)
        changed = [now - then for now, then in zip(varied, usual, strict=True)]
        print(f"{variation.name:52}" + "".join(f" {value:+7.0f}" for value in changed), flush=True)
    await bench.each(FULL_PAGES_ON)
    print(line("as it is (median of the runs)", [statistics.median(column) for column in zip(*totals, strict=True)]))


async def statements(bench: Bench) -> None:
    """Where the server's time goes, from pg_stat_statements, triggers' own statements included."""
    await bench.admin.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    await bench.admin.execute("SELECT pg_stat_statements_reset()")
    size, batches = 200, BATCHES[200]
    await bench.block(size, batches)
    leads = size * (batches + WARM_UP)
    rows = await bench.admin.fetch(
        "SELECT query, toplevel, calls, total_exec_time * 1000 AS us, total_plan_time * 1000 AS plan_us, wal_bytes"
        " FROM pg_stat_statements WHERE calls >= $1 ORDER BY total_exec_time DESC LIMIT 30",
        batches,
    )
    print(f"\nStatements at batches of 200\n{'us/lead':>8} {'plan':>6} {'WAL B':>6} {'us/call':>8} top")
    for row in rows:
        sql = " ".join(row["query"].split())[:110]
        cells = (row["us"] / leads, row["plan_us"] / leads, row["wal_bytes"] / leads, row["us"] / row["calls"])
        print("{:8.1f} {:6.1f} {:6.0f} {:8.0f}".format(*map(float, cells)), "t" if row["toplevel"] else "n", sql)


# The databases.


@contextmanager
def running_postgres(state: Path) -> Iterator[Nodes]:
    """PostgreSQL alone, of this state folder; whoever leaves last stops it."""
    nodes = Nodes(
        state,
        amqp_url="amqp://none/",
        postgres_settings={"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"},
    )
    users = Users(state / "users.lock")
    try:
        with alone(state / "start.lock"):
            users.join()
            nodes.postgres.start()
        yield nodes
    finally:
        with alone(state / "start.lock"):
            if users.leave():
                nodes.postgres.stop()


async def make(nodes: Nodes, name: str, leads: int = 0, *, anew: bool = True) -> Bench:
    """Give a migrated database, filled with so many leads; an old one of the same size is taken as it is."""
    url = urlsplit(nodes.database_url)._replace(path=f"/{name}").geturl()
    server = await connect(nodes.database_url)
    is_there = await server.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name)
    if is_there and anew:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    if is_there and not anew:
        return Bench(url, await connect(url))
    await server.execute(f"CREATE DATABASE {name}")
    await asyncio.to_thread(migrations.upgrade, url)
    admin = await connect(url)
    await admin.execute("SET session_replication_role = replica")
    await admin.execute(CONFIGURE)
    if leads:
        started = time.perf_counter()
        await add_stored(admin, 1, leads)
        print(f"filled with {leads:,} leads in {time.perf_counter() - started:.0f} s", flush=True)
    await admin.execute("SET session_replication_role = origin")
    return Bench(url, admin)


async def forget_settings(nodes: Nodes) -> None:
    """Undo what a killed run has left set."""
    server = await connect(nodes.database_url)
    for statement in ("ALTER SYSTEM RESET ALL", "ALTER ROLE ALL RESET ALL", "SELECT pg_reload_conf()"):
        await server.execute(statement)
    await server.close()


async def connect(url: str) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(url.replace("+asyncpg", ""), server_settings={"application_name": "bench admin"})


async def run(options: argparse.Namespace) -> None:
    parts = options.only or ["growth", "empty", "full", "statements", "variations"]
    with running_postgres(BENCH_STATE) as nodes:
        await forget_settings(nodes)
        if "growth" in parts:
            await growth(await make(nodes, "bench_growth"), is_short=options.short)
        if "empty" in parts:
            await sizes(await make(nodes, "bench_empty"), "Empty", is_short=options.short)
        if {"full", "statements", "variations"} & set(parts):
            full = await make(nodes, f"bench_{options.leads}", options.leads, anew=not options.keep)
            if "full" in parts:
                await sizes(full, f"{options.leads:,} leads, just after a checkpoint", is_short=options.short)
                await full.each(FULL_PAGES_OFF)
                await sizes(full, f"{options.leads:,} leads, long after a checkpoint", is_short=options.short)
                await full.each(FULL_PAGES_ON)
            if "statements" in parts:
                await statements(full)
            if "variations" in parts:
                await variations(full, options.vary, is_short=options.short)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--leads", type=int, default=2_000_000, help="how full the full database is")
    parser.add_argument("--short", action="store_true", help="fewer batches: a minute, rougher figures")
    parser.add_argument("--keep", action="store_true", help="take the full database of an earlier run as it is")
    parser.add_argument("--only", nargs="*", choices=["growth", "empty", "full", "statements", "variations"])
    parser.add_argument("--vary", nargs="*", default=[], help="only variations whose name has one of these words")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    spare_the_collector()
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
