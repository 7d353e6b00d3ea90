"""Updates: the newest writer wins per field, in whatever order and however often they come."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.changes import Merged, apply_changes, differing_fields
from services.ingest.intake import (
    Lead,
    LeadChanges,
    Names,
    Reference,
    SourceRules,
    read_created,
    read_updated,
)
from services.ingest.problems import Rejected
from shared.events import LeadCreated, LeadUpdated

NOW = datetime(2025, 2, 1, 12, tzinfo=UTC)
META = SourceRules(1, "META", "IN", ZoneInfo("Asia/Kolkata"))
REFERENCE = Reference(
    Names.of([(1, "Home"), (2, "Motor")]), Names.of([(1, "India", "IN")]), Names.of([(7, "Passport")])
)


def read(at: str = "2025-01-31T10:00:00Z", **fields: Any) -> LeadChanges | Rejected:
    body = json.dumps({"lead_id": "L1", "occurred_at": at, **fields})
    return read_updated(LeadUpdated.model_validate_json(body), META, REFERENCE, NOW)


def an_update(at: str = "2025-01-31T10:00:00Z", **fields: Any) -> LeadChanges:
    changes = read(at, **fields)
    assert isinstance(changes, LeadChanges), changes
    return changes


def a_row(**fields: Any) -> dict[str, Any]:
    """A lead as it is stored."""
    event = LeadCreated.model_validate_json(json.dumps({"lead_id": "L1", "source": "META", **fields}))
    lead = read_created(event, META, REFERENCE, NOW)
    assert isinstance(lead, Lead)
    return {name: getattr(lead, name) for name in lead.__struct_fields__}


def after(row: dict[str, Any], updates: Iterable[LeadChanges]) -> tuple[dict[str, Any], dict[str, str]]:
    """The row and its `written_at` after these updates, in this order."""
    written_at: dict[str, str] = {}
    for changes in updates:
        merged = apply_changes(row, written_at, changes)
        row, written_at = {**row, **merged.values}, dict(merged.written_at)
    return row, written_at


@pytest.mark.parametrize(
    ("fields", "values", "flags"),
    [
        ({}, {}, ()),
        ({"business_line": "motor", "stage": 3}, {"business_line_id": 2, "stage": 3}, ()),
        ({"business_line": None, "message": " "}, {"business_line_id": None, "message": None}, ()),
        ({"stage": None, "is_order_placed": ""}, {"stage": 1, "is_order_placed": False}, ()),
        ({"mobile_number": "098765 43210"}, {"mobile_number": "+919876543210"}, ()),
        ({"mobile_number": "98765"}, {"mobile_number": "98765"}, ("mobile_number_invalid",)),
        ({"external_id": "C1", "source": "meta"}, {"external_id": "C1", "source": "META"}, ()),
        (
            {"created_at": "2025-01-30 10:00"},
            {"created_at": datetime(2025, 1, 30, 4, 30, tzinfo=UTC)},
            ("created_at_no_offset",),
        ),
        (
            {"created_at": "2025-01-31T11:00:00Z"},
            {"created_at": datetime(2025, 1, 31, 10, tzinfo=UTC)},
            ("created_at_in_future",),
        ),
    ],
)
def test_an_update_has_what_it_tells(fields: dict[str, Any], values: dict[str, Any], flags: tuple[str, ...]) -> None:
    """Absent is unchanged, null and blank are cleared, the rest as in `lead.created`."""
    changes = an_update(**fields)
    assert (changes.values, changes.flags) == (values, flags)


@pytest.mark.parametrize(
    ("at", "expected", "flags"),
    [
        ("2025-01-31T10:00:00+05:30", datetime(2025, 1, 31, 4, 30, tzinfo=UTC), ()),
        ("2025-01-31T10:00:00", datetime(2025, 1, 31, 4, 30, tzinfo=UTC), ("occurred_at_no_offset",)),
        ("2025-03-01T10:00:00Z", NOW, ("occurred_at_in_future",)),
    ],
)
def test_when_an_update_happened(at: str, expected: datetime, flags: tuple[str, ...]) -> None:
    """Without an offset in the source's zone; never in the future, or nobody could correct it."""
    changes = an_update(at)
    assert (changes.occurred_at, changes.flags) == (expected, flags)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"created_at": None}, "created_at: cannot be cleared"),
        ({"source": ""}, "source: cannot be cleared"),
        ({"created_at": "0001-01-01"}, "created_at: must be after 1900, got 0001-01-01T00:00:00"),
        ({"at": "0001-01-01T00:00:00Z"}, "occurred_at: must be after 1900, got 0001-01-01T00:00:00+00:00"),
        ({"utm": "\0"}, "utm: must not have the character NUL (U+0000)"),
        (
            {"country": "Peru"},
            "country: there is no country 'Peru', known are: India (IN); add it, then replay this message",
        ),
    ],
)
def test_an_update_that_cannot_be_taken(fields: dict[str, Any], reason: str) -> None:
    """Refused as a whole, with the reason."""
    rejected = read(**fields)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason


