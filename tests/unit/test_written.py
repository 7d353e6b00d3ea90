"""What people write on sheets, read: the tables of good and bad values."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.documents.written import read_amount, read_day, read_yes_or_no

THE_DAY = date(2025, 1, 31)


@pytest.mark.parametrize(
    "written",
    [
        *("31/01/2025", "31-01-2025", "31.01.2025", "31.1.25", "31/1/25", "31 01 2025", "31012025", "2025-01-31"),
        *(
            "2025/01/31",
            "2025.1.31",
            "31-Jan-25",
            "31-JAN-2025",
            "31 Jan 2025",
            "31 January, 2025",
            "31st January 2025",
        ),
        *(
            "Jan 31, 2025",
            "January 31st 2025",
            "31Jan2025",
            " 31/01/2025 ",
            "३१/०१/२०२५",
            "\uff13\uff11/\uff10\uff11/\uff12\uff10\uff12\uff15",
        ),
    ],
)
def test_a_day_is_read_however_it_is_written(written: str) -> None:
    """Day before month, as the sheet's hint says; names of months in any length, other scripts' digits."""
    assert read_day(written) == THE_DAY


@pytest.mark.parametrize(
    "written",
    [
        *("", "tomorrow", "01/31/2025", "31/02/2025", "29/02/2025", "31/01", "Jan 2025", "31/01/202", "0/0/0"),
        *("31-Foo-25", "2025-31-01", "31//", "1738281600", "31/01/2025 or so", "\x00", "31 maybe 2025"),
    ],
)
def test_what_is_no_day_is_none(written: str) -> None:
    """Neither is a month before its day."""
    assert read_day(written) is None


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("1250", "1250"),
        ("1250.5", "1250.5"),
        ("1,250.50", "1250.50"),
        ("₹1,250", "1250"),
        ("₹ 1,250/-", "1250"),
        ("Rs. 1250", "1250"),
        ("Rs 1250 only", "1250"),
        ("INR 1,25,000.00", "125000.00"),
        ("1,25,00,000", "12500000"),
        ("1.250,50", "1250.50"),
        ("1 250", "1250"),
        ("1'250.00", "1250.00"),
        ("$1,250", "1250"),
        ("0", "0"),
        ("१२५०", "1250"),
        ("9999999999.99", "9999999999.99"),
    ],
)
def test_an_amount_is_read_however_it_is_written(written: str, amount: str) -> None:
    """With or without currency, in thousands or lakhs."""
    assert read_amount(written) == Decimal(amount)


@pytest.mark.parametrize(
    "written",
    [
        *("", "about 1250", "-5", "(1250)", "1,25", "12,50", "1.250", "1,2,3", "1250.505", "1e5", "NaN", "Infinity"),
        *("10000000000", "1250 - 1300", "₹", "1,250.50.5", "12 50", "\u066b", "\x00", "½"),
    ],
)
def test_what_is_no_amount_or_may_be_two_is_none(written: str) -> None:
    """1.250 is a thousand to some."""
    assert read_amount(written) is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        *((yes, True) for yes in ("Y", "y", " Yes ", "YES.", "true", "1", "x", "✓")),
        *((no, False) for no in ("N", "no", "No!", "false", "0", "Not converted")),
        *((other, None) for other in ("", "maybe", "Y/N", "yn", "?", "2")),
    ],
)
def test_yes_and_no(written: str, said: bool | None) -> None:
    """And what is neither."""
    assert read_yes_or_no(written) is said


@given(st.text(max_size=40))
def test_anything_can_be_written(written: str) -> None:
    """Never a crash; an amount is one that the database takes."""
    read_day(written)
    read_yes_or_no(written)
    amount = read_amount(written)
    assert amount is None or (0 <= amount < 10**10 and amount == round(amount, 2))


@given(
    st.dates(date(2000, 1, 1), date(2068, 12, 31)), st.sampled_from(["%d/%m/%Y", "%d-%b-%y", "%Y-%m-%d", "%d %B %Y"])
)
def test_a_day_that_is_written_is_the_day_that_is_read(day: date, form: str) -> None:
    """In each usual form."""
    assert read_day(day.strftime(form)) == day
