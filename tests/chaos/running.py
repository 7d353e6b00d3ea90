"""One chaos run: a world, a load, a schedule of faults, quiet, and the checks."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos import load, schedule
from tests.chaos.checking import Excuses, Expected, Finding, accepted_mails, check_all, repeats
from tests.chaos.faults import Havoc, Hit
from tests.chaos.feeding import Feeder
from tests.chaos.quiet import LOOK_EVERY_S, become_quiet, mails_to_ask_for
from tests.chaos.schedule import CONSUMERS, DATABASE, LOT_ROUTES, REPLICAS
from tests.chaos.world import world
from tests.stack import Stack
from tests.waiting import eventually

#: Quorum queues that are younger may not survive a kill of the broker.
SETTLED_S = 3.0
PATIENCE_S = 180.0
SWEEP_EVERY_S = "5"
#: A lead a second and core, at the worst that was seen.
PATIENCE_PER_LEAD_S = 0.15

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. The same seed, leads, seconds and kills are the same run, as far as machines repeat themselves."""

    seed: int
    leads: int
    duration_s: float
    kills: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was done to the system, and what was found."""

    seed: int
    leads: int
    messages: int
    kills: int
    kills_by_victim: dict[str, int]
    freezes: int
    changes: int
    lots: int
    unacked_at_kills: int
    transactions_at_kills: int
    events_sent_again: int
    redelivered_mails: int
    assigned: int
    sheets: int
    mails: int
    dead_letters: int
    faults_s: float
    quiet_s: float
    checks_s: float
    hits: tuple[Hit, ...]
    findings: tuple[Finding, ...]


async def run(stack: Stack, plan: Plan, say: Say) -> Report:
    """Start everything on a stack that is laid out, let the faults loose under the load, and check what is left."""
    made = load.make(plan.seed, plan.leads, plan.duration_s)
    faults = schedule.plan(plan.seed, plan.duration_s, plan.kills)
    await _begin(stack)
    say(f"seed {plan.seed}: {plan.leads:,} leads, {len(made.messages):,} messages, {len(faults)} faults")
    feeder, havoc, began = Feeder(stack), Havoc(stack), time.monotonic()
    await asyncio.gather(feeder.feed(made.messages), havoc.wreak(faults))
    faults_s = time.monotonic() - began
    for route in LOT_ROUTES:
        await havoc.run_lot(route, "chaos-last")
    say(f"faults are over after {faults_s:.0f} s")
    findings, quiet_s = await _settle(stack, plan, say)
    expected = Expected(made.leads, made.closed, made.updated, made.malformed, frozenset(havoc.lots))
    checking = time.monotonic()
    findings += await check_all(stack, expected, excuses_of(havoc))
    figures = await _figures(stack)
    kills = [hit for hit in havoc.hits if hit.what == "kill"]
    return Report(
        seed=plan.seed,
        leads=plan.leads,
        messages=feeder.confirmed,
        kills=len(kills),
        kills_by_victim=dict(Counter(hit.victim for hit in kills)),
        freezes=sum(hit.what == "freeze" and hit.transactions is not None for hit in havoc.hits),
        changes=sum(hit.what == "change" for hit in havoc.hits),
        unacked_at_kills=sum(hit.unacked or 0 for hit in kills),
        transactions_at_kills=sum(hit.transactions or 0 for hit in kills),
        events_sent_again=feeder.repeated,
        faults_s=round(faults_s, 1),
        quiet_s=round(quiet_s, 1),
        checks_s=round(time.monotonic() - checking, 1),
        hits=tuple(havoc.hits),
        findings=tuple(findings),
        **figures,
    )


def excuses_of(havoc: Havoc) -> Excuses:
    """What the kills may have left behind.

    A mail comes twice if its notifier dies, or loses its transaction, between the final dot and the commit: when it is
    killed, when it is frozen there for longer than the server waits, when the database dies.
    """
    databases = havoc.killed(DATABASE)
    return Excuses(
        half_files=havoc.killed("documents"),
        repeats=havoc.killed("notifier") + havoc.frozen("notifier") + REPLICAS * databases,
    )


async def _begin(stack: Stack) -> None:
    file = stack.folder / "world.yaml"
    file.write_text(world())
    applied = await stack.run("config", "apply", str(file), "--json", within=120)
    assert applied.code == 0, applied.errors
    stack.extra["CHECK_INTERVAL"] = SWEEP_EVERY_S
    await stack.start(*CONSUMERS, replicas=REPLICAS)
    await stack.start("scheduler")
    await asyncio.sleep(SETTLED_S)  # the queues' age


async def _settle(stack: Stack, plan: Plan, say: Say) -> tuple[list[Finding], float]:
    """Wait until nothing is on its way, and nobody waits whom the next sweep would let through."""
    began = time.monotonic()
    within_s = PATIENCE_S + plan.leads * PATIENCE_PER_LEAD_S
    await eventually(lambda: _all_run(stack), within=within_s)
    left = await become_quiet(stack, within_s, say)
    while not left and await mails_to_ask_for(stack) and time.monotonic() < began + within_s:
        await asyncio.sleep(LOOK_EVERY_S)
        left = await become_quiet(stack, within_s, say)
    left = left or await become_quiet(stack, within_s, say)  # a sweep may have come between the two looks
    found = [Finding("nothing is on its way", f"after {within_s:.0f} s there are {left}")] if left else []
    return found, time.monotonic() - began


def _all_run(stack: Stack) -> bool:
    return all(replica.is_running for replica in stack.replicas)


async def _figures(stack: Stack) -> dict[str, int]:
    arrived = await asyncio.to_thread(accepted_mails, stack.mail)
    sent = await stack.rows(
        "SELECT message_id, email_address FROM notification_deliveries JOIN notifications ON id = notification_id"
        " WHERE notification_deliveries.status = 'sent'"
    )
    return {
        "lots": await stack.count("lots"),
        "assigned": await stack.count("assignments WHERE sheet_key IS NOT NULL"),
        "sheets": await stack.count("documents"),
        "mails": sum(arrived.values()),
        "dead_letters": await stack.count("dead_letters"),
        "redelivered_mails": repeats({(row[0], row[1].casefold()) for row in sent}, arrived),
    }
