"""A lead comes in by AMQP; out come an assignment, a sheet and a mail."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from io import BytesIO

import pika
from pypdf import PdfReader

from tests.feeding import a_lead, assert_each_exactly_once, everything_is_through, leads
from tests.stack import ALL, CONSUMERS, Stack
from tests.waiting import eventually


async def test_a_lead_becomes_an_assignment_a_sheet_and_a_mail(stack: Stack) -> None:
    """The agent that the database names is the one on the sheet on disk and in the mail's address."""
    await stack.start(*CONSUMERS)

    await stack.publish("lead.created", a_lead(1, mobile_number="98200 12345", address="12 MG Road, Pune"))
    await eventually(lambda: everything_is_through(stack, 1), within=60)

    await assert_each_exactly_once(stack, 1)
    (row,) = await stack.rows("SELECT * FROM assignments JOIN agents ON agents.id = agent_id")
    (document,) = await stack.rows("SELECT * FROM documents")
    pdf = (stack.sheets / document["file_path"]).read_bytes()
    assert sha256(pdf).hexdigest() == document["sha256"]
    assert len(pdf) == document["size"]
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(pdf)).pages)
    for expected in (row["agent_name"], row["lead_assignment_code"], row["page_group_code"], "Customer 1"):
        assert expected in text
    (mail,) = stack.mails()
    assert mail["X-Envelope-To"] == row["email"]
    assert row["email"] in mail["To"]
    (attached,) = mail.iter_attachments()
    assert attached.get_content_type() == "application/pdf"
    assert attached.get_content() == pdf
    (delivery,) = await stack.rows("SELECT email_address, status, answer FROM notification_deliveries")
    assert (delivery["email_address"], delivery["status"]) == (row["email"], "sent")
    assert delivery["answer"].startswith("250 ")


async def test_the_same_lead_three_times_from_a_plain_client(stack: Stack) -> None:
    """A body published by pika with nothing but exchange and routing key: done once, counted twice."""
    await stack.start(*CONSUMERS)
    body = {"lead_id": "X1", "source": "META", "customer_name": "Ana Lima", "mobile_number": "+351 912 345 678"}

    await asyncio.to_thread(_send_by_pika, stack.amqp_url, [json.dumps(body).encode()] * 3)
    await eventually(lambda: everything_is_through(stack, 1), within=60)
    await eventually(lambda: _repeats(stack, "X1", 2), within=60)
    await eventually(lambda: everything_is_through(stack, 1), within=60)

    await assert_each_exactly_once(stack, 1)


def _send_by_pika(amqp_url: str, bodies: list[bytes]) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    for body in bodies:
        channel.basic_publish("leads", "lead.created", body)
    connection.close()


async def _repeats(stack: Stack, lead_id: str, times: int) -> bool:
    return bool(await stack.value("SELECT repeats FROM leads WHERE lead_id = $1", lead_id) == times)


#: What is wrong → the body, and the words by which a person understands it.
BAD: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "not JSON": (b"lead_id=7&source=META", ("body", "must be one JSON object")),
    "a JSON array": (b'[{"lead_id": "B1", "source": "META"}]', ("body", "one JSON object")),
    "no lead_id": (b'{"source": "META"}', ("lead_id: is required",)),
    "a long lead_id": (json.dumps(a_lead("9" * 10_000)).encode(), ("lead_id: must have 1 to 128 bytes, has 10001",)),
    "a NUL": (json.dumps(a_lead("B4", customer_name="An\x00a")).encode(), ("customer_name: must not have", "NUL")),
    "a lone surrogate": (
        b'{"lead_id": "LB5", "source": "META", "customer_name": "\\ud83d"}',
        ("half a character", "surrogate"),
    ),
    "a business line": (
        json.dumps(a_lead("B6", business_line="Submarines")).encode(),
        ("business_line: there is no business line 'Submarines'", "none are configured yet", "replay"),
    ),
    "no date": (
        json.dumps(a_lead("B7", created_at="the day after")).encode(),
        ("created_at: must be a date or time such as", "'the day after'"),
    ),
    "5 MB": (json.dumps(a_lead("B8", message="x" * 5_000_000)).encode(), ("body", "5,000,", "at most 1,048,576")),
}
#: Those that are JSON objects → the field that their sender is told of.
TOLD = {
    "no lead_id": "lead_id",
    "a long lead_id": "lead_id",
    "a NUL": "customer_name",
    "a lone surrogate": "body",
    "a business line": "business_line",
    "no date": "created_at",
}


