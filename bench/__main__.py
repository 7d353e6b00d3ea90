"""`./run bench`: how fast Leadline is, beside what others do and beside nothing at all, on one machine in one run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import structlog
import uvloop

from bench import budget, files, growth, latency, lots, mails, plots, sheets, throughput, trace, waiting
from bench.ground import Ground, running_ground
from bench.leads import leads
from bench.results import RESULTS, merge
from bench.throughput import Run
from bench.ways import WAYS, Leadline

#: The peers are slower: they get fewer leads, so that each run takes about as long.
SHARES = {"faststream": 0.1, "celery": 0.03, "floor": 0.4}
RATES = (50, 300, 1_000)
SHORT = 10


async def compare(ground: Ground, options: argparse.Namespace) -> None:
    """Ours, the peers and the floor in turn."""
    ways = []
    for way in WAYS:
        if options.ways and way.name not in options.ways:
            continue
        if (missing := way.missing()) is not None:
            print(f"{way.label} is left out: {missing}")
        else:
            ways.append(way)
    found = await throughput.in_turn(ground, ways, leads(options.leads), SHARES, options.rounds)
    medians = throughput.medians(found)
    ratios = throughput.ratios(found) if "leadline" in medians else {}
    work = {name: throughput.work(runs) for name, runs in found.items()}
    merge({"medians": {f"{name}_leads_per_s": round(rate) for name, rate in medians.items()}, "work_us": work})
    merge({"ratios": {name: round(ratio, 2) for name, ratio in ratios.items()}})
    print(f"\n{'way':28} {'leads/s':>9} {'ours is':>9} {'µs of processor a lead':>24}")
    for way in ways:
        times = f"{ratios[way.name]:7.1f} x" if way.name in ratios else ""
        print(f"{way.label:28} {medians[way.name]:9,.0f} {times:>9} {sum(work[way.name].values()):24.0f}")


async def steps(ground: Ground, options: argparse.Namespace) -> None:
    """The steps of Python, each alone."""
    found = await asyncio.to_thread(budget.measure)
    for step, us in found.items():
        print(f"{step:40} {us:6.1f} µs")
    merge({"steps_us": {step: round(us, 1) for step, us in found.items()}})


async def latencies(ground: Ground, options: argparse.Namespace) -> None:
    """Percentiles at fixed rates."""
    print(f"{'leads/s':>8} {'leads':>7} {'p50 ms':>8} {'p95':>8} {'p99':>8} {'most':>8}")
    for each in await latency.measure(ground, RATES, 3 if options.short else 20):
        times = f"{each.p50:8.1f} {each.p95:8.1f} {each.p99:8.1f} {each.most:8.1f}"
        print(f"{each.rate:8,} {each.leads:7,} {times} {throughput.in_words(each.worked)}", flush=True)
        merge({"latency_ms": {str(each.rate): asdict(each)}})


async def trace_one(ground: Ground, options: argparse.Namespace) -> None:
    """Where the time of a lead goes that comes alone."""
    found = await trace.measure(ground, 20 if options.short else 200)
    before = 0.0
    for step, ms in found.items():
        print(f"{step:40} {ms:7.2f} ms {ms - before:+7.2f}")
        before = ms
    merge({"trace_ms": {step: round(ms, 2) for step, ms in found.items()}})


async def lot(ground: Ground, options: argparse.Namespace) -> None:
    """A lot from its request to its last event."""
    count = _fewer(50_000, options)
    seconds = await lots.measure(ground, count)
    print(f"a lot of {count:,} leads over {lots.AGENTS} agents: {seconds:.1f} s from request to the last event")
    merge({"medians": {f"lot_of_{count}_s": round(seconds, 2)}})


async def sheet(ground: Ground, options: argparse.Namespace) -> None:
    """Sheets against the plain ReportLab way."""
    made = [sheets.invented(group, 25) for group in range(_fewer(100, options))]
    workers = min(4, os.cpu_count() or 1)
    rates = await sheets.compare(made, 1 if options.short else options.rounds, workers)
    merge({"medians": {"sheets_per_s": round(rates[1], 1), "plain_sheets_per_s": round(rates[0], 1)}})
    merge({"ratios": {"sheets": round(rates[1] / rates[0], 2)}})


async def imports(ground: Ground, options: argparse.Namespace) -> None:
    """A big CSV, up to publishing."""
    found = await files.measure(ground, _fewer(options.rows, options))
    print(
        f"import of {found.rows:,} rows: {found.rows_per_s:,.0f} rows/s, {found.worked_us:.0f} µs of processor a row,"
        f" at most {found.resident_mb:.0f} MB"
    )
    merge({"medians": {"import_rows_per_s": round(found.rows_per_s), "import_mb": round(found.resident_mb)}})


async def mail(ground: Ground, options: argparse.Namespace) -> None:
    """The notifier against a bare SMTP loop."""
    found = await mails.measure(ground, _fewer(500, options))
    print(f"mails: notifier {found.notifier:.0f}/s, bare loop {found.bare:.0f}/s")
    merge({"medians": {"mails_per_s": round(found.notifier, 1), "bare_mails_per_s": round(found.bare, 1)}})


async def verify(ground: Ground, options: argparse.Namespace) -> None:
    """`decisions verify` over what a run has left."""
    count = _fewer(20_000, options)
    way = Leadline()
    await throughput.measure(ground, way, leads(count))
    environment = {**os.environ, "LEADLINE_DATABASE_URL": ground.named(way.name)}
    program = Path(sys.executable).with_name("leadline")
    began = time.perf_counter()
    ran = await asyncio.create_subprocess_exec(
        program, "decisions", "verify", "--json", env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await ran.communicate()
    seconds, told = time.perf_counter() - began, json.loads(output)
    print(
        f"decisions verify: {told['decisions']:,} decisions on {told['leads']:,} leads in {seconds:.1f} s,"
        f" {told['decisions'] / seconds:,.0f} decisions and {told['leads'] / seconds:,.0f} leads a second"
    )
    merge({"medians": {"verified_leads_per_s": round(told["leads"] / seconds)}})


async def memory(ground: Ground, options: argparse.Namespace) -> None:
    """Consumers with many messages waiting."""
    count = _fewer(200_000, options)
    for each in await waiting.measure(ground, count):
        print(
            f"{each.service:10} {count:,} waiting: {each.begin:.0f} MB after 5 s, {each.end:.0f} at the end,"
            f" {each.most:.0f} at most"
        )
        merge({"memory_mb": {each.service: asdict(each)}})


async def grow(ground: Ground, options: argparse.Namespace) -> None:
    """Batch size, agents, stored leads; with the picture."""
    some = leads(options.leads)
    _show("batches", await growth.with_batches(ground, some, (1, 10, 50, 200, 500)[2 * options.short :]))
    _show("agents", await growth.with_agents(ground, some))
    _show(
        "stored", await growth.with_stored(ground, options.leads, [_fewer(count, options) for count in options.stored])
    )
    try:
        print(f"picture: {plots.draw()}")
    except ModuleNotFoundError as missing:
        print(f"no picture: {missing.name} not installed: pip install 'leadline[bench]'")


async def replicas(ground: Ground, options: argparse.Namespace) -> None:
    """Assigner replicas on two routes."""
    _show("replicas", await growth.with_replicas(ground, options.leads, (1, 2, 4)))


def _show(what: str, found: Mapping[int, Run]) -> None:
    first = next(iter(found.values())).rate
    for size, run in found.items():
        change = run.rate / first * 100 - 100
        print(f"  {what} {size:9,}: {run.rate:8,.0f} leads/s {change:+5.0f} % {throughput.parts(run)}", flush=True)
    merge({what: {str(size): round(run.rate) for size, run in found.items()}})


def _fewer(count: int, options: argparse.Namespace) -> int:
    return count // SHORT if options.short else count


PARTS: Mapping[str, Callable[[Ground, argparse.Namespace], Awaitable[None]]] = {
    "compare": compare,
    "steps": steps,
    "latency": latencies,
    "trace": trace_one,
    "lot": lot,
    "sheets": sheet,
    "import": imports,
    "mails": mail,
    "verify": verify,
    "memory": memory,
    "growth": grow,
    "replicas": replicas,
}


async def run(options: argparse.Namespace) -> list[str]:
    """Run the parts one after the other, and give those that failed: the others' figures are worth having."""
    failed = []
    with running_ground() as ground:
        for name in options.only or PARTS:
            load, began = os.getloadavg()[0], time.perf_counter()
            print(f"\n== {name} (load average {load:.1f})", flush=True)
            try:
                await PARTS[name](ground, options)
            except Exception:  # told at once, and again by the exit code
                traceback.print_exc()
                failed.append(name)
            print(f"   {time.perf_counter() - began:.0f} s", flush=True)
    print(f"\nAll figures: {RESULTS}")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=PARTS, help="only these parts")
    parser.add_argument("--ways", nargs="*", choices=[way.name for way in WAYS], help="compare only these ways")
    parser.add_argument("--leads", type=int, default=30_000, help="of our own way; the slower ways get fewer")
    parser.add_argument("--rounds", type=int, default=3, help="how often the ways take turns")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the file that is imported")
    parser.add_argument("--stored", type=int, nargs="*", default=[0, 1_000_000, 5_000_000], help="leads that are there")
    parser.add_argument("--short", action="store_true", help="a tenth of all but the leads: whether it works")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    if failed := uvloop.run(run(parser.parse_args())):
        sys.exit(f"these parts failed, see above: {', '.join(failed)}")


if __name__ == "__main__":
    main()
