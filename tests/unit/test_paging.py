"""Cursors: what was given goes on where it was; what was made up is refused."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.paging import cut, decode, encode
from services.api.problems import ProblemError
from shared.messaging.envelope import BIGINT_MAX


@given(st.integers(0, BIGINT_MAX))
def test_a_cursor_goes_on_after_its_row(row_id: int) -> None:
    assert decode(encode(row_id), 7) == row_id


def test_without_a_cursor_it_begins() -> None:
    assert decode(None, 7) == 7


@given(st.text(max_size=50))
def test_what_is_none_of_ours_is_refused(made_up: str) -> None:
    try:
        assert 0 <= decode(made_up, 0) <= BIGINT_MAX
    except ProblemError as problem:
        assert problem.status == 422  # noqa: PT017


@pytest.mark.parametrize("after", ["1", "-1", "true", str(2**63), "[1]", "null", "1e400"])
def test_an_id_that_is_none_is_refused(after: str) -> None:
    cursor = urlsafe_b64encode(f'{{"after": {after}}}'.encode()).decode()
    if after == "1":
        assert decode(cursor, 0) == 1
    else:
        with pytest.raises(ProblemError):
            decode(cursor, 0)


def test_a_page_tells_whether_there_is_another() -> None:
    assert cut([1, 2, 3], 2, int) == ([1, 2], encode(2))
    assert cut([1, 2], 2, int) == ([1, 2], None)
    assert cut([], 2, int) == ([], None)
