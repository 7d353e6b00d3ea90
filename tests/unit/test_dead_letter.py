"""A dead message read: what it was, why it died, and nothing that the database would not take."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deadletters.ledger import HEADERS_MAX_BYTES, dead_letter
from shared.messaging import envelope
from shared.messaging.envelope import Delivery

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIED = datetime(2025, 12, 31, 23, tzinfo=UTC)


def dead(body: bytes = b"{}", headers: dict[str, Any] | None = None, **properties: Any) -> Delivery:
    return Delivery(tag=1, exchange="leads.dead", routing_key="ingest", body=body, headers=headers or {}, **properties)


def test_what_killed_its_consumer_keeps_the_key_that_it_was_sent_under() -> None:
    """The CRM sends no `type`, and the broker buries under the queue's name: a replay must know what it was."""
    entry = {"queue": "ingest", "reason": "delivery_limit", "exchange": "leads", "routing-keys": ["lead.created"]}
    letter = dead_letter(dead(headers={"x-death": [entry | {"time": DIED, "count": 1}]}), NOW)
    assert (letter.queue, letter.event_type, letter.error_type) == ("ingest", "lead.created", "delivery_limit")
    assert (letter.first_failed_at, letter.failed_at, letter.headers) == (DIED, DIED, {})


def test_what_no_queue_takes_is_the_queues_that_it_was_meant_for() -> None:
    """A replay to a queue that is gone comes back to its own row."""
    delivery = Delivery(1, "leads.requeue", "replay.assigner.lots", b"{}", {envelope.DEAD_LETTER_ID: 7}, type="x")
    letter = dead_letter(delivery, NOW)
    assert (letter.queue, letter.event_type, letter.replayed_id) == ("assigner.lots", "x", 7)
    assert letter.reason == "no queue takes it any more"


def test_first_and_last_time_and_attempts_are_the_copies() -> None:
    story = {
        envelope.ATTEMPTS: 6,
        envelope.FIRST_FAILED_AT: "2025-12-31T20:00:00+00:00",
        envelope.FAILED_AT: "2025-12-31T22:30:00+00:00",
    }
    letter = dead_letter(dead(headers=story), NOW)
    assert letter.attempts == 6
    assert (letter.failed_at - letter.first_failed_at).total_seconds() == 9_000


@pytest.mark.parametrize(
    ("header", "row"),
    [(7, 7), (2**63 - 1, 2**63 - 1), (2**63, None), (0, None), (-1, None), ("7", None), (True, None), (None, None)],
)
def test_the_row_of_a_replay_is_a_whole_number_that_fits(header: object, row: int | None) -> None:
    assert dead_letter(dead(headers={envelope.DEAD_LETTER_ID: header}), NOW).replayed_id == row


@pytest.mark.parametrize("attempts", [2**62, 2**70, -5, True, "x", None])
def test_attempts_fit_the_column(attempts: object) -> None:
    assert 1 <= dead_letter(dead(headers={envelope.ATTEMPTS: attempts}), NOW).attempts <= 2**31


def test_what_steers_a_terminal_is_escaped() -> None:
    letter = dead_letter(dead(headers={"note": "\x1b[2J\u202e", envelope.REASON: "a\x00b\ud800"}), NOW)
    assert letter.headers == {"note": r"\x1b[2J\u202e"}
    assert letter.reason == r"a\x00b\ud800"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()) | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=300) | st.sampled_from([*sorted(envelope.STORY), "x-death"]), anything, max_size=9)
)
def test_whatever_the_headers_are_their_text_is_bounded_and_storable(headers: dict[str, Any]) -> None:
    letter = dead_letter(dead(headers=headers), NOW)
    text = json.dumps(dict(letter.headers), ensure_ascii=False) + letter.reason + (letter.traceback or "")
    assert len(text.encode()) <= HEADERS_MAX_BYTES + 2
    assert "\x00" not in text


def test_the_short_headers_stay_and_the_long_one_is_cut() -> None:
    letter = dead_letter(dead(headers={"a": "x" * 50_000, "traceparent": "00-1-2-01", "z": "é" * 50_000}), NOW)
    assert letter.headers["traceparent"] == "00-1-2-01"
    assert letter.headers["a"].endswith("x…")


@pytest.mark.parametrize("body", [b'{"lead_id": 1e999}', b'{"lead_id": ' + b"9" * 4_000 + b"}", b'{"event_id": NaN}'])
def test_numbers_that_no_column_takes_are_text(body: bytes) -> None:
    letter = dead_letter(dead(body), NOW)
    assert len(letter.lead_id or "") <= 255
