"""Synthetic leads: determined by their seed, unique, valid where they are good, wrong where they say so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import phonenumbers
import pytest
from pydantic import ValidationError

from services.simulator import invented
from services.simulator.leads import Flaw, Kind, LeadMaker, Sample, Vocabulary
from shared.events import LeadCreated

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def samples(maker: LeadMaker) -> Iterator[Sample]:
    while True:
        yield maker.make(NOW)


def leads(count: int, maker: LeadMaker) -> list[dict[str, Any]]:
    return [json.loads(sample.body) for sample in islice(samples(maker), count)]


def e164(number: str) -> str:
    parsed = phonenumbers.parse(number, "IN")
    assert phonenumbers.is_valid_number(parsed), number
    assert phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.MOBILE, number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Two makers of one seed and run agree on everything, and the first lead is what it always was."""
    one = LeadMaker(7, "a", duplicates=10, malformed=5)
    two = LeadMaker(7, "a", duplicates=10, malformed=5)
    assert list(islice(samples(one), 2_000)) == list(islice(samples(two), 2_000))
    assert leads(1, LeadMaker(7)) == [
        {
            "lead_id": "SIM-7-0000001",
            "source": "WEBSITE",
            "mobile_number": "+91 93838 90998",
            "email": "farhan.gulmoharia.1@example.com",
            "customer_type": "New",
            "document_number": "SIM02A68864350000001",
            "created_at": "2026-03-01T09:26:24+00:00",
            "given_name": "Farhan",
            "surname": "Gulmoharia",
            "store_code": "PNQ05",
            "country": "India",
            "document_type": "Driver License",
            "address": "1 Example Street, Sampleganj",
            "external_id": "SIM-7-C0000001",
        }
    ]


def test_what_is_mixed_in_does_not_change_the_good_leads() -> None:
    """Lead n is lead n with or without duplicates and malformed ones."""
    plain = [sample.body for sample in islice(samples(LeadMaker(7)), 300)]
    mixed = islice(samples(LeadMaker(7, duplicates=30, malformed=30)), 1_000)
    assert [sample.body for sample in mixed if sample.kind == Kind.GOOD][:300] == plain


def test_two_runs_have_nothing_in_common() -> None:
    """Another seed or run id gives other lead ids, document numbers, mobile numbers and customers."""
    for field in ("lead_id", "document_number", "mobile_number", "external_id"):
        runs = [
            {
                e164(lead[field]) if field == "mobile_number" else lead[field]
                for lead in leads(500, maker)
                if field in lead
            }
            for maker in (LeadMaker(7), LeadMaker(8), LeadMaker(7, "b"), LeadMaker(-7))
        ]
        assert len(set[str]().union(*runs)) == sum(map(len, runs)), field


def test_no_natural_key_comes_twice() -> None:
    """Lead ids and document numbers count up, mobile numbers too, in blocks far larger than a million."""
    made = leads(20_000, LeadMaker(3))
    for field in ("lead_id", "document_number"):
        assert len({lead[field] for lead in made}) == len(made), field
    numbers = [e164(lead["mobile_number"]) for lead in made]
    assert len(set(numbers)) == len(made)
    for prefix, first, size in (("+91", 9_000_000_000, 10**9), ("+44", 7_120_000_000, 48 * 10**7)):
        steps = {(int(number[3:]) - n - first) % size for n, number in enumerate(numbers) if number.startswith(prefix)}
        assert len(steps) == 1, "lead n has the n-th number after the run's first"


@pytest.mark.parametrize("number", [9_000_000_000, 9_499_999_999, 9_999_999_999])
def test_every_indian_number_of_the_range_is_valid(number: int) -> None:
    e164(str(number))


@pytest.mark.parametrize("number", ["+447120000000", "+447599999999"])
def test_every_british_number_of_the_range_is_valid(number: str) -> None:
    e164(number)


def test_every_good_lead_is_a_lead() -> None:
    """Good bodies are `lead.created` with nothing unknown, under example.com, not from the future, not yet ordered."""
    for sample in islice(samples(LeadMaker(11, duplicates=10)), 5_000):
        lead = LeadCreated.model_validate_json(sample.body)
        assert sample.key == lead.lead_id
        assert sample.routing_key == "lead.created"
        assert not lead.model_extra
        assert lead.customer_name or (lead.given_name and lead.surname)
        assert lead.email is not None
        assert lead.email.endswith("@example.com")
        assert lead.created_at is not None
        assert NOW - timedelta(minutes=5) <= lead.created_at <= NOW
        assert lead.is_order_placed is None
        assert lead.business_line is None, "none is configured in a new database"


