"""What is published: leads, and what a CRM goes on to say of them, late, early, twice, malformed. Pure and seeded."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

SOURCES = {"META": 35, "GOOGLE": 20, "WALK-IN": 5, "MISSED-PICKUP": 30, "WA-FUNNEL": 10}
STORES = ("KA1", "KA2", "KA3")
BEGUN = datetime(2026, 1, 5, tzinfo=UTC)
CLOSED, TAKEN, UPDATED, REPEATED, MALFORMED, EARLY = 0.5, 0.15, 0.08, 0.06, 0.01, 0.01
REOPENED = 0.1


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, and how many seconds after the beginning it is due."""

    at_s: float
    event_type: str
    body: bytes
    message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Messages in the order in which they go out, and what must have become of them at the end."""

    messages: tuple[Sent, ...]
    leads: frozenset[str]
    #: Closed, and never reopened.
    closed: frozenset[str]
    #: By lead what the newest update has set `message` to.
    updated: dict[str, str]
    malformed: tuple[bytes, ...]


@dataclass(slots=True)
class _Making:
    rng: random.Random
    duration_s: float
    messages: list[Sent] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    updated: dict[str, str] = field(default_factory=dict)
    malformed: list[bytes] = field(default_factory=list)

    def say(self, at_s: float, event_type: str, **data: Any) -> None:
        self.messages.append(Sent(max(at_s, 0), event_type, json.dumps(data).encode()))

    def is_so(self, share: float) -> bool:
        return self.rng.random() < share


def make(seed: int, leads: int, duration_s: float) -> Load:
    """Give a load of so many leads over so many seconds."""
    making = _Making(random.Random(f"load {seed}"), duration_s)
    names = [f"C{number}" for number in range(leads)]
    for number, name in enumerate(names):
        _tell(making, name, number, duration_s * number / leads)
    for number in range(max(3, round(leads * MALFORMED))):
        _tell_nonsense(making, number)
    messages = tuple(sorted(making.messages, key=lambda sent: sent.at_s))
    return Load(messages, frozenset(names), frozenset(making.closed), dict(making.updated), tuple(making.malformed))


def _tell(making: _Making, name: str, number: int, at_s: float) -> None:
    rng = making.rng
    source = rng.choices(list(SOURCES), list(SOURCES.values()))[0]
    lead: dict[str, Any] = {"lead_id": name, "source": source, "customer_name": f"Customer {number}"}
    if source == "MISSED-PICKUP":
        lead |= {"store_code": rng.choice(STORES), "customer_type": rng.choice(("New", "Existing"))}
    making.say(at_s, "lead.created", **lead)
    if making.is_so(REPEATED):
        making.say(at_s + rng.uniform(-2, 10), "lead.created", **lead)
    if making.is_so(UPDATED):
        _tell_updates(making, name, at_s)
    if making.is_so(TAKEN):
        making.say(at_s + rng.uniform(1, 10), "lead.taken", lead_id=name)
    if making.is_so(CLOSED):
        _tell_close(making, name, at_s)


def _tell_updates(making: _Making, name: str, at_s: float) -> None:
    """Two or three, in any order: the newest wins, whenever it comes."""
    count = making.rng.choice((2, 3))
    for number in range(count):
        moment = (BEGUN + timedelta(seconds=number)).isoformat()
        words = f"{name} says {number}"
        late_s = making.rng.uniform(0.5, 12)
        making.say(at_s + late_s, "lead.updated", lead_id=name, occurred_at=moment, message=words)
        making.updated[name] = words


def _tell_close(making: _Making, name: str, at_s: float) -> None:
    """Sometimes before its lead, early enough for the first rungs of the ladder; sometimes undone."""
    rng = making.rng
    is_early = making.is_so(EARLY) and at_s < making.duration_s / 2
    closed_s = at_s - rng.uniform(0.2, 2) if is_early else at_s + rng.uniform(1, 20)
    making.say(closed_s, "lead.closed", lead_id=name, reason=rng.choice(("won", "lost")))
    if making.is_so(REPEATED):
        making.say(closed_s + rng.uniform(0, 5), "lead.closed", lead_id=name, reason="lost")
    if making.is_so(REOPENED):
        making.say(closed_s + rng.uniform(-1, 10), "lead.reopened", lead_id=name)
    else:
        making.closed.add(name)


def _tell_nonsense(making: _Making, number: int) -> None:
    """What no service can take: no JSON, a date that is none, a business line that nobody has."""
    name = f"BAD{number}"
    lead = {"lead_id": name, "event_id": f"event-{name}", "source": "META", "customer_name": name}
    bodies: Iterator[bytes] = iter(
        (
            b'{"lead_id": "%s", "source": ' % name.encode(),
            json.dumps({**lead, "created_at": "the 31st of May"}).encode(),
            json.dumps({**lead, "business_line": "Boats"}).encode(),
        )[number % 3 :]
    )
    body = next(bodies)
    making.malformed.append(body)
    at_s = making.rng.uniform(0, making.duration_s)
    making.messages.append(Sent(at_s, "lead.created", body, message_id=f"nonsense-{number}"))
