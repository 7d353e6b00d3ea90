"""`./run bench` keeps working: each way brings a few leads from the first queue to the last."""

from __future__ import annotations

import pytest

from bench import budget
from bench.ground import Ground
from bench.leads import leads
from bench.queues import Sample
from bench.throughput import Run, measure, rate, ratios
from bench.ways import WAYS, Way
from services.cli.local.nodes import Nodes

#: More than come in one look at the last queue.
LEADS = 1_500


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
async def test_a_way_brings_all_leads_to_the_last_queue(way: Way, nodes: Nodes) -> None:
    """Every stage a process of its own; the peers only where they are installed."""
    if not nodes.broker.is_ours:
        pytest.skip("the bench makes virtual hosts, which only a broker of ours lets it do")
    if (missing := way.missing()) is not None:
        pytest.skip(f"{way.label}: {missing}")

    run = await measure(Ground(nodes), way, leads(LEADS))

    assert run.leads == LEADS
    assert run.rate > 0
    assert set(run.worked) >= {"Erlang", "PostgreSQL"}


def test_the_steps_are_those_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a call into a service: one that changes must change here."""
    monkeypatch.setattr(budget, "COUNT", 10)
    monkeypatch.setattr(budget, "RUNS", 1)

    assert all(us > 0 for us in budget.measure().values())


def test_the_rate_leaves_out_the_warm_up() -> None:
    """From the first look past a twentieth of all to the last."""
    samples = [Sample(0.0, 0), Sample(9.0, 10), Sample(10.0, 100), Sample(12.0, 600), Sample(14.0, 1_100)]

    assert rate(samples) == 250


def test_ratios_are_taken_round_by_round() -> None:
    """What slows a whole round down slows all its ways."""

    def runs(*rates: float) -> list[Run]:
        return [Run(1, 1.0, each, {}, {}) for each in rates]

    assert ratios({"leadline": runs(100, 10, 100), "floor": runs(50, 5, 20)}) == {"floor": 2.0}
