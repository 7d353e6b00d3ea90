"""What every measurement stands on: one broker, one database server, and a fresh corner of both for each run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil

import migrations
from bench.leads import configuration
from services.cli.local.nodes import STATE, Nodes, running_nodes

BENCH_STATE = STATE / "bench"
TEMPLATE = "bench_template"
LEADER_WITHIN_MS = 5_000


class Ground:
    """The two nodes, and corners of them."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.logs = nodes.state / "log"
        self._templates: set[str] = set()

    def corner(self, name: str) -> str:
        """An empty virtual host of this name, in the place of the last one.

        It has another name each time: a quorum queue is still being deleted for a while after its virtual host is gone,
        and another of the same name cannot be declared. One that cannot be deleted yet goes the next time.
        A queue that is deleted as it elects its leader, as it does when the node has just started, ends RabbitMQ 3.10's
        supervisor of at-least-once dead lettering, for good, and no such queue can be declared any more: so there is a
        leader before anything is deleted.
        """
        user, by = urlsplit(self.nodes.amqp_url).username, '<<"bench">>'
        host = f"bench_{name}_{token_hex(4)}"
        self.nodes.broker.ctl(
            "eval",
            f'Old = [V || V <- rabbit_vhost:list_names(), string:prefix(V, "bench_{name}") /= nomatch],'
            f" [(catch ra:members(amqqueue:get_pid(Q), {LEADER_WITHIN_MS})) || V <- Old, Q <- rabbit_amqqueue:list(V)],"
            f" [(catch rabbit_vhost:delete(V, {by})) || V <- Old],"
            f' rabbit_vhost:add(<<"{host}">>, {by}),'
            f' rabbit_auth_backend_internal:set_permissions(<<"{user}">>, <<"{host}">>,'
            f' <<".*">>, <<".*">>, <<".*">>, {by}).',
        )
        return urlsplit(self.nodes.amqp_url)._replace(path=f"/{host}").geturl()

    async def database(self, name: str, *, is_empty: bool = False) -> str:
        """A database of this name made anew: with our schema, agents and routes, or empty."""
        server = await connect(self.nodes.database_url)
        await server.execute(f"DROP DATABASE IF EXISTS bench_{name} WITH (FORCE)")
        template = "template0" if is_empty else await self._template(server)
        await server.execute(f"CREATE DATABASE bench_{name} TEMPLATE {template}")
        await server.execute("CHECKPOINT")
        await server.close()
        return self.named(name)

    async def _template(self, server: asyncpg.Connection[Any]) -> str:
        if TEMPLATE not in self._templates:
            await server.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
            await server.execute(f"CREATE DATABASE {TEMPLATE}")
            url = self.named(TEMPLATE.removeprefix("bench_"))
            await asyncio.to_thread(migrations.upgrade, url)
            admin = await connect(url)
            await admin.execute(configuration())
            await admin.execute("ANALYZE agents, routes, route_members, sources, stores")
            await admin.close()
            self._templates.add(TEMPLATE)
        return TEMPLATE

    def named(self, name: str) -> str:
        """The address of the database of this name."""
        return urlsplit(self.nodes.database_url)._replace(path=f"/bench_{name}").geturl()

    def worked(self) -> Mapping[str, float]:
        """Seconds of processor time of the broker and of the database so far."""
        return {
            "Erlang": sum(map(_seconds, self._family("rabbitmq"))),
            "PostgreSQL": sum(map(_seconds, self._family("postgres"))),
        }

    def _family(self, name: str) -> Sequence[psutil.Process]:
        known = self.nodes.processes.find(name)
        process = known.find() if known is not None else None
        return [] if process is None else [process, *process.children(recursive=True)]


def _seconds(process: psutil.Process) -> float:
    """Of a process and of its children that have ended: PostgreSQL's backends do."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0


async def connect(url: str) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(url.replace("+asyncpg", ""), server_settings={"application_name": "bench admin"})


@contextmanager
def running_ground(state: Path = BENCH_STATE) -> Iterator[Ground]:
    """Both nodes, running; whoever leaves last stops them."""
    with running_nodes(state) as nodes:
        yield Ground(nodes)
