"""How a person is reached and known: phone number, e-mail, postal address, document number.

Each function takes what somebody wrote and returns its one normal form, or None where it cannot be right. Whoever
calls keeps what was written: a lead is never lost over a typo.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

#: What people type into a document number that they do not have; compared in capitals, letters and digits only.
PLACEHOLDERS = frozenset(
    {
        *("ASDF", "DEFAULT", "MISSING", "NINGUNO", "NODATA", "NODOCUMENT", "NONE", "NOTAPPLICABLE", "NOTAVAILABLE"),
        *("NOTGIVEN", "NOTKNOWN", "NOTPROVIDED", "NULL", "PENDING", "QWERTY", "SINDOCUMENTO", "UNDEFINED"),
    }
)
#: These also with a number behind them: test1, DUMMY 002.
NUMBERED_PLACEHOLDERS = re.compile(r"(TEST|TESTING|TESTER|DEMO|DUMMY|SAMPLE|EXAMPLE|FAKE|UNKNOWN|X{3,})[0-9]*")
#: Shorter than any document of any country, and what "0", "x", "-" and "N/A" come to.
DOCUMENT_MIN_LENGTH = 4
#: Has one form only, and nothing in it that a mail server could refuse.
PLAIN_LOCAL_PART = re.compile(r"(?=.{1,64}$)[a-z0-9]+([._+-][a-z0-9]+)*")
EMAIL_MAX_LENGTH = 254
E164 = re.compile(r"\+(?P<digits>[1-9][0-9]{6,14})")
NOTHING = re.compile(r"(?!)")
RISING, FALLING = "01234567890123456789", "98765432109876543210"


def phone(written: str, region: str) -> str | None:
    """The number in E.164; one without a country code is read as of `region` (ISO 3166, as "IN").

    A number with an extension has no E.164 form that still reaches the person: None.
    """
    if (plain := E164.fullmatch(written)) and _plain_numbers(plain["digits"][:3]).fullmatch(plain["digits"]):
        return written
    return _phone(written, region)


def _phone(written: str, region: str) -> str | None:
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@lru_cache(maxsize=4096)
def _plain_numbers(prefix: str) -> re.Pattern[str]:
    """Numbers in E.164 that begin with these three digits and are valid mobile numbers: the library's own pattern.

    It is as good as the library where one region alone has the country code and what the pattern takes begins with
    nothing that might be a national prefix; else it takes none.
    """
    code = next((prefix[:size] for size in (1, 2, 3) if int(prefix[:size] or 0) in COUNTRY_CODE_TO_REGION_CODE), "")
    regions = COUNTRY_CODE_TO_REGION_CODE.get(int(code or 0), ())
    metadata = PhoneMetadata.metadata_for_region(regions[0]) if len(regions) == 1 else None
    mobile = metadata and metadata.mobile and metadata.mobile.national_number_pattern
    if metadata is None or not mobile:
        return NOTHING
    before = metadata.national_prefix_for_parsing
    return re.compile(f"{code}{f'(?!{before})' if before else ''}(?:{mobile})")


def is_phone_placeholder(number: str) -> bool:
    """An E.164 number that is valid and still nobody's: +919999999999, +911234567890."""
    return len(set(number[-8:])) == 1 or number.endswith("1234567890")


def email(written: str) -> str | None:
    """The address with its domain in lower case. The domain is not asked for: no network."""
    local, _, domain = written.partition("@")
    # The domain is what costs time, and few domains have most of the addresses. The answer is the library's, as tested.
    if PLAIN_LOCAL_PART.fullmatch(local) and written.isascii() and len(written) <= EMAIL_MAX_LENGTH:
        normal = _domain(domain)
        return normal and f"{local}@{normal}"
    return _email(written)


def _email(written: str) -> str | None:
    try:
        return validate_email(written, check_deliverability=False).normalized
    except EmailNotValidError:
        return None


@lru_cache(maxsize=4096)
def _domain(written: str) -> str | None:
    normal = _email(f"a@{written}")
    return normal and normal.removeprefix("a@")


def address(written: str) -> str:
    """On one line: runs of white space are one space, line ends become commas."""
    lines = (" ".join(line.split()).strip(", ") for line in written.splitlines())
    return ", ".join(line for line in lines if line)


def document(written: str) -> str | None:
    """The number in capitals, letters and digits only; None for what stands for "I have none"."""
    number = "".join(filter(str.isalnum, written.upper()))
    is_junk = (
        len(number) < DOCUMENT_MIN_LENGTH
        or len(set(number)) == 1
        or number in RISING
        or number in FALLING
        or number in PLACEHOLDERS
        or NUMBERED_PLACEHOLDERS.fullmatch(number)
    )
    return None if is_junk else number
