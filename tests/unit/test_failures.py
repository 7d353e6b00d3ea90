"""What a failure means, and what to do next: tables."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.failures import (
    AGAIN_LIMIT,
    BREAKER_LIMIT,
    OUTAGE_LIMIT,
    Action,
    Again,
    AwaitDependency,
    Blame,
    Break,
    Close,
    Failed,
    Hold,
    Other,
    Outage,
    RunAgain,
    Settle,
    Split,
    State,
    Through,
    classify,
    fingerprint_of,
    step,
)
from shared.outage import DependencyGoneError


class DriverError(Exception):
    """As asyncpg raises them."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("the text of an error, with an id in it")
        self.sqlstate = sqlstate


class WrappedError(Exception):
    """As SQLAlchemy wraps them."""

    def __init__(self, orig: BaseException, *, connection_invalidated: bool = False) -> None:
        super().__init__("wrapped")
        self.orig = orig
        self.connection_invalidated = connection_invalidated


def caused_by(cause: BaseException) -> BaseException:
    error = RuntimeError("on top")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        *((DriverError(state), Again) for state in ("40001", "40P01", "55P03", "57014", "25P03")),
        *((DriverError(state), Outage) for state in ("08006", "08003", "53100", "53300", "57P01", "57P03", "58030")),
        *((DriverError(state), Other) for state in ("23505", "22P02", "42703", "21000", "57000", None)),
        (WrappedError(DriverError("40P01")), Again),
        (WrappedError(DriverError("08006")), Outage),
        (WrappedError(DriverError(None), connection_invalidated=True), Outage),
        (WrappedError(DriverError("23505")), Other),
        (caused_by(DriverError("57P01")), Outage),
        (caused_by(ConnectionResetError()), Outage),
        (DependencyGoneError("smtp", "it is away"), Outage),
        (TimeoutError(), Outage),
        (OSError(errno.ENOSPC, "the disk is full"), Outage),
        (FileNotFoundError(errno.ENOENT, "no such file"), Other),
        (ValueError("a bug"), Other),
        (KeyError("lead_id"), Other),
    ],
)
def test_kinds(error: BaseException, kind: type) -> None:
    """By SQLSTATE where there is one, through wrappers and causes."""
    assert isinstance(classify(error), kind)


def test_an_outage_names_its_dependency() -> None:
    """So that the right one is asked whether it is back."""
    assert classify(DependencyGoneError("smtp", "away")) == Outage("smtp", "DependencyGoneError")
    assert classify(OSError(errno.ENOSPC, "full")) == Outage("disk", "OSError")
    assert classify(DriverError("08006")) == Outage("database", "DriverError:08006")


def test_a_fingerprint_holds_nothing_of_the_message() -> None:
    """The same error is told as the same, whatever lead it met."""

    def fail(lead_id: str) -> None:
        raise ValueError(f"it fails for {lead_id}")

    fingerprints = set()
    for lead_id in ("a", "b"):
        with pytest.raises(ValueError, match=lead_id) as caught:
            fail(lead_id)
        fingerprints.add(fingerprint_of(caught.value))

    assert fingerprints == {"ValueError:test_failures.fail"}


def test_a_chain_that_bites_its_tail_ends() -> None:
    """An exception that is its own cause's cause is looked at once."""
    error, other = ValueError(), KeyError()
    error.__cause__, other.__cause__ = other, error

    assert isinstance(classify(error), Other)


def after(*results: Through | Failed) -> tuple[State, list[Action]]:
    state, actions = State(), []
    for result in results:
        state, action = step(state, result)
        actions.append(action)
    return state, actions


ALONE, MANY = ("a",), ("a", "b")
BUG, OTHER_BUG, LOCKED, AWAY = Other("bug"), Other("other"), Again("40P01"), Outage("database", "08006")


def culprits(count: int, failure: Other = BUG) -> list[Failed]:
    return [Failed(failure, (f"lead{number}",)) for number in range(count)]


