"""A dead letter as it is sent again, and what a person's selection means."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.cli.deadletters.letters import Letter, with_day
from services.cli.deadletters.selection import selected
from services.cli.deadletters.verdicts import REASONS_MAX, Outcome, Sum, Verdict
from services.cli.failures import CommandError
from shared.messaging.envelope import DEAD_LETTER_ID

DAY = date(2026, 1, 2)
ZONE = ZoneInfo("Asia/Kolkata")


def a_letter(**facts: Any) -> Letter:
    known: dict[str, Any] = {
        "id": 7,
        "queue": "assigner.lots",
        "event_type": "lead.created",
        "content_type": None,
        "lead_id": "A",
        "body": b'{"lead_id": "A"}',
        "headers": {},
        "group_id": "g",
    }
    return Letter(**known | facts)


def test_it_goes_to_its_one_queue_with_its_own_headers_and_no_attempts() -> None:
    headers = {"x-attempts": "6", "x-error-reason": "a bug", "x-origin-queue": "x", "traceparent": "00-1-2-01"}
    sent = a_letter(headers=headers, content_type="application/cloudevents+json").outgoing()
    assert (sent.exchange, sent.routing_key, sent.type) == ("leads.requeue", "replay.assigner.lots", "lead.created")
    assert sent.headers == {"traceparent": "00-1-2-01", DEAD_LETTER_ID: 7}
    assert (sent.body, sent.key, sent.content_type) == (b'{"lead_id": "A"}', "A", "application/cloudevents+json")


@pytest.mark.parametrize(
    ("event_type", "body", "sent"),
    [
        ("lead.created", b'{"lead_id": "A"}', {"lead_id": "A", "as_of": "2026-01-02"}),
        ("lead.accepted", b'{"as_of": "2025-12-31"}', {"as_of": "2026-01-02"}),
        ("lot.requested", b"{}", {"as_of": "2026-01-02"}),
        (
            "lead.created",
            b'{"specversion": "1.0", "data": {"lead_id": "A"}}',
            {"specversion": "1.0", "data": {"lead_id": "A", "as_of": "2026-01-02"}},
        ),
        ("lead.taken", b'{"lead_id": "A"}', {"lead_id": "A"}),
        (None, b"{}", {}),
        ("lead.created", b"[1]", [1]),
    ],
)
def test_the_day_goes_where_the_event_has_one(event_type: str | None, body: bytes, sent: object) -> None:
    assert json.loads(with_day(event_type, body, DAY)) == sent
    assert with_day(event_type, body, None) == body


def test_a_body_that_is_no_json_is_sent_as_it_is() -> None:
    assert with_day("lead.created", b"\xff", DAY) == b"\xff"


def test_a_time_without_an_offset_is_of_our_zone() -> None:
    chosen = selected([3], "g", "ingest", "2026-01-02", "2026-01-02T10:00+00:00", zone=ZONE)
    assert chosen.since == datetime(2026, 1, 2, tzinfo=ZONE)
    assert chosen.until == datetime(2026, 1, 2, 10, tzinfo=UTC)
    assert not chosen.is_everything
    assert chosen.plain()["since"] == "2026-01-02T00:00:00+05:30"
    assert selected(None, None, None, None, None, zone=ZONE).is_everything


@pytest.mark.parametrize(
    ("ids", "since", "said"), [([0], None, "0 is no id"), ([2**63], None, "no id"), ([], "x", "x:")]
)
def test_what_can_be_no_selection_is_refused(ids: list[int], since: str | None, said: str) -> None:
    with pytest.raises(CommandError) as refused:
        selected(ids, None, None, since, None, zone=ZONE)
    assert said in str(refused.value)


def test_a_group_of_many_reasons_stays_small_and_counts_all() -> None:
    total = Sum()
    for number in range(100):
        word = "".join(chr(ord("a") + int(digit)) for digit in f"{number:02}")
        total.add(number, Verdict(Outcome.FAILS, f"reason {word} of {number}"))
    total.add(100, Verdict(Outcome.DONE, "done"))
    group = total.group("g")
    assert (group.messages, group.would_fail_again, group.has_no_effect) == (101, 100, 1)
    assert len(group.reasons) <= REASONS_MAX + len(Outcome)
    assert sum(reason.messages for reason in group.reasons) == 101
