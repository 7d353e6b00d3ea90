"""`./run chaos`: a run on nodes, a database, a virtual host and a folder of its own; exit code 1 on findings."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import migrations
from services.cli import output
from services.cli.local.nodes import TEST_STATE, Nodes, running_nodes
from shared.observability import silence_libraries
from tests.chaos.running import Plan, Report, run
from tests.conftest import VirtualHosts, named, sql
from tests.replica import remove_orphans
from tests.stack import Stack

STATE = TEST_STATE / "chaos"
DATABASE = "leadline_chaos"


def main() -> int:
    """Run once; what is left behind stays for whoever looks into a finding, and goes with the next run."""
    asked = _asked()
    plan = Plan(asked.seed, asked.leads, asked.minutes * 60, asked.kills)
    remove_orphans()
    silence_libraries()
    with running_nodes(STATE) as nodes, _place(nodes) as (database_url, amqp_url, folder):
        stack = Stack(folder, nodes, database_url, amqp_url)
        report = asyncio.run(_run(stack, plan))
    show(report, as_json=asked.json, folder=folder)
    return 1 if report.findings else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="How long faults and load go on.")
    parser.add_argument("--seed", type=int, default=1, help="The same seed is the same schedule and the same load.")
    parser.add_argument("--leads", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=20, help="Of services, the broker and the database together.")
    parser.add_argument("--json", action="store_true", help="Print the report as one line of JSON.")
    return parser.parse_args()


@contextmanager
def _place(nodes: Nodes) -> Iterator[tuple[str, str, Path]]:
    folder = STATE / "last"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    database_url = named(nodes.database_url, DATABASE)
    if nodes.postgres.is_ours:
        sql(nodes.database_url, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    sql(nodes.database_url, f"CREATE DATABASE {DATABASE}")
    migrations.upgrade(database_url)
    vhosts = VirtualHosts(nodes)
    yield database_url, named(nodes.amqp_url, vhosts.take()), folder
    vhosts.remove_done()


async def _run(stack: Stack, plan: Plan) -> Report:
    try:
        await stack.lay_out()
        return await run(stack, plan, lambda words: print(f"chaos: {words}", file=sys.stderr, flush=True))
    finally:
        stack.end()
        await stack.disconnect()


def show(report: Report, *, as_json: bool, folder: Path) -> None:
    """For people the hits and the findings as tables."""
    output.show(report, as_json=as_json)
    if report.findings:
        print(f"chaos: {len(report.findings)} findings; logs, sheets and mails: {folder}", file=sys.stderr)
    elif not as_json:
        print("chaos: every check finds nothing", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