def test_words_are_used_when_they_are_given() -> None:
    words = Vocabulary(sources=("META",), business_lines=("Cars",), countries=("India",), document_types=("Passport",))
    for lead in leads(50, LeadMaker(1, vocabulary=words)):
        assert (lead["source"], lead["business_line"]) == ("META", "Cars")
        assert (lead["country"], lead["document_type"]) == ("India", "Passport")


def test_every_lead_has_a_store_where_that_is_wanted() -> None:
    made = leads(200, LeadMaker(1, vocabulary=Vocabulary(stores=("A1", "B2"), store_share=1)))
    assert {lead["store_code"] for lead in made} == {"A1", "B2"}


def test_every_source_and_customer_type_occurs() -> None:
    made = leads(1_000, LeadMaker(1))
    assert {lead["source"] for lead in made} == {"META", "GOOGLE", "WEBSITE", "REFERRAL", "WALK-IN"}
    assert {lead["customer_type"] for lead in made} == set(invented.CUSTOMER_TYPES)


@pytest.mark.parametrize(
    ("duplicates", "malformed"), [(0, 0), (10, 0), (0, 5), (12.5, 2.5), (50, 50), (100, 0), (0, 100)]
)
def test_the_shares_are_kept_to_within_one(duplicates: float, malformed: float) -> None:
    """At every moment the counts are the percentages of what was sent, to within one or what could not be sent yet."""
    maker = LeadMaker(5, duplicates=duplicates, malformed=malformed)
    seen: Counter[Kind] = Counter()
    for n, sample in enumerate(islice(samples(maker), 1_000), start=1):
        seen[sample.kind] += 1
        assert abs(seen[Kind.MALFORMED] - n * malformed / 100) <= 1
        assert n * duplicates / 100 - seen[Kind.DUPLICATE] <= 3
        assert seen[Kind.DUPLICATE] - n * duplicates / 100 <= 1


def test_a_duplicate_is_an_earlier_lead_again() -> None:
    seen: dict[str | None, bytes] = {}
    distances = []
    for n, sample in enumerate(islice(samples(LeadMaker(5, duplicates=20)), 2_000)):
        if sample.kind == Kind.DUPLICATE:
            assert seen[sample.key] == sample.body
            distances.append(n)
        seen[sample.key] = sample.body
    assert len({after - before for before, after in pairwise(distances)}) > 3, "not in step"


def test_malformed_ones_take_turns_and_are_what_they_say() -> None:
    """Seven of the eight are no `lead.created`; the unknown business line only ingest can know."""
    made = list(islice(samples(LeadMaker(5, malformed=100)), 2 * len(Flaw)))
    assert [sample.flaw for sample in made] == [*Flaw, *Flaw]
    for sample in made:
        if sample.flaw == Flaw.BUSINESS_LINE:
            assert LeadCreated.model_validate_json(sample.body).business_line == invented.UNKNOWN_BUSINESS_LINE
        else:
            with pytest.raises(ValidationError):
                LeadCreated.model_validate_json(sample.body)


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        (Flaw.NOT_JSON, "Invalid JSON"),
        (Flaw.ARRAY, "object"),
        (Flaw.NO_LEAD_ID, "Field required"),
        (Flaw.LONG_LEAD_ID, "must have 1 to 128 bytes, has 10000"),
        (Flaw.NUL, "NUL"),
        (Flaw.SURROGATE, "hex escape"),
        (Flaw.DATE, "day value is outside expected range"),
    ],
)
def test_each_flaw_is_the_one_it_says(flaw: Flaw, words: str) -> None:
    sample = next(sample for sample in samples(LeadMaker(5, malformed=100)) if sample.flaw == flaw)
    with pytest.raises(ValidationError) as refused:
        LeadCreated.model_validate_json(sample.body)
    assert refused.value.error_count() == 1
    assert words in str(refused.value)


def test_a_key_always_fits_a_short_string() -> None:
    for sample in islice(samples(LeadMaker(5, "r" * 40, malformed=50)), 100):
        assert sample.key is None or len(sample.key.encode()) <= 128


@pytest.mark.parametrize(
    ("duplicates", "malformed"), [(-1, 0), (0, -0.1), (60, 41), (float("nan"), 0), (0, float("inf"))]
)
def test_percentages_that_are_none_are_refused(duplicates: float, malformed: float) -> None:
    with pytest.raises(ValueError, match="per cent"):
        LeadMaker(1, duplicates=duplicates, malformed=malformed)


@pytest.mark.parametrize("run_id", ["x" * 80, "a\nb", "\x00"])
def test_a_run_id_that_makes_no_lead_id_is_refused(run_id: str) -> None:
    with pytest.raises(ValueError, match="run id"):
        LeadMaker(1, run_id)