def test_unknown_fields_of_an_update_are_attributes() -> None:
    """Its own attributes win, null removes a key, and null for all of them clears them."""
    changes = an_update(utm="a", form=None, attributes={"utm": "b", "x": None})
    assert (changes.attributes, changes.clears_attributes) == ({"utm": "b", "form": None, "x": None}, False)
    assert changes.unknown_fields == 2
    assert an_update(attributes=None).clears_attributes


CREATED = {"stage": 2, "given_name": "Asha", "surname": "Rao", "mobile_number": "98765", "utm": "a", "form": 5}
T1, T2, T3 = "2025-01-31T10:00:00Z", "2025-01-31T11:00:00Z", "2025-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        ([an_update(T1, stage=3)], {"stage": 3}),
        ([an_update(T2, stage=3), an_update(T1, stage=4)], {"stage": 3}),
        ([an_update(T2, stage=3), an_update(T1, message="hi")], {"stage": 3, "message": "hi"}),
        ([an_update(T1, stage=3), an_update(T2, stage=None)], {"stage": 1}),
        (
            [an_update(T1, mobile_number="9876543210")],
            {"mobile_number": "+919876543210", "flags": ("customer_name_built",)},
        ),
        ([an_update(T1, mobile_number="12")], {"mobile_number": "12"}),
        ([an_update(T2, email="a@b.in"), an_update(T1, email="?")], {"email": "a@b.in"}),
        ([an_update(T1, surname="Rau")], {"surname": "Rau", "customer_name": "Asha Rau"}),
        (
            [an_update(T1, customer_name="Dr Rao"), an_update(T2, surname="Rau")],
            {"surname": "Rau", "customer_name": "Dr Rao", "flags": ("mobile_number_invalid",)},
        ),
        (
            [an_update(T1, given_name=None, surname=None)],
            {"given_name": None, "surname": None, "customer_name": None, "flags": ("mobile_number_invalid",)},
        ),
        ([an_update(T1, utm="b", form=None)], {"attributes": {"utm": "b"}}),
        ([an_update(T2, attributes=None), an_update(T1, utm="b")], {"attributes": {}}),
        ([an_update(T1, utm="b"), an_update(T2, attributes=None, form=6)], {"attributes": {"form": 6}}),
        ([an_update(T3, utm="c"), an_update(T2, attributes=None)], {"attributes": {"utm": "c"}}),
    ],
)
def test_the_newest_writer_wins_per_field(updates: list[LeadChanges], expected: dict[str, Any]) -> None:
    """Any update beats `lead.created`; flags and a built name follow their fields."""
    row, _ = after(a_row(**CREATED), updates)
    assert row == {**a_row(**CREATED), **expected}


