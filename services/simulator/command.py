"""`leadline simulate`."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from typing import Annotated

import structlog
import typer
import uvloop

from services.simulator.leads import Vocabulary
from services.simulator.run import AtOnce, AtRate, InCycles, Plan, SimulationSummary, simulate
from shared.messaging.publisher import open_publisher
from shared.observability import configure_observability
from shared.process import stop_on_signals
from shared.settings import Settings, load_settings

log = structlog.get_logger()


def simulate_command(  # noqa: PLR0913  # a parameter an option
    *,
    rate: Annotated[float | None, typer.Option(help="Leads per second, instead of in cycles.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many; without --rate or --interval, as fast as can be.")
    ] = None,
    duplicates: Annotated[float, typer.Option(help="Per cent that are an earlier lead again.")] = 0,
    malformed: Annotated[float, typer.Option(help="Per cent that are broken, in eight ways by turns.")] = 0,
    seed: Annotated[int | None, typer.Option(help="The same seed and run id give the same leads.")] = None,
    run_id: Annotated[str, typer.Option(help="Goes into the lead ids, to keep runs of one seed apart.")] = "",
    interval: Annotated[
        float | None, typer.Option(min=0, help="Seconds between cycles. [SIMULATION_INTERVAL, 10]")
    ] = None,
    leads_min: Annotated[int | None, typer.Option("--min", help="Fewest leads a cycle. [LEADS_MIN, 1]")] = None,
    leads_max: Annotated[int | None, typer.Option("--max", help="Most leads a cycle. [LEADS_MAX, 5]")] = None,
    business_line: Annotated[
        list[str] | None, typer.Option(help="Use this configured business line; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Send synthetic leads to the broker: 1 to 5 a cycle until Ctrl-C, or for load with --rate and --count."""
    try:
        settings = load_settings()
        plan = Plan(
            seed=secrets.randbits(32) if seed is None else seed,
            pace=_pace(settings, rate, count, interval, leads_min, leads_max),
            run_id=run_id,
            count=count,
            duplicates=duplicates,
            malformed=malformed,
            vocabulary=Vocabulary(business_lines=business_line or ()),
        )
    except ValueError as error:  # SettingsError among them
        typer.echo(f"simulate: {error}", err=True)
        raise typer.Exit(2) from None
    configure_observability("simulator", settings)
    summary = uvloop.run(_simulate_until_signalled(settings.amqp_url, plan))
    typer.echo(_as_json(summary, plan) if as_json else _in_words(summary, plan))


def _pace(
    settings: Settings,
    rate: float | None,
    count: int | None,
    interval: float | None,
    leads_min: int | None,
    leads_max: int | None,
) -> InCycles | AtRate | AtOnce:
    has_cycles = not (interval is None and leads_min is None and leads_max is None)
    if rate is not None:
        if has_cycles:
            raise ValueError("--rate goes without --interval, --min and --max")
        return AtRate(rate)
    if count is not None and not has_cycles:
        return AtOnce()
    return InCycles(
        settings.simulation_interval if interval is None else interval,
        settings.leads_min if leads_min is None else leads_min,
        settings.leads_max if leads_max is None else leads_max,
    )


async def _simulate_until_signalled(amqp_url: str, plan: Plan) -> SimulationSummary:
    stop = stop_on_signals()
    log.info("simulator.started", seed=plan.seed, run_id=plan.run_id, count=plan.count)
    async with open_publisher(amqp_url, "simulator") as publisher:
        summary = await simulate(publisher.publish, plan, stop)
    log.info("simulator.stopped", sent=summary.sent)
    return summary


def _as_json(summary: SimulationSummary, plan: Plan) -> str:
    return json.dumps(asdict(summary) | {"seed": plan.seed, "run_id": plan.run_id})


def _in_words(summary: SimulationSummary, plan: Plan) -> str:
    cycles = f" in {summary.cycles:,} cycles" if summary.cycles else ""
    return (
        f"{summary.sent:,} sent{cycles} within {summary.seconds:,.1f} s: {summary.good:,} good, "
        f"{summary.duplicates:,} duplicates, {summary.malformed:,} malformed (seed {plan.seed})"
    )
