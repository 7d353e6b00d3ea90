"""Dates as the known systems write them, and how 04/05/2024 is decided."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.dates import DateOrder, DayMonth, find_date_order, read_time

times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2068, 12, 31))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("15 Apr, 2021 00:03:00", "2021-04-15T00:03:00"),  # Zoho
        ("Apr 15, 2021 12:03 AM", "2021-04-15T00:03:00"),
        ("2024-03-12 09:14", "2024-03-12T09:14:00"),  # HubSpot
        ("2024-01-15T10:00:00.000Z", "2024-01-15T10:00:00+00:00"),  # Salesforce, Data Loader
        ("2024-01-15T10:00:00.000+0000", "2024-01-15T10:00:00+00:00"),
        ("3/15/2024, 2:30 PM", "2024-03-15T14:30:00"),  # Salesforce, report
        ("3/15/2024", "2024-03-15T00:00:00"),
        ("2026-08-31T12:12:17-05:00", "2026-08-31T12:12:17-05:00"),  # Meta
        ("2024-09-26 12:30:00+05:30", "2024-09-26T12:30:00+05:30"),  # Google
        ("2024-09-26 12:30:00 UTC", "2024-09-26T12:30:00+00:00"),
        ("Thu, 26 Sept 2024 12:30", "2024-09-26T12:30:00"),
        ("September 26th, 2024 at 3:04 p.m.", "2024-09-26T15:04:00"),
        ("26-Sep-24", "2024-09-26T00:00:00"),
        ("2024/09/26", "2024-09-26T00:00:00"),
        ("05.04.2024 9:05", "2024-04-05T09:05:00"),  # dots: the day comes first, whatever the order
        ("1618444980", "2021-04-15T00:03:00+00:00"),
        ("1618444980123", "2021-04-15T00:03:00+00:00"),
        ("44301.5", "2021-04-15T12:00:00"),  # a spreadsheet's serial number
    ],
)
def test_every_known_way_of_writing_a_date_is_read(text: str, iso: str) -> None:
    assert read_time(text, "month first") == iso


@pytest.mark.parametrize(
    "text", ["yesterday", "31/02/2024", "15/13/2024", "2024-02-30", "13:00 PM", "1/2/2024 13:00 PM", "12", "5 Foo 2024"]
)
def test_what_is_no_date_is_said_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is no date that can be read"):
        read_time(text, "day first")


@given(times, st.sampled_from(["day first", "month first"]))
def test_each_order_reads_what_was_written_in_it(time: datetime, order: DayMonth) -> None:
    shape = "%d/%m/%Y %H:%M:%S" if order == "day first" else "%m/%d/%Y %I:%M:%S %p"

    assert read_time(time.strftime(shape), order) == time.replace(microsecond=0).isoformat()


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        datetime.fromisoformat(read_time(text, "day first"))
    except ValueError as error:
        assert "is no date that can be read" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("values", "decided"),
    [
        (["04/05/2024", "25/12/2024"], DateOrder("day first", "line 1 has 25/12/2024")),
        (["4/5/24", "12/25/24 1:00 PM"], DateOrder("month first", "line 1 has 12/25/24 1:00 PM")),
        (["04/05/2024", "05/04/2024"], DateOrder("month first", "assumed: no date of the file tells")),
        (["04 May, 2024", "25.12.2024", "2024-12-25"], DateOrder("month first")),
        ([], DateOrder("month first")),
        (["25/12/2024", "26/12/2024", "12/25/2024"], DateOrder("day first", "line 0 has 25/12/2024")),
        (["1/1/2024"] * 5_000 + ["31/1/2024"], DateOrder("day first", "line 5000 has 31/1/2024")),
        (["x"] * 5_000 + ["31/1/2024"], DateOrder("month first")),
    ],
)
def test_the_files_own_values_decide_which_number_is_the_day(values: list[str], decided: DateOrder) -> None:
    assert find_date_order(enumerate(values), "month first") == decided


def test_the_evidence_is_in_the_words_of_the_summary() -> None:
    assert str(DateOrder("day first", "line 3 has 25/12/2024")) == "day first (line 3 has 25/12/2024)"
    assert str(DateOrder("day first")) == "day first"


@given(times)
def test_seconds_since_1970_are_utc(time: datetime) -> None:
    moment = time.replace(tzinfo=UTC, microsecond=0)
    if moment.timestamp() >= 1_000_000_000:
        assert read_time(str(int(moment.timestamp())), "day first") == moment.isoformat()
