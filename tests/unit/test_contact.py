"""Phone numbers, e-mail, addresses, document numbers: one normal form each, or none."""

from __future__ import annotations

import re

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest import contact

PHONES = {
    "ten digits": ("98765 43210", "IN", "+919876543210"),
    "trunk prefix": ("09876543210", "IN", "+919876543210"),
    "international prefix": ("0091 98765-43210", "IN", "+919876543210"),
    "country code without plus": ("919876543210", "IN", "+919876543210"),
    "own country code beats the region": ("+44 20 7946 0958", "IN", "+442079460958"),
    "another region": ("(202) 555-0123", "US", "+12025550123"),
    "no region": ("+51 987 654 321", "", "+51987654321"),
    "other digits": ("९८७६५४३२१०", "IN", "+919876543210"),
    "without country code and region": ("9876543210", "", None),
    "too short": ("98765", "IN", None),
    "two numbers": ("9876543210 / 9876543211", "IN", None),
    "an extension": ("022 2345 6789 ext 5", "IN", None),
    "zeros": ("0000000000", "IN", None),
    "words": ("call me", "IN", None),
    "nothing": ("", "IN", None),
}


COUNTRY_CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
#: Valid mobile numbers of every region, the last digits anyhow, and one digit in some.
MOBILES = [
    phonenumbers.format_number(example_number, phonenumbers.PhoneNumberFormat.E164)
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    if (example_number := phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE))
]
nearly_mobile = st.builds(
    lambda number, end, place, digit: (number[:-3] + end)[:place] + digit + (number[:-3] + end)[place + len(digit) :],
    st.sampled_from(MOBILES),
    st.from_regex(r"[0-9]{3}", fullmatch=True),
    st.integers(2, 9),
    st.sampled_from(["", *"0123456789"]),
)
any_number = st.builds(
    lambda code, digits: f"+{code}{digits}",
    st.sampled_from(COUNTRY_CODES),
    st.from_regex(r"[0-9]{4,12}", fullmatch=True),
)


@given(nearly_mobile | any_number)
def test_the_quick_way_to_a_number_says_what_the_library_says(written: str) -> None:
    """What is in E.164 already is looked at without parsing it."""
    assert contact.phone(written, "IN") == contact._phone(written, "IN")


@pytest.mark.parametrize("number", ["+919876543210", "+33612345678"])
def test_the_quick_way_is_taken(number: str) -> None:
    assert contact._plain_numbers(number[1:4]).fullmatch(number[1:])


@pytest.mark.parametrize(("written", "region", "expected"), PHONES.values(), ids=PHONES.keys())
def test_a_phone_number_has_one_form(written: str, region: str, expected: str | None) -> None:
    """E.164, or None for what cannot be reached."""
    assert contact.phone(written, region) == expected


@given(
    st.text(max_size=64) | st.from_regex(r"\+?[0-9 ()/-]{6,16}", fullmatch=True), st.sampled_from(["IN", "US", "", "?"])
)
def test_whatever_is_written_is_e164_or_none(written: str, region: str) -> None:
    """No text raises, and a number in E.164 stays as it is in any region."""
    number = contact.phone(written, region)
    assert number is None or re.fullmatch(r"\+[0-9]{5,15}", number)
    assert number is None or contact.phone(number, "DE") == number


@pytest.mark.parametrize(
    ("number", "expected"),
    [("+919999999999", True), ("+911234567890", True), ("+919876543210", False), ("+919999999998", False)],
)
def test_some_valid_numbers_are_nobodys(number: str, expected: bool) -> None:
    """One digit for ever, or the row of digits."""
    assert contact.is_phone_placeholder(number) == expected


EMAILS = {
    "plain": ("asha.rao@gmail.com", "asha.rao@gmail.com"),
    "the domain has no case": ("Asha.Rao@GMail.COM", "Asha.Rao@gmail.com"),
    "another script": ("ü@bücher.de", "ü@bücher.de"),
    "no at": ("asha.rao.gmail.com", None),
    "no dot": ("asha@gmail", None),
    "two at": ("asha@rao@gmail.com", None),
    "two addresses": ("a@b.in, c@d.in", None),
    "a name around it": ("Asha <a@b.in>", None),
    "a domain that is none": ("a@nowhere.invalid", None),
    "too long": ("a" * 250 + "@b.in", None),
}


@pytest.mark.parametrize(("written", "expected"), EMAILS.values(), ids=EMAILS.keys())
def test_an_email_address_has_one_form(written: str, expected: str | None) -> None:
    """The domain in lower case, or None for what no mail can reach."""
    assert contact.email(written) == expected


LABELS = st.from_regex(r"[a-zA-Z0-9._+ -]{0,66}", fullmatch=True) | st.text(max_size=8)


@given(
    LABELS, st.sampled_from(["gmail.com", "GMAIL.com", "xn--bcher-kva.de", "x.test", "b", "a..b", ".in", ""]) | LABELS
)
@example("a", ".".join(["b" * 60] * 4) + ".in")
@example("a" * 64, ".".join(["b" * 61] * 3) + ".in")
@example("a.b\n", "gmail.com")
@example("postmaster", "gmail.com")
@example("a", "b@c.in")
def test_the_short_way_says_what_the_library_says(local: str, domain: str) -> None:
    """Remembering domains changes no answer."""
    written = f"{local}@{domain}"
    try:
        expected = validate_email(written, check_deliverability=False).normalized
    except EmailNotValidError:
        expected = None
    assert contact.email(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("  12,  MG Road,\r\n Bengaluru\t560001\n\n", "12, MG Road, Bengaluru 560001"),
        ("Plot 5\nPune", "Plot 5, Pune"),
        ("one line", "one line"),
        (",", ""),
    ],
)
def test_an_address_is_one_line(written: str, expected: str) -> None:
    """White space is single spaces, line ends are commas."""
    assert contact.address(written) == expected


@given(st.text())
def test_an_address_in_normal_form_stays(written: str) -> None:
    """Reading it twice is reading it once."""
    once = contact.address(written)
    assert contact.address(once) == once


NO_DOCUMENT = [
    *("", "-", "...", "0", "x", "X", "NA", "N/A", "n.a.", "nil", "none", "None", "NULL", "null", "unknown", "Test"),
    *(
        "test 1",
        "TEST-123",
        "dummy",
        "xxxx",
        "XXX-001",
        "000",
        "0000000",
        "11111111",
        "aaaaaa",
        "12345678",
        "1234567890",
    ),
    *(
        "123456789",
        "9876543210",
        "987654321",
        "not available",
        "Not Applicable",
        "pending",
        "undefined",
        "sin documento",
    ),
]
DOCUMENTS = {
    "44.556.778-K": "44556778K",
    "ab 123 456": "AB123456",
    "ABCDE1234F": "ABCDE1234F",
    "NA1234567": "NA1234567",
    "1234 5679": "12345679",
    "0001234": "0001234",
    "testament9": "TESTAMENT9",
}


@pytest.mark.parametrize("written", NO_DOCUMENT)
def test_a_placeholder_is_no_document(written: str) -> None:
    """N/A must not make everyone a duplicate."""
    assert contact.document(written) is None


@pytest.mark.parametrize(("written", "expected"), DOCUMENTS.items())
def test_a_document_number_has_one_form(written: str, expected: str) -> None:
    """Capitals, letters and digits only."""
    assert contact.document(written) == expected


@given(st.text(max_size=64))
def test_a_document_number_in_normal_form_stays(written: str) -> None:
    """Reading it twice is reading it once."""
    number = contact.document(written)
    assert number is None or contact.document(number) == number
