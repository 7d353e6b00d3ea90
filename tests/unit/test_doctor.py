"""What the answers of the management API and of rabbitmqctl mean, and two clocks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.cli.doctor.brokers import wrong_bindings
from services.cli.doctor.databases import clocks_apart
from services.cli.doctor.management import NoManagementError, is_leaderless, management_of, refuses_when_full, undrained
from services.cli.doctor.rabbitmqctl import Rabbitmqctl
from services.cli.doctor.tellers import first_told
from shared.messaging import topology

QUORUM = {"name": "ingest", "type": "quorum", "leader": "a@h", "online": ["a@h"], "state": "running"}


@pytest.mark.parametrize(
    ("change", "leaderless"),
    [({}, False), ({"leader": ""}, True), ({"online": ["b@h"]}, True), ({"state": "minority"}, True)],
)
def test_a_queue_without_leader(change: dict[str, Any], leaderless: bool) -> None:
    assert is_leaderless({**QUORUM, **change}) is leaderless
    assert not is_leaderless({**QUORUM, **change, "type": "classic"})


@pytest.mark.parametrize(
    ("queue", "why"),
    [
        ({"arguments": {}, "messages": 9}, None),
        ({"arguments": {"x-max-length": 5}, "messages": 5}, None),  # drops its oldest
        ({"arguments": {"x-max-length": 5, "x-overflow": "reject-publish"}, "messages": 4}, None),
        ({"arguments": {"x-max-length": 5, "x-overflow": "reject-publish"}, "messages": 5}, "full (max-length 5)"),
        (
            {"effective_policy_definition": {"max-length-bytes": 9, "overflow": "reject-publish"}, "message_bytes": 10},
            "full (max-length-bytes 9)",
        ),
        ({"state": "down"}, "it is down"),
    ],
)
def test_a_queue_that_makes_the_broker_refuse(queue: dict[str, Any], why: str | None) -> None:
    said = refuses_when_full(queue)
    assert said is None if why is None else why in str(said)


def test_expired_messages_that_nobody_takes() -> None:
    """They are counted, and neither ready nor delivered."""
    queues = [
        {"name": "retry.5s", "messages": 2, "messages_ready": 0},
        {"name": "retry.1h", "messages": 2, "messages_ready": 2},
        {"name": "ingest", "messages": 5, "messages_ready": 1, "messages_unacknowledged": 4},
    ]
    assert undrained(queues) == {"retry.5s"}


@pytest.mark.parametrize(
    ("without", "further", "said"),
    [
        ((), (), []),
        ((), topology.demanded("webhooks"), []),
        ((topology.Binding("leads", "lead.assigned"),), (), ["is not bound to leads by lead.assigned"]),
        ((), (topology.Binding("leads", "lead.created"),), ["is bound to leads by lead.created, which is not ours"]),
    ],
)
def test_bindings_on_demand_may_be_there_or_not(
    without: Sequence[topology.Binding], further: Sequence[topology.Binding], said: list[str]
) -> None:
    bound = [(queue, each) for queue in topology.queue_arguments() for each in topology.bindings_of(queue)]
    bound = [(queue, each) for queue, each in bound if each not in (*without, *topology.demanded(queue))]
    bound += [("webhooks", each) for each in further]
    bindings = [{"source": each.exchange, "routing_key": each.key, "destination": queue} for queue, each in bound]
    found = wrong_bindings([{"name": queue} for queue in topology.queue_arguments()], bindings)
    assert [part in finding.what for finding, part in zip(found, said, strict=True)] == [True] * len(said)


@pytest.mark.parametrize(
    ("amqp_url", "url", "user", "vhost"),
    [
        ("amqp://127.0.0.1/", "http://127.0.0.1:15672", "guest", "/"),
        ("amqp://h:1/%2F", "http://h:15672", "guest", "/"),
        ("amqps://u%40x:p@h/leads", "https://h:15671", "u@x", "leads"),
    ],
)
def test_where_the_api_is(amqp_url: str, url: str, user: str, vhost: str) -> None:
    management = management_of(amqp_url)
    assert (management.url, management.user, management.vhost) == (url, user, vhost)
    assert management_of(amqp_url, "http://elsewhere:1/").url == "http://elsewhere:1"


@pytest.mark.parametrize(("apart_s", "said"), [(0.5, None), (3, "3 s ahead of"), (-7, "7 s behind")])
def test_clocks(apart_s: float, said: str | None) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    found = clocks_apart(now + timedelta(seconds=apart_s), now, now)
    assert [said in finding.what for finding in found] == ([] if said is None else [True]) if said else not found


async def test_a_tool_of_another_broker_tells_nothing() -> None:
    """The first that may tell does; else it is said what each said."""

    def control(what: str, *_: str) -> str:
        return '{"listeners": [{"port": 5672}, {"port": 25672}]}' if what == "status" else "[]"

    other, ours = Rabbitmqctl(control, "/", 5673), Rabbitmqctl(control, "/", 5672)
    assert await first_told([other, ours], lambda teller: teller.queues()) == []
    with pytest.raises(NoManagementError, match="another broker: none that listens on port 5673"):
        await first_told([other], lambda teller: teller.queues())
    with pytest.raises(NoManagementError, match="'no' is no JSON"):
        await Rabbitmqctl(lambda *_: "no", "/").bindings()