def test_an_update_that_changes_nothing_is_still_the_newest() -> None:
    """The same value later: nothing to tell the world, but an update in between must lose."""
    merged = apply_changes(a_row(stage=3), {}, an_update(T2, stage=3))
    assert (merged.values, merged.is_changed, merged.is_newer) == ({}, False, True)
    assert merged.written_at == {"stage": "2025-01-31T11:00:00.000000+00:00"}
    late = apply_changes(a_row(stage=3), merged.written_at, an_update(T1, stage=4))
    assert late == Merged({}, merged.written_at, is_newer=False)


def test_a_lead_that_comes_again_does_not_differ_by_its_updates() -> None:
    """Only what no update wrote since can differ."""
    event = LeadCreated.model_validate_json(json.dumps({"lead_id": "L1", "source": "META", **CREATED}))
    again = read_created(event, META, REFERENCE, NOW)
    assert isinstance(again, Lead)
    row, written_at = after(a_row(**CREATED), [an_update(T1, stage=3, surname="Rau", utm="b", form=None)])
    assert differing_fields(row, again, written_at) == ()


TOLD: dict[str, st.SearchStrategy[Any]] = {
    "stage": st.sampled_from([None, 1, 2, 3]),
    "customer_name": st.sampled_from([None, "Asha Rao", "Dr Rao"]),
    "given_name": st.sampled_from([None, "Asha", "Usha"]),
    "surname": st.sampled_from([None, "Rao", "Rau"]),
    "mobile_number": st.sampled_from([None, "98765", "9876543210"]),
    "email": st.sampled_from([None, "?", "a@b.in"]),
    "created_at": st.sampled_from(["2025-01-30 10:00", "2025-01-29T10:00:00Z", "2026-01-01T10:00:00Z"]),
    "business_line": st.sampled_from([None, "Home", "Motor"]),
    "utm": st.sampled_from([None, "a", "b"]),
    "attributes": st.none() | st.dictionaries(st.sampled_from(["utm", "form"]), st.sampled_from([None, 1, 2])),
}
BODIES = st.fixed_dictionaries({}, optional=TOLD)


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[str, Any], list[LeadChanges], list[LeadChanges]]:
    """A stored lead, updates of distinct times, and the same in another order, some more than once."""
    first = {name: value for name, value in draw(BODIES).items() if value is not None}
    start = datetime(2025, 1, 31, tzinfo=UTC)
    bodies = draw(st.lists(BODIES, min_size=1, max_size=5))
    updates = [an_update((start + timedelta(seconds=at)).isoformat(), **body) for at, body in enumerate(bodies)]
    repeated = draw(st.lists(st.sampled_from(updates), max_size=4))
    return a_row(**first), updates, draw(st.permutations(updates + repeated))


@given(histories())
def test_order_and_repetition_make_no_difference(
    history: tuple[dict[str, Any], list[LeadChanges], list[LeadChanges]],
) -> None:
    """Any permutation and repetition of updates of distinct times comes to the same row and the same `written_at`."""
    row, updates, shuffled = history
    assert after(row, updates) == after(row, shuffled)


@given(histories())
def test_an_update_again_is_nothing(history: tuple[dict[str, Any], list[LeadChanges], list[LeadChanges]]) -> None:
    """What has been applied changes neither the row nor `written_at`."""
    row, updates, _ = history
    row, written_at = after(row, updates)
    for changes in updates:
        assert apply_changes(row, written_at, changes) == Merged({}, written_at, is_newer=False)


@given(histories())
def test_a_change_is_told_only_where_there_is_one(
    history: tuple[dict[str, Any], list[LeadChanges], list[LeadChanges]],
) -> None:
    """Every value in `values` is another than the stored one, and none that changed is missing."""
    row, updates, _ = history
    for changes in updates:
        merged = apply_changes(row, {}, changes)
        assert all(row[column] != value for column, value in merged.values.items())
        assert merged.is_changed == ({**row, **merged.values} != row)
