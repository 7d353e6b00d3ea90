"""Endpoints of others are told, signed, once each; one that is down holds nobody up; none of them is inside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from services.cli.deadletters.trials import WebhooksTrial
from services.scheduler.purge import Retention, purge_told
from services.webhooks.addresses import is_allowed, wrong_with
from services.webhooks.consumer import TellEndpoints
from services.webhooks.sending import open_sender
from services.webhooks.signing import secret_of
from shared.db.session import Database
from shared.events import LeadUnassigned
from shared.messaging import broker
from shared.messaging.envelope import Outgoing
from shared.messaging.processing import Deferred
from shared.messaging.publisher import open_publisher
from shared.settings import Settings
from tests.api import consuming
from tests.driving import Driver, execute, message, of, rows
from tests.endpoints import Endpoint, listening, take_events
from tests.waiting import eventually

SECRET = secret_of(bytes(range(32)))


def unassigned(lead_id: str = "L1") -> LeadUnassigned:
    return LeadUnassigned(lead_id=lead_id, revision=1, reason="nobody is free")


async def add(database: Database, url: str, *events: str) -> None:
    await execute(
        database,
        "INSERT INTO webhooks (url, secret, events, created_by) VALUES (:url, :secret, :events, 'test')",
        url=url,
        secret=SECRET,
        events=list(events or ("lead.unassigned",)),
    )


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with listening() as endpoint:
        yield endpoint


@pytest.fixture
async def webhooks(database: Database) -> AsyncIterator[Driver]:
    async with open_sender(allow_private=True) as sender:
        yield Driver(database, TellEndpoints(sender))


async def test_an_endpoint_can_verify_what_it_is_told(database: Database, webhooks: Driver, endpoint: Endpoint) -> None:
    """By the library of Standard Webhooks, with the secret; the id is the event's."""
    await add(database, endpoint.url)
    event = unassigned()

    await webhooks.run(event)

    ((headers, body),) = endpoint.heard
    assert Webhook(SECRET).verify(body, headers) == json.loads(body)
    assert headers["webhook-id"] == event.event_id
    told = json.loads(body)
    assert (told["type"], told["data"]["lead_id"], told["data"]["reason"]) == (
        "lead.unassigned",
        "L1",
        "nobody is free",
    )
    assert headers["host"].startswith("localhost:")


async def test_the_same_message_twice_is_told_once(database: Database, webhooks: Driver, endpoint: Endpoint) -> None:
    await add(database, endpoint.url)
    event = unassigned()

    await webhooks.run(event)
    await webhooks.run(event)

    assert len(endpoint.heard) == 1
    assert await rows(database, "SELECT status, answer, attempts FROM webhook_deliveries") == [("sent", "HTTP 200", 1)]


async def test_only_what_it_wants(database: Database, webhooks: Driver, endpoint: Endpoint) -> None:
    await add(database, endpoint.url, "outcome.recorded")

    await webhooks.run(unassigned())

    assert endpoint.heard == []


async def test_one_that_fails_is_tried_again_and_nobody_else_is(
    database: Database, webhooks: Driver, endpoint: Endpoint
) -> None:
    """500 goes to the ladder; the next try tells only the one that failed."""
    async with listening() as other:
        await add(database, endpoint.url)
        await add(database, other.url)
        endpoint.code = 500
        event = unassigned()

        (deferred,) = of(await webhooks.run(event), Deferred)
        endpoint.code = 204
        effects = await webhooks.run(event)

        assert deferred.reason == "webhook 1: HTTP 500"
        assert effects == []
        assert (len(endpoint.heard), len(other.heard)) == (2, 1)
        found = await rows(database, "SELECT webhook_id, status, attempts FROM webhook_deliveries ORDER BY 1")
        assert found == [(1, "sent", 2), (2, "sent", 1)]


@pytest.mark.parametrize("code", [400, 401, 404, 302])
async def test_a_refusal_is_final(database: Database, webhooks: Driver, endpoint: Endpoint, code: int) -> None:
    """Recorded, not tried again; and no redirect is followed."""
    await add(database, endpoint.url)
    endpoint.code = code
    event = unassigned()

    effects = [*(await webhooks.run(event)), *(await webhooks.run(event))]

    assert effects == []
    assert len(endpoint.heard) == 1
    assert await rows(database, "SELECT status, answer FROM webhook_deliveries") == [("refused", f"HTTP {code}")]


