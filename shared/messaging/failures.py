"""What a failure means, and what to do next: pure, a table of cases.

Four kinds are told apart. *Again*: the same batch may go through at once (a deadlock, a lock timeout). *Outage*:
something we depend on is away; nobody's fault, no attempt spent. *Other*: the message's fault or ours; the batch is
split until the culprit is alone. Ten culprits in a row with the same error and none through may be none: the *breaker*
opens, and is closed by the first part that goes through. What still fails then is a culprit after all.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from traceback import extract_tb

from shared.errors import chain, is_ours, sqlstate_of
from shared.outage import DependencyGoneError

AGAIN_LIMIT = 5
OUTAGE_LIMIT = 12
BREAKER_LIMIT = 10

#: Serialisation, deadlock, lock not available, query cancelled (statement timeout), idle in transaction.
AGAIN_STATES = frozenset({"40001", "40P01", "55P03", "57014", "25P03"})
#: Connection, resources, operator intervention.
OUTAGE_CLASSES = ("08", "53", "57P", "58")
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS})


@dataclass(frozen=True, slots=True)
class Again:
    """The same work may go through if simply run again."""

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Outage:
    """A dependency is away; wait for it."""

    dependency: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Other:
    """The message's fault or ours. `fingerprint` is the same for the same error, whatever the message."""

    fingerprint: str


def classify(error: BaseException) -> Again | Outage | Other:
    """Tell what kind of failure an exception is, by SQLSTATE where it has one. Needs no driver to be installed."""
    fingerprint = fingerprint_of(error)
    kinds = (kind for cause in chain(error) if (kind := _kind_of(cause, fingerprint)) is not None)
    return next(kinds, Other(fingerprint))


def _kind_of(cause: BaseException, fingerprint: str) -> Again | Outage | None:
    state = str(getattr(cause, "sqlstate", None))
    if isinstance(cause, DependencyGoneError):
        return Outage(cause.dependency, fingerprint)
    if state in AGAIN_STATES:
        return Again(fingerprint)
    if state.startswith(OUTAGE_CLASSES) or getattr(cause, "connection_invalidated", False):
        return Outage("database", fingerprint)
    if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
        return Outage("disk", fingerprint)
    if isinstance(cause, ConnectionError | TimeoutError):
        return Outage("network", fingerprint)
    return None


def fingerprint_of(error: BaseException) -> str:
    """Name an error by its type, SQLSTATE and innermost place of ours: no message text, no ids, no line numbers."""
    places = [
        f"{PurePath(frame.filename).stem}.{frame.name}" for frame in extract_tb(error.__traceback__) if is_ours(frame)
    ]
    parts = (type(error).__name__, sqlstate_of(error), places[-1] if places else None)
    return ":".join(part for part in parts if part)


# What to do next.


@dataclass(frozen=True, slots=True)
class State:
    """What the consumer remembers between results."""

    again: int = 0
    outages: int = 0
    #: Fingerprint of the culprits in a row, and their keys: different messages only.
    fingerprint: str | None = None
    culprits: frozenset[str] = field(default_factory=frozenset)
    is_broken: bool = False
    #: Keys that failed before something else went through and closed the breaker.
    suspects: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Through:
    """A part of a batch is committed. `tells`: the handler had a hand in it, so it speaks for the next one."""

    keys: tuple[str, ...] = ()
    tells: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """A part of a batch failed: `keys` are its messages'."""

    failure: Again | Outage | Other
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settle:
    """Acknowledge the part."""


@dataclass(frozen=True, slots=True)
class Close:
    """Acknowledge the part, and close the breaker: run again all that is held."""


@dataclass(frozen=True, slots=True)
class RunAgain:
    """Run the same part again, after a jittered pause that grows with `tries`."""

    tries: int


@dataclass(frozen=True, slots=True)
class AwaitDependency:
    """Hold the part unacknowledged until the dependency answers, then run it again."""

    dependency: str


@dataclass(frozen=True, slots=True)
class Split:
    """Run the two halves one after the other."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A culprit alone. Keep it until the batch is through: only then is it known to be one."""


@dataclass(frozen=True, slots=True)
class Break:
    """Open the breaker, or keep it open: hold the culprit, spend no attempt, pause; then try a fresh arrival.

    Good messages may wait behind a run of bad ones: what is held is tried only while nothing fresh is there.
    """

    fingerprint: str


@dataclass(frozen=True, slots=True)
class Blame:
    """A culprit for certain, since something else went through between its failures: spend an attempt of it."""


Action = Settle | Close | RunAgain | AwaitDependency | Split | Hold | Break | Blame


def step(state: State, result: Through | Failed) -> tuple[State, Action]:
    """Say what to do after a part went through or failed, and what to remember."""
    match result:
        case Through(keys, tells):
            return _through(state, keys) if tells else (state, Settle())
        case Failed(Again(fingerprint), keys):
            if state.again < AGAIN_LIMIT:
                return replace(state, again=state.again + 1), RunAgain(state.again + 1)
            return _other(state, fingerprint, keys)
        case Failed(Outage(dependency, fingerprint), keys):
            if state.outages < OUTAGE_LIMIT:
                return replace(state, outages=state.outages + 1), AwaitDependency(dependency)
            return _other(state, fingerprint, keys)
        case Failed(failure, keys):
            return _other(state, failure.fingerprint, keys)


def _through(state: State, keys: tuple[str, ...]) -> tuple[State, Action]:
    if state.is_broken:
        return State(suspects=(state.suspects | state.culprits) - set(keys)), Close()
    return State(suspects=state.suspects - set(keys)), Settle()


def _other(state: State, fingerprint: str, keys: tuple[str, ...]) -> tuple[State, Action]:
    state = replace(state, again=0, outages=0)
    if len(keys) > 1:
        return state, Split()
    if not state.is_broken and state.suspects.issuperset(keys):
        return replace(state, suspects=state.suspects - set(keys)), Blame()
    earlier = state.culprits if state.is_broken or state.fingerprint == fingerprint else frozenset()
    culprits = earlier | set(keys)
    is_broken = state.is_broken or len(culprits) >= BREAKER_LIMIT
    after = replace(state, fingerprint=fingerprint, culprits=culprits, is_broken=is_broken)
    return after, Break(fingerprint) if is_broken else Hold()
