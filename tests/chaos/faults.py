"""Carries out a schedule's faults on a stack, and notes what each of them hit."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import psutil

from services.cli.local.failures import LocalError
from tests.chaos.schedule import BROKER, Configure, Fault, Freeze, Kill, KillServer, Planned, RunLot
from tests.chaos.world import changed
from tests.replica import Replica
from tests.stack import Stack
from tests.waiting import eventually

#: By the port of a client's connection: messages delivered to it and not settled yet, exactly as its channel knows.
UNACKED = (
    "[{P, U} || [{connection, C}, {messages_unacknowledged, U}] <- "
    "rabbit_channel:info_all([connection, messages_unacknowledged]), "
    "[{pid, D}, {peer_port, P}] <- rabbit_networking:connection_info_all([pid, peer_port]), C =:= D]"
)
OPEN = """
    SELECT client_port, application_name FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND application_name LIKE 'leadline %' AND datname = current_database()
      AND (backend_xid IS NOT NULL OR state = 'idle in transaction')
"""
#: What asyncpg says when the server goes away; in the middle of a query also that it does not know its own state.
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
FIND_WITHIN_S = 20.0
CHANGE_WITHIN_S = 180.0


@dataclass(frozen=True, slots=True)
class Hit:
    """What a fault was done to. `unacked`: messages that the victim held; `transactions`: its open ones."""

    at_s: float
    what: str
    victim: str
    unacked: int | None = None
    transactions: int | None = None


class Havoc:
    """The faults of one run."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._alone = {name: asyncio.Lock() for name in ("broker", "database", "looking", "changing")}
        self._began = asyncio.get_running_loop().time()
        self.hits: list[Hit] = []
        self.lots: set[tuple[str, str]] = set()

    async def wreak(self, faults: Sequence[Planned]) -> None:
        """Begin each fault when it is due, whatever is still going on; return when all are over."""
        async with asyncio.TaskGroup() as under_way:
            for planned in faults:
                await asyncio.sleep(self._began + planned.at_s - asyncio.get_running_loop().time())
                under_way.create_task(self._carry_out(planned.fault))

    def killed(self, victim: str) -> int:
        return sum(hit.what == "kill" and hit.victim == victim for hit in self.hits)

    def frozen(self, victim: str) -> int:
        return sum(hit.what == "freeze" and hit.victim == victim for hit in self.hits)

    async def _carry_out(self, fault: Fault) -> None:
        match fault:
            case Kill(service, number, down_s):
                await self._kill(service, self._stack.of(service)[number], down_s)
            case KillServer(server, down_s):
                await self._kill_server(server, down_s)
            case Freeze(service, for_s):
                await self._freeze(service, for_s)
            case Configure(change):
                await self._configure(change)
            case RunLot(route, key, times):
                await self.run_lot(route, key, times)

    async def _kill(self, service: str, replica: Replica, down_s: float) -> None:
        """Frozen first: then what it holds can be counted while it cannot let go of any of it."""
        with self._stack.unattended(replica):
            replica.freeze()
            ports = ports_of(replica)
            unacked, transactions = await self._held(ports)
            replica.kill()
            self._note("kill", service, unacked, transactions)
            await asyncio.sleep(down_s)  # so long it is away

    async def _kill_server(self, server: str, down_s: float) -> None:
        node = self._stack.nodes.broker if server == BROKER else self._stack.nodes.postgres
        async with self._alone[server]:
            unacked, transactions = await self._held(None)
            await asyncio.to_thread(node.kill)
            self._note("kill", server, unacked, transactions)
            await asyncio.sleep(down_s)  # the outage itself
            await asyncio.to_thread(node.start)

    async def _freeze(self, service: str, for_s: float) -> None:
        replica = await self._freeze_in_transaction(service)
        if replica is not None:
            await asyncio.sleep(for_s)  # so long it stands still
            replica.thaw()

    async def _freeze_in_transaction(self, service: str) -> Replica | None:
        """Stop a replica while it has a transaction open, which is looked at again once it stands still."""
        deadline = asyncio.get_running_loop().time() + FIND_WITHIN_S
        while asyncio.get_running_loop().time() < deadline:
            try:
                async with self._database() as connection:
                    if (replica := await self._caught(connection, service)) is not None:
                        return replica
            except AWAY:
                await asyncio.sleep(0.2)  # the database is away just now
        self._note("freeze", f"nobody ({service} had no transaction open)")
        return None

    async def _caught(self, connection: Any, service: str) -> Replica | None:
        by_port = {port: replica for replica in self._stack.of(service) for port in ports_of(replica)}
        looked = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < looked + 1:
            for row in await connection.fetch(OPEN):
                replica = by_port.get(row["client_port"])
                if replica is None or not replica.is_wanted:
                    continue
                replica.freeze()
                try:
                    still = [each["client_port"] for each in await connection.fetch(OPEN)]
                except AWAY:
                    replica.thaw()
                    raise
                if row["client_port"] in still:
                    self._note("freeze", service, None, sum(by_port.get(port) is replica for port in still))
                    return replica
                replica.thaw()
            await asyncio.sleep(0)
        return None

    async def _configure(self, change: str) -> None:
        """As an operator would: again while database or broker do not answer."""
        file = self._stack.folder / f"{change.replace(' ', '-')}.yaml"
        file.write_text(changed(change))
        async with self._alone["changing"]:
            await eventually(lambda: self._is_applied(str(file)), within=CHANGE_WITHIN_S)
        self._note("change", change)

    async def _is_applied(self, file: str) -> bool:
        ran = await self._stack.run("config", "apply", file, "--json", within=CHANGE_WITHIN_S)
        assert ran.code == 0, ran.errors
        return True

    async def run_lot(self, route: str, key: str, times: int = 1) -> None:
        """Ask for a lot, as the scheduler would."""
        request = {
            "route": route,
            "lot_key": key,
            "occurred_at": datetime.now(UTC).isoformat(),
            "triggered_by": "chaos",
        }
        await self._stack.publish("lot.requested", *[request] * times)
        self.lots.add((route, key))
        self._note("lot", route)

    async def _held(self, ports: set[int] | None) -> tuple[int | None, int | None]:
        """How many messages and transactions the connections from these ports hold (None: all of ours).

        None for what cannot be asked, because it is down itself.
        """
        async with self._alone["looking"]:
            transactions = await self._transactions()
            unacked = (
                await unacked_by_port(self._stack) if not self._alone["broker"].locked() or ports is None else None
            )
        return _sum(unacked, ports), _sum(transactions, ports)

    async def _transactions(self) -> Counter[int] | None:
        try:
            async with self._database() as connection:
                return Counter(row["client_port"] for row in await connection.fetch(OPEN))
        except AWAY:
            return None

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self._stack.database_url.replace("+asyncpg", ""), timeout=5)
        try:
            yield connection
        finally:
            connection.terminate()

    def _note(self, what: str, victim: str, unacked: int | None = None, transactions: int | None = None) -> None:
        at_s = round(asyncio.get_running_loop().time() - self._began, 1)
        self.hits.append(Hit(at_s, what, victim, unacked, transactions))


def ports_of(replica: Replica) -> set[int]:
    """The local ports of a process's connections, which is how the servers know it."""
    try:
        return {each.laddr.port for each in psutil.Process(replica.pid).net_connections("tcp") if each.raddr}
    except psutil.NoSuchProcess:
        return set()


async def unacked_by_port(stack: Stack) -> Counter[int] | None:
    """By the port of each client's connection how many messages it holds; None while the broker does not answer."""
    try:
        told = await asyncio.to_thread(stack.nodes.broker.evaluate, UNACKED)
    except (LocalError, subprocess.TimeoutExpired):
        return None
    found: Counter[int] = Counter()
    for port, count in re.findall(r"\{(\d+), *(\d+)\}", told):
        found[int(port)] += int(count)
    return found


def _sum(counts: Counter[int] | None, ports: set[int] | None) -> int | None:
    if counts is None:
        return None
    return sum(count for port, count in counts.items() if ports is None or port in ports)
