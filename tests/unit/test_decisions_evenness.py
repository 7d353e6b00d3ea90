"""How evenly leads lie, and what members are entitled to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.decisions.evenness import jain, spread


@pytest.mark.parametrize(
    ("counts", "expected_spread", "expected_index"),
    [([], 0, 1.0), ([0, 0], 0, 1.0), ([4, 4, 4], 0, 1.0), ([9, 0, 0], 9, 1 / 3), ([3, 1], 2, 0.8)],
)
def test_spread_and_index(counts: list[int], expected_spread: int, expected_index: float) -> None:
    assert spread(counts) == expected_spread
    assert jain(counts) == pytest.approx(expected_index)


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 9))
def test_the_index_lies_between_a_share_and_one_and_knows_no_scale(counts: list[int], factor: int) -> None:
    assert 1 / len(counts) - 1e-9 <= jain(counts) <= 1 + 1e-9
    assert jain([count * factor for count in counts]) == pytest.approx(jain(counts))
