"""What the services say of themselves while they work."""

from __future__ import annotations

from functools import partial

from tests.e2e.test_outages import all_are_ready
from tests.feeding import a_lead, everything_is_through, leads
from tests.stack import ALL, Stack
from tests.waiting import eventually

COUNT = 5


def value(metrics: str, name: str) -> float | None:
    """The value of a metric with its labels."""
    return next((float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(f"{name} ")), None)


async def test_leads_are_counted_where_they_go(stack: Stack) -> None:
    """Each service has handled what came to it; a message that is bad is counted as dead."""
    await stack.start(*ALL)
    await stack.publish("lead.created", *leads(COUNT))
    await eventually(lambda: everything_is_through(stack, COUNT), within=60)
    await stack.publish("lead.created", a_lead("", source=None), a_lead(0))
    await eventually(lambda: stack.count("dead_letters"), within=60)

    replicas = [stack.one(name) for name in ALL]
    await eventually(partial(all_are_ready, stack, replicas), within=30)
    said = {replica.name: (await stack.probe(replica, "metrics"))[1] for replica in replicas}
    for name in ("assigner", "documents", "notifier"):
        assert value(said[name], f'leadline_messages_handled_total{{queue="{name}"}}') == COUNT, said[name]
        assert value(said[name], f'leadline_consuming{{queue="{name}"}}') == 1
    assert value(said["ingest"], 'leadline_messages_handled_total{queue="ingest"}') == COUNT + 1
    assert value(said["ingest"], 'leadline_messages_dead_total{queue="ingest"}') == 1
    assert value(said["assigner"], "leadline_lead_assignment_seconds_count") == COUNT
    assert 0 < (value(said["assigner"], "leadline_lead_assignment_seconds_sum") or 0) < 60 * COUNT
    assert (value(said["documents"], 'leadline_transactions_total{queue="documents"}') or 0) >= 1
    assert value(said["ingest"], "leadline_outbox_rows") is not None


async def test_a_port_that_is_taken_is_one_line(stack: Stack) -> None:
    await stack.start("ingest")
    taken = stack.health_port(stack.one("ingest"))
    ran = await stack.run("service", "notifier", LEADLINE_HEALTH_PORT=str(taken))
    assert (ran.code, ran.output) == (2, "")
    assert "LEADLINE_HEALTH_PORT" in ran.errors
    assert "Traceback" not in ran.errors
