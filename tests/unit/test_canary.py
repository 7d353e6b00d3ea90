"""The canary of a replay: its steps, when it stops, and where it goes on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.deadletters.canary import STEPS, UNDER_WAY_AT_MOST, Done, Send, Stop, Tally, Wait, next_move


@pytest.mark.parametrize(
    ("tally", "move"),
    [
        (Tally(0), Done()),
        (Tally(500), Send(1, is_step=True)),
        (Tally(499, under_way=1), Wait()),
        (Tally(499, through=1), Send(5, is_step=True)),
        (Tally(494, through=5, under_way=1), Wait()),
        (Tally(494, through=6), Send(20, is_step=True)),
        (Tally(474, through=24, failed=2), Send(100, is_step=True)),
        (Tally(400, through=26, under_way=74), Send(26, is_step=True)),
        (Tally(374, through=26, under_way=100), Wait()),
        (Tally(374, through=126), Send(UNDER_WAY_AT_MOST, is_step=False)),
        (Tally(300, through=126, under_way=74), Send(UNDER_WAY_AT_MOST - 74, is_step=False)),
        (Tally(300, through=126, under_way=UNDER_WAY_AT_MOST), Wait()),
        (Tally(0, through=130, under_way=1), Wait()),
        (Tally(0, through=130), Done()),
    ],
)
def test_one_move(tally: Tally, move: object) -> None:
    assert next_move(tally) == move


@pytest.mark.parametrize(
    ("tally", "stops"),
    [
        (Tally(9, failed=1), True),
        (Tally(9, through=9, failed=1), False),
        (Tally(9, through=8, failed=1), True),
        (Tally(9, through=90, failed=10, under_way=50), False),
        (Tally(0, through=90, failed=11), True),
        (Tally(9, trusted=90, failed=10), False),
        (Tally(9, trusted=90, failed=11), True),
    ],
)
def test_it_stops_when_more_than_a_tenth_of_the_settled_failed_again(tally: Tally, stops: bool) -> None:
    assert (next_move(tally) == Stop()) == stops


@pytest.mark.parametrize(("trusted", "first"), [(0, 1), (1, 5), (4, 2), (26, 100), (125, 1), (126, UNDER_WAY_AT_MOST)])
def test_after_an_interruption_it_goes_on_where_it_was(trusted: int, first: int) -> None:
    move = next_move(Tally(10_000, trusted=trusted))
    assert isinstance(move, Send)
    assert move.messages == first


@given(st.integers(0, 3_000), st.floats(0, 0.3), st.integers(0, 2**32), st.integers(0, 200))
def test_every_replay_ends_and_never_has_more_at_risk_than_its_step(
    messages: int, share: float, seed: int, trusted: int
) -> None:
    """Whatever fails when: it comes to Done or Stop, everything is sent once at most, and steps do not overlap."""
    chance = random.Random(seed)
    waiting, under_way, through, failed = messages, 0, 0, 0
    while True:
        tally = Tally(waiting, under_way, through, failed, trusted)
        match next_move(tally):
            case Send(count, is_step):
                assert count > 0
                assert not is_step or count <= max(STEPS)
                sent = min(count, waiting)
                waiting, under_way = waiting - sent, under_way + sent
            case Wait():
                assert under_way
                under_way -= 1
                is_bad = chance.random() < share
                through, failed = through + (not is_bad), failed + is_bad
            case Stop():
                assert failed * 10 > through + failed + trusted
                break
            case Done():
                assert (waiting, under_way) == (0, 0)
                break
    assert waiting + under_way + through + failed == messages