async def test_one_that_is_gone_is_switched_off(database: Database, webhooks: Driver, endpoint: Endpoint) -> None:
    await add(database, endpoint.url)
    endpoint.code = 410

    await webhooks.run(unassigned("L1"))
    await webhooks.run(unassigned("L2"))

    assert len(endpoint.heard) == 1
    assert await rows(database, "SELECT is_active FROM webhooks") == [(False,)]


async def test_one_that_is_down_rests_and_holds_nobody_up(
    database: Database, webhooks: Driver, endpoint: Endpoint
) -> None:
    await add(database, "http://127.0.0.1:1/hook")
    await add(database, endpoint.url)

    first = of(await webhooks.run(unassigned("L1")), Deferred)
    second = of(await webhooks.run(unassigned("L2")), Deferred)

    assert [each.reason for each in (*first, *second)] == [
        "webhook 1: no answer: ConnectError",
        "webhook 1: not asked: it did not answer a moment ago",
    ]
    assert len(endpoint.heard) == 2


async def test_none_is_inside(database: Database, endpoint: Endpoint) -> None:
    """Unless that is allowed, nothing is sent to an address of this machine, whatever its name."""
    await add(database, endpoint.url)
    async with open_sender(allow_private=False) as sender:
        await Driver(database, TellEndpoints(sender)).run(unassigned())

    assert endpoint.heard == []
    found = await rows(database, "SELECT status, answer FROM webhook_deliveries")
    assert found == [("refused", "its host is not on the open Internet")]


async def test_from_the_exchange_to_the_endpoint_and_to_the_ladder(
    database: Database, endpoint: Endpoint, database_url: str, amqp_url: str, tmp_path: Path
) -> None:
    """Published on `leads`, told; what an endpoint fails at waits on the ladder with its reason."""
    settings = Settings(
        _env_file=None,
        database_url=database_url,
        amqp_url=amqp_url,
        sheets_dir=tmp_path,
        webhooks_allow_http=True,
    )
    await add(database, endpoint.url)
    async with consuming(settings, "webhooks"), open_publisher(amqp_url, "test") as publisher:
        await take_events(amqp_url)
        event = unassigned()
        await publisher.publish([Outgoing(event.type, event.to_json().encode())])
        await eventually(lambda: len(endpoint.heard) == 1, within=20)
        endpoint.code = 503
        await publisher.publish([Outgoing("lead.unassigned", unassigned("L2").to_json().encode())])
        async with broker.connect(amqp_url, "test") as connection:

            async def waits() -> bool:
                return await broker.queue_depth(connection, "retry.5s") == 1

            await eventually(waits, within=20)


async def test_a_dead_letter_says_whom_it_would_tell(database: Database, webhooks: Driver, endpoint: Endpoint) -> None:
    """A preview names the endpoints that have not had the event, and tells none of them."""
    await add(database, endpoint.url)
    told, untold = message(unassigned("L1")), message(unassigned("L2"))
    await webhooks.run(told)

    verdicts = await WebhooksTrial()(database, [told, untold])

    assert [(each.outcome.value, each.reason) for each in verdicts.values()] == [
        ("has no effect any more", "no webhook is to be told of it any more"),
        ("would go through", "1 webhooks would be told"),
    ]
    assert len(endpoint.heard) == 1


async def test_what_was_told_is_forgotten_with_old_dead_letters(
    database: Database, webhooks: Driver, endpoint: Endpoint
) -> None:
    await add(database, endpoint.url)
    await webhooks.run(unassigned("L1"), unassigned("L2"))
    await execute(
        database, "UPDATE webhook_deliveries SET updated_at = now() - interval '91 days' WHERE lead_id = 'L1'"
    )

    assert await purge_told(database, Retention(settled_days=90)) == 1
    assert await rows(database, "SELECT lead_id FROM webhook_deliveries") == [("L2",)]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "ff02::1",
    ],
)
def test_addresses_inside_are_not_sent_to(address: str) -> None:
    assert not is_allowed(address, allow_private=False)


@given(st.ip_addresses())
def test_an_address_that_is_allowed_is_global(address: object) -> None:
    if is_allowed(str(address), allow_private=False):
        assert address.is_global  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("https://crm.example.com/hook", None),
        ("http://crm.example.com/hook", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("https://user:word@example.com/", "must not hold a user name or password: the signature says who sends"),
        ("https:///hook", "must name a host"),
        ("https://example.com:99999/", "is no URL"),
        ("https://exa mple.com/", "must be plain ASCII without spaces, of 2,000 characters at most"),
    ],
)
def test_where_webhooks_may_go(url: str, wrong: str | None) -> None:
    assert wrong_with(url, allow_http=False) == wrong
