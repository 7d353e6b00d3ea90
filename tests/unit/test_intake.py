"""What a message of the CRM means: a lead, or the reasons why it is none."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pydantic import ValidationError

from services.ingest.changes import differing_fields
from services.ingest.consumer import refuse
from services.ingest.intake import (
    Lead,
    Names,
    NaturalKey,
    Reference,
    SourceRules,
    natural_keys,
    read_created,
)
from services.ingest.problems import Rejected, as_error
from shared.db import models
from shared.events import LeadCreated, LeadRejected, LeadUpdated
from shared.messaging.envelope import Delivery, Invalid, read

NOW = datetime(2025, 2, 1, 12, tzinfo=UTC)
META = SourceRules(1, "META", "IN", ZoneInfo("Asia/Kolkata"))
REFERENCE = Reference(
    business_lines=Names.of([(1, "Home"), (2, "Motor")]),
    countries=Names.of([(1, "India", "IN"), (2, "Peru", "PE")]),
    document_types=Names.of([(7, "Passport"), (8, "National ID")]),
)


def created(**fields: Any) -> LeadCreated:
    """The event as it comes off the wire."""
    return LeadCreated.model_validate_json(json.dumps({"lead_id": "L1", "source": "META", **fields}))


def a_lead(rules: SourceRules = META, now: datetime = NOW, **fields: Any) -> Lead:
    lead = read_created(created(**fields), rules, REFERENCE, now)
    assert isinstance(lead, Lead), lead
    return lead


def why_not(**fields: Any) -> str:
    """The reason why these fields are refused, by the contract or by what they mean."""
    return why_not_body(json.dumps({"lead_id": "L1", "source": "META", **fields}))


def why_not_body(body: str | bytes) -> str:
    text = body if isinstance(body, bytes) else body.encode()
    arrival = read(Delivery(1, "leads", "lead.created", text, {}), ["lead.created"])
    if isinstance(arrival, Invalid):
        return refuse(arrival)[0]
    assert isinstance(arrival.event, LeadCreated)
    rejected = read_created(arrival.event, META, REFERENCE, NOW)
    assert isinstance(rejected, Rejected)
    return rejected.reason


def stored(lead: Lead) -> dict[str, Any]:
    """The row that the lead becomes."""
    return {name: getattr(lead, name) for name in lead.__struct_fields__}


def test_a_lead_has_the_columns_of_the_table() -> None:
    """Every column that `lead.created` writes, by its name; ids of source and customer are looked up by the writer."""
    ours = set(Lead.__struct_fields__)
    theirs = set(models.Lead.__table__.columns.keys())
    assert ours - theirs == {"source", "external_id", "told", "unknown_fields"}
    made_by_the_writer = {"id", "revision", "written_at", "duplicate_of", "repeats", "received_at", "updated_at"}
    assert theirs - ours == {"source_id", "customer_id", *made_by_the_writer}


def test_the_least_that_is_a_lead() -> None:
    """An id and a source; the rest is our defaults, and no flag."""
    assert a_lead() == Lead(lead_id="L1", source="META", created_at=NOW, told=frozenset({"source"}))


def test_a_full_lead_in_normal_form() -> None:
    """Names become ids, contacts their normal form, times UTC; what the contract does not know is kept and counted."""
    lead = a_lead(
        business_line="  motor ",
        country="in",
        document_type="NATIONAL  id",
        document_number="44.556.778-K",
        store_code="S1",
        external_id=77,
        customer_name="Asha Rao",
        mobile_number="098765 43210",
        email="Asha@GMail.com",
        address="12, MG Road\n Pune",
        stage="2",
        is_order_placed="yes",
        created_at="2025-01-31T10:00:00+05:30",
        pickup_date="2025-02-03T09:00:00",
        attributes={"utm": "own", "gone": None},
        utm="other",
        form_id=5,
    )
    assert lead == Lead(
        lead_id="L1",
        source="META",
        business_line_id=2,
        country_id=1,
        document_type_id=8,
        document_number="44.556.778-K",
        store_code="S1",
        external_id="77",
        customer_name="Asha Rao",
        mobile_number="+919876543210",
        email="Asha@gmail.com",
        address="12, MG Road, Pune",
        stage=2,
        is_order_placed=True,
        created_at=datetime(2025, 1, 31, 4, 30, tzinfo=UTC),
        pickup_date=date(2025, 2, 3),
        attributes={"utm": "own", "form_id": 5},
        told=lead.told,
        unknown_fields=2,
    )


@pytest.mark.parametrize(
    ("fields", "column", "value", "flags"),
    [
        ({"mobile_number": "call me"}, "mobile_number", "call me", ("mobile_number_invalid",)),
        ({"mobile_number": "98765"}, "mobile_number", "98765", ("mobile_number_invalid",)),
        ({"email": "asha at gmail"}, "email", "asha at gmail", ("email_invalid",)),
        ({"given_name": "Asha", "surname": "Rao"}, "customer_name", "Asha Rao", ("customer_name_built",)),
        ({"surname": "Rao"}, "customer_name", "Rao", ("customer_name_built",)),
        ({"customer_name": "A", "surname": "Rao"}, "customer_name", "A", ()),
        ({"customer_name": "Asha Rao"}, "given_name", None, ()),
        ({"customer_name": "  "}, "customer_name", None, ()),
        ({"stage": ""}, "stage", 1, ()),
        ({"is_order_placed": None}, "is_order_placed", False, ()),
    ],
)
def test_a_lead_is_never_lost_over_a_typo(
    fields: dict[str, Any], column: str, value: object, flags: tuple[str, ...]
) -> None:
    """What cannot be right is kept as written and flagged; blank is absent."""
    lead = a_lead(**fields)
    assert (getattr(lead, column), lead.flags) == (value, flags)


@pytest.mark.parametrize(
    ("written", "expected", "flags"),
    [
        ("2025-01-31T10:00:00Z", datetime(2025, 1, 31, 10, tzinfo=UTC), ()),
        ("2025-01-31 10:00:00", datetime(2025, 1, 31, 4, 30, tzinfo=UTC), ("created_at_no_offset",)),
        ("2025-01-31", datetime(2025, 1, 30, 18, 30, tzinfo=UTC), ("created_at_no_offset",)),
        (1738300000, datetime(2025, 1, 31, 5, 6, 40, tzinfo=UTC), ()),
        ("2025-02-01T12:00:01Z", NOW, ("created_at_in_future",)),
        ("2025-02-01T17:30:00", NOW, ("created_at_no_offset",)),
        ("2025-02-01T17:30:01", NOW, ("created_at_in_future", "created_at_no_offset")),
        ("9999-12-31T23:59:59-12:00", NOW, ("created_at_in_future",)),
        ("0001-01-01T00:00:00+05:30", NOW, ("created_at_too_old",)),
        ("0001-01-01T00:00:00", NOW, ("created_at_no_offset", "created_at_too_old")),
        (None, NOW, ()),
    ],
)
def test_when_a_lead_was_created(written: object, expected: datetime, flags: tuple[str, ...]) -> None:
    """Without an offset in the source's zone, never in the future, never a null date; now when nobody tells."""
    lead = a_lead(created_at=written)
    assert (lead.created_at, lead.created_at.utcoffset(), lead.flags) == (expected, timedelta(0), flags)


