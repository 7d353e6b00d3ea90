"""`./run bench`: how fast Leadline is, beside what others do and beside nothing at all, on one machine in one run."""

from __future__ import annotations

import argparse
import json

import structlog
import uvloop

from bench import throughput
from bench.ground import Ground, running_ground
from bench.leads import leads
from bench.results import RESULTS, merge
from bench.ways import WAYS

#: The peers are slower: they get fewer leads, so that each run takes about as long.
SHARES = {"faststream": 0.15, "celery": 0.15, "floor": 0.6}


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
    medians, ratios = throughput.medians(found), {}
    if "leadline" in medians:
        ratios = throughput.ratios(found)
    merge({"medians": {f"{name}_leads_per_s": round(rate) for name, rate in medians.items()}})
    merge({"ratios": {name: round(ratio, 2) for name, ratio in ratios.items()}})
    print(f"\n{'way':28} {'leads/s':>9} {'ours is':>9}")
    for way in ways:
        times = f"{ratios[way.name]:7.1f} x" if way.name in ratios else ""
        print(f"{way.label:28} {medians[way.name]:9,.0f} {times:>9}")


PARTS = {"compare": compare}


async def run(options: argparse.Namespace) -> None:
    with running_ground() as ground:
        for name in options.only or PARTS:
            print(f"\n== {name}", flush=True)
            await PARTS[name](ground, options)
    print(f"\nAll figures: {RESULTS}")
    print(json.dumps(json.loads(RESULTS.read_text())["ratios"]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=PARTS, help="only these parts")
    parser.add_argument("--ways", nargs="*", choices=[way.name for way in WAYS], help="only these ways")
    parser.add_argument("--leads", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