@pytest.mark.parametrize(
    ("results", "last"),
    [
        ([Through()], Settle()),
        ([Failed(LOCKED, MANY)], RunAgain(1)),
        ([Failed(LOCKED, MANY)] * AGAIN_LIMIT, RunAgain(AGAIN_LIMIT)),
        ([Failed(LOCKED, MANY)] * (AGAIN_LIMIT + 1), Split()),
        ([Failed(LOCKED, ALONE)] * (AGAIN_LIMIT + 1), Hold()),
        ([Failed(LOCKED, MANY)] * AGAIN_LIMIT + [Through(), Failed(LOCKED, MANY)], RunAgain(1)),
        ([Failed(AWAY, MANY)], AwaitDependency("database")),
        ([Failed(AWAY, MANY)] * OUTAGE_LIMIT, AwaitDependency("database")),
        ([Failed(AWAY, MANY)] * (OUTAGE_LIMIT + 1), Split()),
        ([Failed(AWAY, ALONE)] * (OUTAGE_LIMIT + 1), Hold()),
        ([Failed(BUG, MANY)], Split()),
        ([Failed(BUG, ALONE)], Hold()),
        (culprits(BREAKER_LIMIT - 1), Hold()),
        (culprits(BREAKER_LIMIT), Break("bug")),
        ([Failed(BUG, ALONE)] * BREAKER_LIMIT, Hold()),
        ([*culprits(BREAKER_LIMIT - 1), Through(), Failed(BUG, ALONE)], Hold()),
        ([*culprits(BREAKER_LIMIT - 1), Through(tells=False), Failed(BUG, ALONE)], Break("bug")),
        ([*culprits(BREAKER_LIMIT), Failed(BUG, ALONE)], Break("bug")),
        ([*culprits(BREAKER_LIMIT), Through(tells=False)], Settle()),
        ([*culprits(BREAKER_LIMIT), Through(tells=False), Failed(BUG, ALONE)], Break("bug")),
        ([*culprits(BREAKER_LIMIT), Through()], Close()),
        ([*culprits(BREAKER_LIMIT), Through(), Through()], Settle()),
        ([*culprits(BREAKER_LIMIT - 1), Failed(OTHER_BUG, ALONE)], Hold()),
        ([*culprits(BREAKER_LIMIT), Failed(OTHER_BUG, ALONE)], Break("other")),
        ([*culprits(BREAKER_LIMIT), Failed(AWAY, ALONE)], AwaitDependency("database")),
        ([*culprits(BREAKER_LIMIT), Failed(BUG, MANY)], Split()),
        ([*culprits(BREAKER_LIMIT), Through(), Failed(BUG, ALONE)], Hold()),
        ([*culprits(BREAKER_LIMIT), Through(), Failed(BUG, ("lead0", "lead1"))], Split()),
        ([*culprits(BREAKER_LIMIT), Through(), Failed(BUG, ("lead0",))], Blame()),
        ([*culprits(BREAKER_LIMIT), Through(), Failed(AWAY, ("lead0",))], AwaitDependency("database")),
        ([*culprits(BREAKER_LIMIT), Failed(OTHER_BUG, ALONE), Through(), Failed(BUG, ALONE)], Blame()),
        ([*culprits(BREAKER_LIMIT), Through(("lead0",)), Failed(BUG, ("lead0",))], Hold()),
        ([*culprits(BREAKER_LIMIT), Through(), Through(("lead0",)), Failed(BUG, ("lead0",))], Hold()),
        ([*culprits(BREAKER_LIMIT), Through(), *[Failed(BUG, ("lead0",))] * 2], Hold()),
    ],
)
def test_what_to_do(results: list[Through | Failed], last: Action) -> None:
    """The last action after some results in a row."""
    assert after(*results)[1][-1] == last


def test_a_run_of_bad_messages_is_blamed_once_a_good_one_is_through() -> None:
    """However many they are, the breaker does not open over them again."""
    bad = culprits(3 * BREAKER_LIMIT)

    _, actions = after(*bad, Through(("good",)), *bad)

    assert actions[: BREAKER_LIMIT - 1] == [Hold()] * (BREAKER_LIMIT - 1)
    assert set(actions[BREAKER_LIMIT - 1 : len(bad)]) == {Break("bug")}
    assert actions[len(bad) :] == [Close(), *[Blame()] * len(bad)]


def test_a_bug_that_meets_all_breaks_for_ever() -> None:
    """Nobody is blamed while nothing goes through."""
    _, actions = after(*culprits(1_000))

    assert set(actions) == {Hold(), Break("bug")}


RESULTS = st.one_of(
    st.builds(Through, st.sampled_from([ALONE, MANY]), st.booleans()),
    st.builds(Failed, st.sampled_from([BUG, OTHER_BUG, LOCKED, AWAY]), st.sampled_from([ALONE, MANY, ("c",), ("d",)])),
)


@given(st.lists(RESULTS))
def test_only_a_message_alone_is_held_or_blamed_or_breaks(results: list[Through | Failed]) -> None:
    """What failed in company is run again, waited for or split: nobody is blamed for a neighbour."""
    state = State()
    for result in results:
        state, action = step(state, result)
        if isinstance(action, Hold | Blame | Break):
            assert isinstance(result, Failed)
            assert len(result.keys) == 1
        assert isinstance(action, Settle | Close) == isinstance(result, Through)
        assert state.again <= AGAIN_LIMIT
        assert state.outages <= OUTAGE_LIMIT
