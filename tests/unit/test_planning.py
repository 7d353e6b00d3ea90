"""Which mails there are to be: a table of what is stored and what is next, and what parts of a size may hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.message import Recipient, SendAs
from services.notifier.planning import (
    Carried,
    Delivery,
    LotSheet,
    Mail,
    Note,
    Pin,
    Send,
    State,
    StoreMails,
    carried,
    distinct,
    encoded,
    merged,
    next_for,
    next_of,
    numbered,
    outcome,
    packed,
)

ANN, BOB, EVE = Recipient("ann@example.com"), Recipient("bob@example.com"), Recipient("eve@example.com")


def a_mail(**changes: Any) -> Mail:
    return Mail(**({"key": "lot:7:S1:1", "message_id": "<1@example.com>"} | changes))


def told(recipient: Recipient, status: str) -> Delivery:
    return Delivery(recipient, status, f"said {status}")


def sheets(*states: State) -> tuple[LotSheet, ...]:
    """Sheets of a store, numbered from 1; who is waited for has no document yet."""
    return tuple(
        LotSheet(f"lot-7-S1-000{number}", None if state is State.AWAITED else number, 1_000, state)
        for number, state in enumerate(states, 1)
    )


def known(*states: State, mails: tuple[Mail, ...] = (), current: tuple[Recipient, ...] = (ANN,)) -> StoreMails:
    number = sum(1 for mail in mails if mail.document_ids) + 1
    return StoreMails(sheets(*states), mails, current, a_mail(key=f"lot:7:S1:{number}"), "nobody")


# One mail.


@pytest.mark.parametrize(
    ("deliveries", "current", "left"),
    [
        ((), (ANN, BOB), (ANN, BOB)),
        ((told(ANN, "deferred"),), (ANN, BOB), (ANN, BOB)),
        ((told(ANN, "sent"), told(BOB, "deferred")), (ANN, BOB), (BOB,)),
        ((told(ANN, "refused"), told(BOB, "deferred")), (ANN, BOB), (BOB,)),
        ((told(ANN, "refused"),), (ANN, BOB), (BOB,)),
        ((told(ANN, "sent"), told(BOB, "deferred")), (ANN, BOB, EVE), (BOB,)),
        ((told(ANN, "deferred"),), (BOB,), (BOB,)),
    ],
    ids=["first", "one waits", "one has it", "one never", "corrected", "late comer gets none", "taken off"],
)
def test_a_mail_goes_to_those_who_are_left(
    deliveries: tuple[Delivery, ...], current: tuple[Recipient, ...], left: tuple[Recipient, ...]
) -> None:
    step = next_for(a_mail(deliveries=deliveries), current, void=None, nobody="nobody")
    assert isinstance(step, Send)
    assert step.left == left


@pytest.mark.parametrize(
    ("deliveries", "current", "void", "expected"),
    [
        ((told(ANN, "sent"),), (ANN,), None, None),
        ((told(ANN, "sent"),), (ANN, BOB), None, None),
        ((told(ANN, "refused"),), (ANN,), None, None),
        ((told(ANN, "sent"), told(BOB, "deferred")), (ANN,), None, None),
        ((told(ANN, "sent"), told(BOB, "deferred")), (ANN, BOB), "void", None),
        ((told(ANN, "deferred"),), (ANN,), "gone", ("void", "gone")),
        ((), (), None, ("waiting", "nobody")),
        ((told(ANN, "deferred"),), (), None, ("waiting", "nobody")),
    ],
)
def test_a_mail_that_does_not_go_says_why(
    deliveries: tuple[Delivery, ...],
    current: tuple[Recipient, ...],
    void: str | None,
    expected: tuple[str, str] | None,
) -> None:
    step = next_for(a_mail(deliveries=deliveries), current, void=void, nobody="nobody")
    assert (step and isinstance(step, Note) and (step.status, step.reason)) == expected


@pytest.mark.parametrize(
    ("deferred_by", "asker", "left"),
    [("e1", "e1", (BOB,)), ("e1", "e2", ()), ("e1", None, (BOB,)), (None, "e2", (BOB,))],
    ids=["who waits for it", "another", "nobody's look", "before it was written down"],
)
def test_who_waits_on_the_ladder_is_left_to_the_message_there(
    deferred_by: str | None, asker: str | None, left: tuple[Recipient, ...]
) -> None:
    mail = a_mail(deliveries=(told(ANN, "sent"), Delivery(BOB, "deferred", "450", deferred_by)))
    step = next_for(mail, (ANN, BOB), void=None, nobody="nobody", asker=asker)
    assert (step.left if isinstance(step, Send) else ()) == left


def test_a_retry_shows_those_whom_the_first_try_has_shown() -> None:
    """Also who has it already, and nobody who was added since."""
    step = next_for(
        a_mail(deliveries=(told(ANN, "sent"), told(BOB, "deferred"))), (BOB, EVE), void=None, nobody="nobody"
    )
    assert isinstance(step, Send)
    assert (step.shown, step.left) == ((ANN, BOB), (BOB,))


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("sent", "sent"), "sent"),
        (("sent", "deferred"), "partial"),
        (("sent", "refused"), "partial"),
        (("deferred", "refused"), "waiting"),
        (("refused", "refused"), "failed"),
    ],
)
def test_a_mails_status_follows_from_its_recipients(statuses: tuple[str, str], expected: str) -> None:
    deliveries = [told(ANN, statuses[0]), told(BOB, statuses[1])]
    assert outcome(deliveries, (ANN, BOB))[0] == expected
    assert outcome([*deliveries, told(EVE, "refused")], (ANN, BOB))[0] == expected  # no recipient any more


def test_a_later_answer_replaces_an_earlier_one() -> None:
    mail = a_mail(deliveries=(told(ANN, "sent"), told(BOB, "deferred")))
    assert merged(mail, [told(BOB, "sent")]) == (told(ANN, "sent"), told(BOB, "sent"))


def test_an_address_is_there_once_where_it_is_seen_best() -> None:
    cc = Recipient("ANN@example.com", "Ann", SendAs.CC)
    assert distinct([cc, ANN, BOB]) == (ANN, BOB)


# A store's mails of a lot.


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((State.READY, State.READY), Pin(1, sheets(State.READY, State.READY), ())),
        ((State.READY, State.VOID), Pin(1, sheets(State.READY), ())),
        ((State.READY, State.CLOSED), Pin(1, sheets(State.READY), sheets(State.READY, State.CLOSED)[1:])),
        ((State.CLOSED,), Pin(1, (), sheets(State.CLOSED))),
    ],
)
def test_a_store_gets_what_is_ready_once_nothing_is_waited_for(states: tuple[State, ...], expected: Pin) -> None:
    assert next_of(known(*states), ()) == expected


@pytest.mark.parametrize(
    ("state", "current", "expected"),
    [
        ((State.READY, State.AWAITED), (ANN,), ("waiting", "waits for other sheets of the lot: 1 of 2 are made")),
        ((State.READY, State.READY), (), ("waiting", "nobody")),
        ((State.VOID, State.VOID), (ANN,), ("void", "its sheets are void")),
        ((State.VOID, State.VOID), (), ("void", "its sheets are void")),
    ],
)
def test_a_stores_mail_that_does_not_go_says_why(
    state: tuple[State, ...], current: tuple[Recipient, ...], expected: tuple[str, str]
) -> None:
    facts = known(*state, current=current)
    step = next_of(facts, ())
    assert isinstance(step, Note)
    assert (step.mail.key, step.status, step.reason) == ("lot:7:S1:1", *expected)
    assert next_of(facts, {"lot:7:S1:1"}) is None


def test_a_late_sheet_goes_in_a_mail_of_its_own() -> None:
    """Those that are in a mail stay in it; what became void meanwhile is no mail more."""
    sent = a_mail(document_ids=(1, 2), deliveries=(told(ANN, "sent"),))
    assert next_of(known(State.READY, State.READY, mails=(sent,)), ()) is None
    assert next_of(known(State.READY, State.VOID, State.VOID, mails=(sent,)), ()) is None
    late = next_of(known(State.READY, State.READY, State.READY, mails=(sent,)), ())
    assert late == Pin(2, sheets(*[State.READY] * 3)[2:], ())


def test_what_is_decided_goes_before_what_is_new() -> None:
    """A mail that waits on the ladder for somebody is tried with any message about its store, once."""
    first = a_mail(document_ids=(1,), deliveries=(told(ANN, "deferred"),))
    facts = known(State.READY, State.READY, mails=(first,))
    assert next_of(facts, ()) == Send(first, (ANN,), (ANN,))
    assert isinstance(next_of(facts, {first.key}), Pin)


def test_an_awaited_mail_whose_last_sheet_went_void_is_void_too() -> None:
    sent, awaited = a_mail(document_ids=(1,), deliveries=(told(ANN, "sent"),)), a_mail(key="lot:7:S1:2")
    step = next_of(known(State.READY, State.VOID, mails=(sent, awaited)), ())
    assert isinstance(step, Note)
    assert (step.mail.key, step.status) == ("lot:7:S1:2", "void")


# Sizes.


def of_size(*sizes: int) -> tuple[LotSheet, ...]:
    return tuple(LotSheet(f"K{number}", number, size, State.READY) for number, size in enumerate(sizes))


@pytest.mark.parametrize(
    ("sizes", "room", "can_link", "expected"),
    [
        ((10, 10, 10), None, False, [3]),
        ((10_000, 10_000, 10_000), encoded(10_000) * 2, False, [2, 1]),
        ((10_000, 90_000, 10_000), 50_000, False, [1, 1, 1]),
        ((10_000, 90_000, 10_000), 50_000, True, [3]),
        ((90_000,), 50_000, False, [1]),
    ],
    ids=["no limit", "two fit", "too large stands alone", "too large goes along as a link", "alone"],
)
def test_sheets_are_parted_by_size(
    sizes: tuple[int, ...], room: int | None, can_link: bool, expected: list[int]
) -> None:
    assert [len(part) for part in packed(of_size(*sizes), room, can_link=can_link)] == expected


@given(st.lists(st.integers(0, 200_000), min_size=1), st.integers(2_000, 150_000), st.booleans())
def test_each_sheet_is_in_one_part_and_no_part_is_too_large(sizes: list[int], room: int, can_link: bool) -> None:
    """But for a part of one sheet that is too large itself, where there are no links."""
    parts = packed(of_size(*sizes), room, can_link=can_link)
    assert [sheet for part in parts for sheet in part] == list(of_size(*sizes))
    for part in parts:
        how = carried({each.document_id or 0: each.size for each in part}, room, can_link=can_link)
        assert {*how.attached, *how.linked, *how.too_large} == {each.document_id for each in part}
        assert not how.too_large or len(part) == 1
        assert sum(encoded(each.size) for each in part if each.document_id in how.attached) <= room


@pytest.mark.parametrize(("can_link", "expected"), [(True, Carried((1,), (2,))), (False, Carried((1,), (), (2,)))])
def test_the_largest_sheet_is_left_out_of_a_mail(can_link: bool, expected: Carried) -> None:
    assert carried({1: 10_000, 2: 90_000}, 50_000, can_link=can_link) == expected


def test_parts_say_which_they_are() -> None:
    mails = numbered([a_mail(key="1"), a_mail(key="2")], [of_size(1, 1), of_size(1)], is_late=False)
    assert [(mail.part, mail.parts, mail.document_ids) for mail in mails] == [(1, 2, (0, 1)), (2, 2, (0,))]