REFUSED = {
    "business line": (
        {"business_line": "Solar"},
        "business_line: there is no business line 'Solar', known are: Home, Motor; add it, then replay this message",
    ),
    "country": (
        {"country": "XX"},
        "country: there is no country 'XX', known are: India (IN), Peru (PE); add it, then replay this message",
    ),
    "document type": (
        {"document_type": "DNI"},
        "document_type: there is no document type 'DNI', known are: National ID, Passport; "
        "add it, then replay this message",
    ),
    "two at once": (
        {"country": "XX", "n": float("nan")},
        "country: there is no country 'XX', known are: India (IN), Peru (PE); add it, then replay this message; "
        "n: must be a finite number, not NaN or Infinity",
    ),
    "NaN as a number": ({"mobile_number": float("nan")}, "mobile_number: must be text or a finite number"),
    "NUL in an attribute": (
        {"attributes": {"a": [{"b": "x\0"}]}},
        "attributes.a[0].b: must not have the character NUL (U+0000)",
    ),
    "NUL in the name of an attribute": (
        {"attributes": {"a": {"b\0": 1}}},
        r"attributes.a: the name 'b\x00' must not have the character NUL (U+0000)",
    ),
    "NUL in an unknown field": ({"note": "\0"}, "note: must not have the character NUL (U+0000)"),
    "NUL in the name of an unknown field": (
        {"no\0te": 1},
        r"body: the name 'no\x00te' must not have the character NUL (U+0000)",
    ),
    "Infinity": ({"attributes": {"a": float("-inf")}}, "attributes.a: must be a finite number, not NaN or Infinity"),
    "too much": (
        {"attributes": {"a": "é" * 32_000}, "b": "c" * 2_000},
        "attributes: must have at most 65,536 bytes as JSON with all unknown fields, has 66,015",
    ),
    "missing": ({"lead_id": None, "source": " "}, "lead_id: is required; source: is required"),
    "NUL": ({"customer_name": "a\0b"}, "customer_name: must not have the character NUL (U+0000)"),
    "a long lead id": ({"lead_id": "x" * 10_000}, "lead_id: must have 1 to 128 bytes, has 10000"),
    "time": (
        {"created_at": "31/31"},
        "created_at: must be a date or time such as 2025-01-31T10:00:00+05:30, got '31/31'",
    ),
    "time of another type": (
        {"created_at": True},
        "created_at: must be a date or time such as 2025-01-31T10:00:00+05:30, got True",
    ),
    "day": ({"pickup_date": "2025-02-30"}, "pickup_date: must be a date such as 2025-01-31, got '2025-02-30'"),
    "a number for a day": ({"run_date": 20250131}, "run_date: must be a date such as 2025-01-31, got 20250131"),
    "too high": ({"stage": 9}, "stage: must be at most 4, got 9"),
    "too low": ({"stage": 0}, "stage: must be at least 1, got 0"),
    "no number": ({"stage": "x"}, "stage: must be a whole number, got 'x'"),
    "a fraction": ({"stage": 1.5}, "stage: must be a whole number, got 1.5"),
    "yes or no": ({"is_order_placed": "perhaps"}, "is_order_placed: must be true or false, got 'perhaps'"),
    "text": ({"store_code": ["S1"]}, "store_code: must be text, got ['S1']"),
    "long text": ({"store_name": "x" * 201}, "store_name: must have at most 200 characters, has 201"),
    "an object": ({"attributes": [1]}, "attributes: must be an object, got [1]"),
}


