"""What the core tells of itself to whoever watches: frozen values, a few a batch, none a message.

Nothing depends on who listens: health and metrics are made of these facts elsewhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from shared.events import Event

Probe = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Consuming:
    """The broker has registered a consumer of the queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class NotConsuming:
    """There is none any more, or not yet; why, in words."""

    queue: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """The handler does not come back: the consumer is ended, and the process is to end."""

    queue: str
    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch was taken from what had arrived."""

    queue: str
    messages: int
    redelivered: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A piece is committed. `seconds`: of its transaction, the handler's work in it and the commit."""

    queue: str
    seconds: float
    #: The events of the part of the batch that the piece is of, and those that the piece made.
    came: Sequence[Event]
    made: Sequence[Event]


#: Handled: acknowledged after its effects. All others: acknowledged after a confirmed copy went elsewhere.
End = Literal["handled", "retried", "dead", "put_off", "put_back"]


@dataclass(frozen=True, slots=True)
class Settled:
    """Messages have left this process."""

    queue: str
    end: End
    messages: int


@dataclass(frozen=True, slots=True)
class Waits:
    """What the consumer holds its messages for, in words; None: for nothing any more."""

    queue: str
    what: str | None
    is_breaker: bool = False


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """The queue as the broker tells it to anybody."""

    queue: str
    ready: int
    consumers: int


@dataclass(frozen=True, slots=True)
class OutboxSeen:
    """Rows not yet confirmed, counted up to some thousands, and the age of the oldest."""

    rows: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class PublishingFails:
    """Why nothing can be published, in words; None: it can again."""

    publisher: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The HTTP API has begun to answer a request."""

    method: str
    status: int


Fact = (
    Consuming
    | NotConsuming
    | Stuck
    | Taken
    | Saved
    | Settled
    | Waits
    | QueueSeen
    | OutboxSeen
    | PublishingFails
    | Answered
)


class Observer(Protocol):
    """Who is told. Must return at once and raise nothing."""

    def observe(self, fact: Fact) -> None:
        """Take note of a fact."""

    def depends_on(self, dependency: str, probe: Probe) -> None:
        """Learn how to find out whether something that the service needs answers: the probe raises if not."""


class _Nobody:
    def observe(self, fact: Fact) -> None:
        pass

    def depends_on(self, dependency: str, probe: Probe) -> None:
        pass


UNOBSERVED: Observer = _Nobody()
