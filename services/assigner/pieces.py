"""What the handler saves, each in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from services.assigner.facts import Routes
from services.assigner.roster import Roster
from shared.messaging.envelope import Message
from shared.messaging.processing import Deferred, Rejected


@dataclass(frozen=True, slots=True)
class Book:
    """A route's members with their counters, as long as the route's sequence and the day are these.

    Whatever changes them, also by hand in the tables, raises the sequence; agents' counters over all routes do not.
    """

    sequence: int
    day: date
    members: Roster

    def is_current(self, sequence: int, day: date) -> bool:
        return (self.sequence, self.day) == (sequence, day)


@dataclass(slots=True)
class RouteBatch:
    """Pending leads to be given to the agents of a route; those of no route (None), to be told so."""

    route_id: int | None
    #: None: whatever waits on the route, read under its lock, a page from `after` on.
    lead_ids: Sequence[int] | None
    kind: str = "accepted"
    requested_by: str | None = None
    request_id: str | None = None
    #: It also takes leads that wait for a person.
    is_personal: bool = False
    #: The agent whom a person named.
    to_agent_code: str | None = None
    #: The day whose caps count, where a replay says so.
    as_of: date | None = None
    #: The routes as they were when the leads were looked at; under the locks they are read again if they have changed.
    routes: Routes | None = None
    #: The members as the last save on this route left them.
    book: Book | None = None
    #: The id of the last assignment looked at.
    after: int = 0
    #: Set by the save: the members as it leaves them, and whether another page may find something.
    book_after: Book | None = None
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Events that change assignments which exist, by lead."""

    messages: Mapping[int, Message]


@dataclass(frozen=True, slots=True)
class Refused:
    """Messages that cannot be handled, or not yet."""

    effects: Sequence[Deferred | Rejected]


Piece = RouteBatch | Lifecycle | Refused