@pytest.mark.parametrize(("fields", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_says_what_is_wrong_with_which_field(fields: dict[str, Any], reason: str) -> None:
    """Field by field, in words for the person who repairs it."""
    assert why_not(**fields) == reason


NO_OBJECTS: dict[str, tuple[str | bytes, str]] = {
    "an array": ("[1]", "body: must be one JSON object, got [1]"),
    "not JSON": ("hello", "the body must be one JSON object, is no JSON from line 1, column 1 on"),
    "half a character": (
        r'{"lead_id": "L1", "customer_name": "a\ud800"}',
        "the body must not have half a character (a lone surrogate, U+D800 to U+DFFF): customer_name has one",
    ),
}


@pytest.mark.parametrize(("body", "reason"), NO_OBJECTS.values(), ids=NO_OBJECTS.keys())
def test_a_body_that_is_no_object_is_named_for_what_it_is(body: str | bytes, reason: str) -> None:
    """As one sentence, and to its sender too."""
    assert why_not_body(body) == reason


@pytest.mark.parametrize(
    ("body", "lead_id", "field"),
    [
        (rb'{"lead_id": "L1", "source": "META", "customer_name": "\ud800"}', "L1", "body"),
        (b'{"lead_id": "L1"}', "L1", "source"),
        (b'{"lead_id": "%s", "source": "META"}' % (b"x" * 10_000), None, "lead_id"),
        (rb'{"lead_id": "a\u0000b", "source": "META"}', None, "lead_id"),
    ],
)
def test_the_sender_is_told_of_which_lead_it_was(body: bytes, lead_id: str | None, field: str) -> None:
    """Of one that can be a lead's id only: nothing of any other is sent back."""
    arrival = read(Delivery(1, "leads", "lead.created", body, {}), ["lead.created"])
    assert isinstance(arrival, Invalid)
    (told,) = refuse(arrival)[1]
    assert isinstance(told, LeadRejected)
    assert (told.lead_id, told.errors[0].field) == (lead_id, field)
    assert len(told.to_json()) < 500


def test_an_update_says_when_it_happened() -> None:
    """Its time decides who wins."""
    with pytest.raises(ValidationError) as missing:
        LeadUpdated.model_validate_json('{"lead_id": "L1"}')
    assert as_error(missing.value).reason == "occurred_at: is required"


@pytest.mark.parametrize(
    "fields", [{"customer_name": "a\ud800"}, {"attributes": {"a": "\udfff"}}, {"note": ["é\udc00"]}]
)
def test_half_a_character_never_reaches_the_database(fields: dict[str, Any]) -> None:
    """Also where Python decoded the JSON, which lets it pass: the contract refuses it, or ingest does."""
    try:
        event = LeadCreated.model_validate({"lead_id": "L1", "source": "META", **fields})
    except ValidationError as error:
        rejected: Lead | Rejected = as_error(error)
    else:
        rejected = read_created(event, META, REFERENCE, NOW)
    assert isinstance(rejected, Rejected)
    assert "must not have half a character" in rejected.reason


def test_the_names_told_as_known_are_the_first_twenty() -> None:
    """Sorted without regard to case; the rest is counted."""
    many = Names.of((key, f"{'B' if key % 2 else 'b'}{key:02}") for key in range(25, 0, -1))
    first = ", ".join(f"{'B' if key % 2 else 'b'}{key:02}" for key in range(1, 21))
    assert many.known() == f"known are: {first} and 5 more"


def test_an_empty_table_is_told_as_such() -> None:
    nothing = Names.of([])
    rejected = read_created(created(business_line="Solar"), META, Reference(nothing, nothing, nothing), NOW)
    assert isinstance(rejected, Rejected)
    assert "there is no business line 'Solar', none are configured yet; add it" in rejected.reason


@pytest.mark.parametrize(("depth", "is_taken"), [(20, True), (21, False)])
def test_attributes_are_nested_twenty_deep(depth: int, is_taken: bool) -> None:
    """Deeper is refused, for the whole and for an unknown field alike."""
    value: Any = 1
    for level in range(depth - 1):
        value = [value] if level % 2 else {"a": value}
    for fields in ({"attributes": {"n": value}}, {"n": value}):
        read = read_created(created(**fields), META, REFERENCE, NOW)
        assert isinstance(read, Lead if is_taken else Rejected)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["\0", "\ud800"])
)
JSONS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
FIELDS = st.sampled_from([*LeadCreated.model_fields, "unknown"])


