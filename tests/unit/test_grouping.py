"""Groups of dead letters: one cause, one group, whoever's message it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.deadletters.grouping import GROUP_MAX_LENGTH, group_key, skeleton

LINE = "business_line: there is no business line {}, {}; add it, then replay this message"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            LINE.format("'Retial'", "known are: Retail, Loans"),
            LINE.format("'it\\'s \"new\"'", "none are configured yet"),
        ),
        (LINE.format("'L1'", "known are: A"), LINE.format('"it\'s"', "known are: Home (H1), Auto (A2) and 12 more")),
        ("lead_id: must have 1 to 128 bytes, has 129", "lead_id: must have 1 to 128 bytes, has 4,711"),
        ("created_at: must be a date, got '31.02.2025'", "created_at: must be a date, got {'day': 31, 'at': [2]}"),
        ("created_at: must be a date, got 'cut off he", "created_at: must be a date, got 'x'"),
        ("attributes.utm[2]: must be text", "attributes.utm[17]: must be text"),
        ("the mail server defers ann@example.com: 451 4.7.1 later", "the mail server defers b@x.org: 450 4.2.0 later"),
        ("the lead 'A-17' is not known yet", "the lead '0f8b' is not known yet"),
        ("no row 0b5c6f3e-1f6e-4d5c-9a59-0e5d5c9f2c11 found", "no row 77 found"),
        ("order ORD-2025/17 is closed", "order 9 is closed"),
    ],
)
def test_other_values_are_the_same_group(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("created_at: must be a date", "pickup_date: must be a date"),
        ("email: is required", "email: must be text"),
        ("the agent's place is taken", "the agent's place is free"),
        ("it expired", "the queue was full"),
    ],
)
def test_other_causes_are_other_groups(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


def test_an_error_is_known_by_its_fingerprint_and_not_by_its_text() -> None:
    error = "KeyError:consumer.save"
    one, other = (group_key("ingest", "lead.created", error, text, is_error=True) for text in ("KeyError: 1", "x"))
    assert one == other == "ingest · lead.created · KeyError:consumer.save"
    assert group_key("assigner", "lead.created", error, "x", is_error=True) != one


@given(st.text(), st.text())
def test_any_text_has_a_group_without_numbers(queue: str, reason: str) -> None:
    key = group_key(queue, None, "Invalid", reason, is_error=False)
    assert len(key) <= GROUP_MAX_LENGTH
    assert not any(character.isdecimal() for character in skeleton(reason))