async def test_bad_messages_are_told_about_and_hurt_nobody_else(stack: Stack) -> None:
    """Nine of them among 60 good leads: each a dead letter that a person understands, 60 through."""
    await stack.start(*ALL)
    mixed: list[object] = list(leads(60))
    for position, (body, _) in enumerate(BAD.values(), 1):
        mixed.insert(position * 7, body)

    await stack.publish("lead.created", *mixed)
    await eventually(lambda: everything_is_through(stack, 60), within=90)
    await eventually(lambda: dead_letters(stack, len(BAD)), within=60)

    await assert_each_exactly_once(stack, 60)
    reasons = {bytes(row["body"]): row["reason"] for row in await stack.rows("SELECT body, reason FROM dead_letters")}
    for what, (body, words) in BAD.items():
        assert body in reasons, what
        assert [word for word in words if word not in reasons[body]] == [], f"{what}: {reasons[body]}"
        assert "pydantic" not in reasons[body]
        assert len(reasons[body]) < 400


async def test_the_sender_is_told_what_is_wrong(stack: Stack) -> None:
    """`lead.rejected` names the field, and the lead where its id can be read."""
    await stack.listen("crm", ("leads", "lead.rejected"))
    await stack.start("ingest")

    for what, field in TOLD.items():
        await stack.publish("lead.created", BAD[what][0])
        told = await eventually(lambda: stack.heard("crm"), within=60)
        (rejected,) = [json.loads(message.body) for message in told]
        assert field in [error["field"] for error in rejected["errors"]], what
        if what in {"a NUL", "a business line", "no date"}:
            assert rejected["lead_id"] == json.loads(BAD[what][0])["lead_id"]


async def test_the_sender_of_a_body_that_is_too_large_is_told(stack: Stack) -> None:
    """It is a JSON object like any other: its sender hears `lead.rejected`."""
    await stack.listen("crm", ("leads", "lead.rejected"))
    await stack.start("ingest")

    await stack.publish("lead.created", BAD["5 MB"][0])
    (message,) = await eventually(lambda: stack.heard("crm"), within=60)

    assert "at most 1,048,576" in json.loads(message.body)["errors"][0]["problem"]


async def test_every_event_says_what_it_is_and_when_it_occurred(stack: Stack) -> None:
    """What an outsider hears of one lead: each event once, with an id of its own, its time, its lead and revision."""
    await stack.listen("crm", ("leads", "#"))
    await stack.start(*CONSUMERS)

    await stack.publish("lead.created", a_lead(1))
    await eventually(lambda: everything_is_through(stack, 1), within=60)

    heard = [message for message in await stack.heard("crm") if message.routing_key != "lead.created"]
    events = {message.routing_key: json.loads(message.body) for message in heard}
    assert list(events) == ["lead.accepted", "lead.assigned", "document.ready", "notification.sent"]
    assert len(heard) == len({event["event_id"] for event in events.values()}) == len(events)
    assert {
        event_type for event_type, event in events.items() if "lead_id" in event and "revision" not in event
    } == set()
    assert {event_type for event_type, event in events.items() if not event.get("occurred_at")} == set()


async def dead_letters(stack: Stack, count: int) -> bool:
    assert await stack.count("dead_letters") == count
    return True
