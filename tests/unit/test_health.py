"""Readiness and metrics are made of facts."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from shared.events import Event, LeadAccepted, LeadAssigned
from shared.health import SEEN_WITHIN_S, Health
from shared.messaging.facts import (
    Consuming,
    Fact,
    NotConsuming,
    OutboxSeen,
    PublishingFails,
    QueueSeen,
    Saved,
    Settled,
    Stuck,
    Taken,
    Waits,
)
from shared.messaging.settling import Settlement
from shared.messaging.waiting import Waiting
from shared.metrics import Metrics
from shared.outage import DependencyGoneError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("facts", "problems"),
    [
        ([Consuming("ingest")], []),
        (
            [Consuming("ingest"), NotConsuming("ingest", "the channel was lost")],
            ["ingest: not consuming: the channel was lost"],
        ),
        ([Consuming("ingest"), Stuck("ingest", "for 900 s")], ["ingest: not consuming: for 900 s"]),
        ([Consuming("ingest"), NotConsuming("ingest", "lost"), Consuming("ingest")], []),
        ([Consuming("ingest"), Waits("ingest", "database to answer")], ["ingest: waiting for database to answer"]),
        ([Consuming("ingest"), Waits("ingest", "database to answer"), Waits("ingest", None)], []),
        ([PublishingFails("ingest", "no disk")], ["publishing fails: no disk"]),
        ([PublishingFails("ingest", "no disk"), PublishingFails("ingest", None)], []),
        ([PublishingFails("ingest", "no disk"), OutboxSeen(3, 1.0)], ["publishing fails: no disk"]),
        ([PublishingFails("ingest", "no disk"), OutboxSeen(0, 0.0)], []),  # another process has sent it
    ],
)
async def test_readiness_says_in_words_what_is_wrong(facts: list[Fact], problems: list[str]) -> None:
    health = Health()
    for fact in facts:
        health.observe(fact)
    assert await health.problems() == problems


async def test_what_the_broker_has_not_told_for_long_is_not_known() -> None:
    clock = Clock()
    health = Health(now=clock)
    health.observe(Consuming("ingest"))
    clock.now += SEEN_WITHIN_S + 1
    assert await health.problems() == ["ingest: the broker has not told of it for 76 s"]
    health.observe(QueueSeen("ingest", 0, 1))
    assert await health.problems() == []


async def test_a_dependency_is_asked_and_an_open_question_is_not_asked_twice() -> None:
    """One that hangs is told after two seconds, without being cancelled."""
    answer, asked = asyncio.Event(), []

    async def gone() -> None:
        raise DependencyGoneError("database", "no route")

    async def hangs() -> None:
        asked.append(1)
        await answer.wait()

    health = Health()
    health.depends_on("database", gone)
    assert await health.problems() == ["database does not answer: DependencyGoneError"]
    health.depends_on("database", hangs)
    first = [await health.problems() for _ in range(2)]
    assert first == [["database does not answer within 2 s"]] * 2
    assert asked == [1]
    answer.set()
    assert await health.problems() == []


class Settling(Settlement):
    """A channel that is lost at once: every wait on it is given up."""

    def __init__(self) -> None:
        pass

    async def pause(self, seconds: float) -> bool:
        return False


async def test_a_wait_that_ends_with_its_channel_is_not_told_for_ever() -> None:
    """The next channel may bring nothing that would show that the dependency is back."""
    health = Health()
    health.observe(Consuming("ingest"))
    waiting = Waiting("ingest", 60, {}, health)
    waiting.begin(Settling())
    assert not await waiting.for_dependency("database", DependencyGoneError("database", "no route"))
    assert await health.problems() == ["ingest: waiting for database to answer"]
    waiting.begin(Settling())
    assert await health.problems() == []


def assigned(lead_id: str, at: datetime) -> LeadAssigned:
    return LeadAssigned(
        lead_id=lead_id,
        revision=1,
        occurred_at=at,
        agent_code="0001",
        agent_name="Ann Example",
        source="META",
        route="r",
        assignment_id=1,
        assigned_at=at,
        sheet_key="k",
        page_group_code="L2603010001",
        rowid=1,
        lead_assignment_code="c",
    )


def test_facts_become_metrics() -> None:
    came: list[Event] = [
        LeadAccepted(lead_id="L1", revision=1, since=NOW),
        LeadAccepted(lead_id="L2", revision=2),  # changed, not new
        LeadAccepted(lead_id="L3", revision=1, since=NOW + timedelta(hours=1)),  # its CRM's clock is ahead
    ]
    made = [assigned(lead_id, NOW + timedelta(seconds=2)) for lead_id in ("L1", "L2", "L3")]
    metrics = Metrics("assigner")
    for fact in (
        Taken("assigner", 3, 1),
        Saved("assigner", 0.03, came, made),
        Settled("assigner", "handled", 2),
        Settled("assigner", "retried", 1),
        QueueSeen("assigner", 9, 2),
        Waits("assigner", "the cause of KeyError to be mended", is_breaker=True),
        OutboxSeen(4, 1.5),
        PublishingFails("assigner", "no disk"),
    ):
        metrics.observe(fact)
    text = metrics.text().decode()
    for line in (
        'leadline_messages_handled_total{queue="assigner"} 2.0',
        'leadline_messages_retried_total{queue="assigner"} 1.0',
        'leadline_messages_redelivered_total{queue="assigner"} 1.0',
        'leadline_transactions_total{queue="assigner"} 1.0',
        'leadline_batch_messages_bucket{le="5.0",queue="assigner"} 1.0',
        'leadline_handler_seconds_bucket{le="0.05",queue="assigner"} 1.0',
        "leadline_lead_assignment_seconds_count 2.0",
        "leadline_lead_assignment_seconds_sum 2.0",
        'leadline_queue_ready{queue="assigner"} 9.0',
        'leadline_queue_consumers{queue="assigner"} 2.0',
        'leadline_waiting{queue="assigner"} 1.0',
        'leadline_breaker_open{queue="assigner"} 1.0',
        "leadline_outbox_rows 4.0",
        "leadline_outbox_oldest_seconds 1.5",
        "leadline_publishing_fails 1.0",
        "leadline_build_info{",
    ):
        assert line in text, text
