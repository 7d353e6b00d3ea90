"""What came back, judged: which rows are taken, which are for a person and why, which nobody has touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from services.documents.pdf import render
from services.documents.returns import MOST_STRANGERS, Filled, Outcome, Printed, ReturnedForm, Review, judge, read_row
from services.documents.seals import Manifest, manifest_of, write_manifest
from services.documents.sheet import SheetFacts, SheetRow, field_name
from tests.unit.test_sheet import KEY, a_row, a_sheet, read

TODAY = date(2025, 11, 30)
SHEET = a_sheet(*(a_row(number) for number in range(1, 10)))
CODES = [row.lead_assignment_code for row in SHEET.rows]
TEXTS = tuple(page.extract_text() for page in read(render(SHEET, KEY)).pages)


def an_assignment(row: SheetRow, **changes: object) -> Printed:
    """The row's assignment, its agent's still."""
    values: dict[str, object] = {
        "assignment_id": row.rowid,
        "lead_id": f"lead {row.rowid}",
        "agent_code": "A001",
        "row": row,
        "is_current": True,
        "is_begun": False,
        "held_by": "A001",
    }
    return Printed(**(values | changes))  # type: ignore[arg-type]


def judged(
    filled: dict[str, dict[str, str]],
    *,
    facts: SheetFacts = SHEET,
    printed: dict[str, Printed] | None = None,
    texts: tuple[str, ...] = TEXTS,
) -> tuple[list[Outcome], list[Review]]:
    """The sheet with these fields filled in, by code and field."""
    fields = {field_name(code, name): value for code, row in filled.items() for name, value in row.items()}
    manifest = manifest_of(facts, KEY)
    form = ReturnedForm((write_manifest(manifest, KEY),), fields, texts)
    assignments = {row.lead_assignment_code: an_assignment(row) for row in facts.rows}
    return judge(form, manifest, assignments | (printed or {}), key=KEY, today=TODAY)


GOOD: list[tuple[dict[str, str], Filled]] = [
    ({"conv": "N"}, Filled(is_converted=False)),
    ({"conv": "no", "remarks": "call\nback  later"}, Filled(is_converted=False, remarks="call back later")),
    ({"remarks": "nobody at home"}, Filled(remarks="nobody at home")),
    ({"conv": "Y"}, Filled(is_converted=True)),
    ({"conv": "yes", "order_no": " SO-1 "}, Filled(is_converted=True, order_number="SO-1")),
    (
        {
            "conv": "Y",
            "order_no": "SO-2",
            "order_date": "20-Nov-25",
            "value": "₹1,250.50",
            "payment_mode": "upi",
            "payment_amt": "1,000",
            "remarks": "बाकी कल",
        },
        Filled(True, "SO-2", date(2025, 11, 20), Decimal("1250.50"), "UPI", Decimal(1000), "बाकी कल"),
    ),
]
BAD: list[tuple[dict[str, str], str]] = [
    ({"conv": "Y", "value": "a lot"}, "Value says 'a lot', which is no amount"),
    ({"conv": "Y", "payment_amt": "half"}, "Payment Amt says 'half', which is no amount"),
    ({"conv": "Y", "order_date": "31/02/2025"}, "Order Date says '31/02/2025', which is no date as DD/MM/YYYY"),
    ({"conv": "Y", "order_date": "01/12/2025"}, "Order Date 2025-12-01 is not in the past"),
    ({"conv": "Y", "order_date": "01/12/1999"}, "Order Date 1999-12-01 is not in the past"),
    ({"conv": "maybe"}, "Conv says 'maybe', which is neither Y nor N"),
    ({"order_no": "SO-1"}, "Conv is empty, but there is Order No"),
    ({"value": "5", "payment_mode": "Cash"}, "Conv is empty, but there is Value, Payment Mode"),
    ({"conv": "N", "order_no": "SO-1"}, "Conv says no, but there is Order No"),
    ({"conv": "Y", "payment_mode": "cowries"}, "Payment Mode says 'cowries', which is none of Cash"),
    ({"conv": "Y", "order_no": "9" * 65}, "Order No has more than 64 characters"),
    ({"conv": "Y", "value": "x", "payment_amt": "y"}, "no amount; Payment Amt says"),
]


@pytest.mark.parametrize(("values", "filled"), GOOD)
def test_what_is_right_is_taken(values: dict[str, str], filled: Filled) -> None:
    """As it was meant."""
    outcomes, reviews = judged({CODES[0]: values})
    assert [outcome.filled for outcome in outcomes] == [filled]
    assert reviews == []


@pytest.mark.parametrize(("values", "reason"), BAD)
def test_what_cannot_be_right_is_for_a_person_and_the_rest_is_taken(values: dict[str, str], reason: str) -> None:
    """With the reason in words and what was written; the other rows go through."""
    outcomes, (review,) = judged({CODES[0]: values, CODES[8]: {"conv": "N"}})
    assert reason in review.reason
    assert (review.code, review.values) == (CODES[0], values)
    assert [outcome.printed.row.lead_assignment_code for outcome in outcomes] == [CODES[8]]


def test_a_row_that_nobody_has_touched_is_nothing() -> None:
    """Blank fields, spaces, an unticked choice: no outcome, nothing for a person."""
    assert judged({code: {"conv": "", "order_no": "  ", "remarks": "\n"} for code in CODES}) == ([], [])


def test_an_order_with_its_number_wins_the_lead() -> None:
    """Converted without one does not close it yet."""
    assert read_row({"conv": "Y", "order_no": "1"}, TODAY)[0].is_won
    assert not read_row({"conv": "Y"}, TODAY)[0].is_won
    assert not read_row({"conv": "N"}, TODAY)[0].is_won


def test_an_unknown_code_is_for_a_person() -> None:
    """One that the sheet does not have, or our records do not; a flood of them is cut."""
    _, (review,) = judged({"L250101B001-0001": {"conv": "Y"}})
    assert review.reason == "the code 'L250101B001-0001' is none of this sheet's"
    _, reviews = judged({f"X{number}": {"conv": "Y"} for number in range(1000)})
    assert len(reviews) == MOST_STRANGERS
    manifest = Manifest(SHEET.sheet_key, {"gone": "0" * 24})
    form = ReturnedForm((), {"gone.conv": "Y"}, ())
    assert [each.code for each in judge(form, manifest, {}, key=KEY, today=TODAY)[1]] == ["gone"]


def test_a_row_that_is_not_as_we_printed_it_is_for_a_person() -> None:
    """Our records say otherwise, or the page does; the other rows are taken."""
    changed = an_assignment(replace(SHEET.rows[0], mobile_number="+91 11111 11111"))
    outcomes, (review,) = judged({code: {"conv": "N"} for code in CODES}, printed={CODES[0]: changed})
    assert "not what our records say" in review.reason
    assert len(outcomes) == len(CODES) - 1
    texts = (TEXTS[0].replace("Ann Example 3", "Bob Example 3"), TEXTS[1])
    outcomes, (review,) = judged({code: {"conv": "N"} for code in CODES}, texts=texts)
    assert (review.code, review.reason) == (CODES[2], "the printed row was changed: 'Ann Example 3' is not on the page")
    assert len(outcomes) == len(CODES) - 1


@pytest.mark.parametrize("texts", [(), ("", ""), ("\ufffd\ufffd", "(cid:3)"), TEXTS[1:], (TEXTS[0] + TEXTS[1],)])
def test_pages_that_cannot_be_read_back_are_no_change(texts: tuple[str, ...]) -> None:
    """A tool may write text so that it only looks right; pages may be missing or put together."""
    fields = {CODES[7]: {"conv": "N"}, CODES[8]: {"conv": "Y"}}
    outcomes, reviews = judged(fields, texts=texts)
    assert len(outcomes) == 2
    assert reviews == []


def test_a_lead_that_is_anothers_by_now_is_recorded_and_for_a_person() -> None:
    """It says who has it."""
    gone = an_assignment(SHEET.rows[0], is_current=False, held_by="B002")
    (outcome,), (review,) = judged({CODES[0]: {"conv": "Y", "order_no": "1"}}, printed={CODES[0]: gone})
    assert outcome.filled.is_won
    assert review.reason == "the lead was taken from agent A001 before the sheet came back: agent B002 has it now"
