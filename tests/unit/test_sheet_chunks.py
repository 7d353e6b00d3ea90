"""A lot's sheets in chunks: how many leads are rendered at once does not depend on how many the lot has."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from services.documents.consumer import in_chunks
from services.documents.queries import Sheet
from tests.unit.test_sheet import a_sheet


def a_sheet_of(leads: int) -> Sheet:
    """A sheet with so many leads."""
    ids = tuple(map(str, range(leads)))
    return Sheet(a_sheet(), date(2025, 11, 21), "S1", "S1", 1, "A001", 1, 7, ids)


@given(st.lists(st.integers(1, 900), max_size=40), st.integers(1, 700))
def test_no_chunk_has_more_leads_than_allowed_but_one_of_a_single_sheet(sizes: list[int], most: int) -> None:
    """All sheets in order, each once; no chunk could have taken the next one's first sheet."""
    sheets = [a_sheet_of(size) for size in sizes]
    chunks = list(in_chunks(sheets, most))
    assert [sheet for chunk in chunks for sheet in chunk] == sheets
    totals = [sum(len(sheet.lead_ids) for sheet in chunk) for chunk in chunks]
    assert all(total <= most or len(chunk) == 1 for total, chunk in zip(totals, chunks, strict=True))
    for total, following in zip(totals, chunks[1:], strict=False):
        assert total + len(following[0].lead_ids) > most