@given(
    st.dictionaries(
        FIELDS, JSONS | st.sampled_from(["2025-01-31", "Home", "9876543210", "a@b.in", 2, True]), max_size=5
    )
)
def test_every_body_is_a_lead_that_can_be_stored_or_a_line_of_words(fields: dict[str, Any]) -> None:
    """Whatever comes: no exception, no value that PostgreSQL refuses, no reason that cannot be shown."""
    try:
        event = LeadCreated.model_validate({"lead_id": "L1", "source": "META", **fields})
        read = read_created(event, META, REFERENCE, NOW)
    except ValidationError as error:
        read = as_error(error)
    if isinstance(read, Rejected):
        assert read.errors
        assert read.reason.isprintable()
        assert all(len(error.problem) < 300 for error in read.errors)
    else:
        text = json.dumps(stored(read) | {"told": None}, default=str, allow_nan=False, ensure_ascii=False)
        assert "\\u0000" not in text
        assert text.encode()
        assert datetime(1900, 1, 1, tzinfo=UTC) <= read.created_at <= NOW


@given(st.binary(max_size=30) | st.text(max_size=30) | JSONS.map(json.dumps))
def test_every_body_that_is_no_lead_gets_a_line_of_words(body: str | bytes) -> None:
    """Bytes, text and JSON of any kind."""
    with pytest.raises(ValidationError) as error:
        LeadCreated.model_validate_json(body)
    assert as_error(error.value).reason.isprintable()


