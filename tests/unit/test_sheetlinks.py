"""Links to sheets: good until they expire, and nobody else can make one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sheetlinks import LinkState, sign_link, verify_link

KEY, OTHER = b"a key that is long enough", b"another that is long enough"
NOW = datetime(2025, 11, 21, 9, 30, tzinfo=UTC)
UNTIL = NOW + timedelta(days=14)


def opened(link: str) -> tuple[str, str, str]:
    """Sheet key, expiry and signature, as who serves the link gets them."""
    parts = urlsplit(link)
    query = parse_qs(parts.query)
    return unquote(parts.path.rpartition("/files/")[2]), query["expires"][0], query["signature"][0]


@given(st.text(min_size=1))
def test_a_link_opens_its_sheet_until_it_expires(sheet_key: str) -> None:
    sheet_key = sheet_key.encode(errors="replace").decode()
    link = sign_link("https://leads.example.com/", sheet_key, UNTIL, KEY)
    assert link.startswith("https://leads.example.com/files/")
    assert link.isascii()
    assert opened(link)[0] == sheet_key
    assert verify_link(*opened(link), [OTHER, KEY], NOW) is LinkState.GOOD
    assert verify_link(*opened(link), [KEY], UNTIL) is LinkState.EXPIRED


@pytest.mark.parametrize(
    ("part", "value"),
    [(0, "lot-7-S1-0002"), (1, "9999999999"), (1, "soon"), (1, "٣"), (1, "9" * 400), (2, "0" * 64), (2, "é"), (2, "")],
)
def test_a_link_that_was_changed_opens_nothing(part: int, value: str) -> None:
    opening = list(opened(sign_link("https://leads.example.com", "lot-7-S1-0001", UNTIL, KEY)))
    opening[part] = value
    assert verify_link(opening[0], opening[1], opening[2], [KEY], NOW) is LinkState.FORGED


def test_a_link_of_another_installation_opens_nothing() -> None:
    link = sign_link("https://leads.example.com", "lot-7-S1-0001", UNTIL, OTHER)
    assert verify_link(*opened(link), [KEY], NOW) is LinkState.FORGED