# The same lead again.


WHOLE: dict[str, Any] = {
    "business_line": "Home",
    "store_code": "S1",
    "given_name": "Asha",
    "surname": "Rao",
    "mobile_number": "9876543210",
    "stage": 2,
    "created_at": "2025-01-31T10:00:00",
    "utm": "x",
}


def test_the_same_message_again_differs_in_nothing() -> None:
    """Also when read later, with defaults and a clamped time of now."""
    cases: tuple[dict[str, Any], ...] = (
        WHOLE,
        {},
        {"created_at": "2025-02-01T12:30:00Z"},
        {"created_at": "0001-01-01"},
    )
    for fields in cases:
        first, again = a_lead(**fields), a_lead(now=NOW + timedelta(hours=1), **fields)
        assert differing_fields(stored(first), again, {}) == ()


@pytest.mark.parametrize(
    ("fields", "written_at", "expected"),
    [
        ({"business_line": "Motor", "stage": 3}, {}, ("business_line", "stage")),
        ({"source": "GOOGLE"}, {}, ("source",)),
        ({"surname": "Rau"}, {}, ("surname",)),
        ({"customer_name": "Asha"}, {}, ("customer_name",)),
        ({"store_code": None, "mobile_number": "", "utm": None}, {}, ()),
        ({"mobile_number": "+91 98765-43210"}, {}, ()),
        ({"utm": "y", "attributes": {"new": 1}}, {}, ("attributes.new", "attributes.utm")),
        ({"stage": 3, "utm": "y"}, {"stage": "2025", "attributes.utm": "2025"}, ()),
        ({"utm": "y"}, {"attributes": "2025"}, ()),
        ({"business_line": "Motor"}, {"business_line_id": "2025"}, ()),
    ],
)
def test_a_lead_that_comes_again_names_what_differs(
    fields: dict[str, Any], written_at: dict[str, str], expected: tuple[str, ...]
) -> None:
    """What it tells otherwise; not what it leaves out, nor what an update wrote since."""
    again = {**WHOLE, **fields}
    rules = structs.replace(META, name=again.get("source", META.name))
    assert differing_fields(stored(a_lead(**WHOLE)), a_lead(rules, **again), written_at) == expected


# Natural keys.


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"document_number": "44.556-k"}, [NaturalKey("document", "-:44556K")]),
        ({"document_number": "44556K", "document_type": "passport"}, [NaturalKey("document", "7:44556K")]),
        ({"document_number": "N/A", "document_type": "passport"}, []),
        ({"mobile_number": "9876543210"}, []),
        ({"mobile_number": "9876543210", "store_code": "S1"}, [NaturalKey("store_mobile", "S1:+919876543210")]),
        ({"mobile_number": "98765", "store_code": "S1"}, []),
        ({"mobile_number": "9999999999", "store_code": "S1"}, []),
        (
            {"mobile_number": "+919876543210", "store_code": "S1", "document_number": "44556K"},
            [NaturalKey("document", "-:44556K"), NaturalKey("store_mobile", "S1:+919876543210")],
        ),
    ],
)
def test_natural_keys_come_from_valid_values_only(fields: dict[str, Any], expected: list[NaturalKey]) -> None:
    """A document number with its type, a mobile number with its store; sorted."""
    assert natural_keys(a_lead(**fields), META) == expected


@pytest.mark.parametrize("kinds", [set(), {"document"}, {"store_mobile"}, {"document", "store_mobile"}])
def test_a_source_says_which_natural_keys_count(kinds: set[str]) -> None:
    """None of them is a choice too."""
    source = structs.replace(META, natural_keys=frozenset(kinds))
    lead = a_lead(mobile_number="9876543210", store_code="S1", document_number="44556K")
    assert {key.kind for key in natural_keys(lead, source)} == kinds
