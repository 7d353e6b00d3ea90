"""What is done to the system, and when. Pure: the same seed, duration and number of kills give the same schedule."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

REPLICAS = 2
#: What runs twice; the scheduler runs once.
FOUR = ("ingest", "assigner", "documents", "notifier")
CONSUMERS = (*FOUR, "deadletters")
SERVICES = (*CONSUMERS, "scheduler")
BROKER, DATABASE = "broker", "database"
LOT_ROUTES = ("pickups", "evening")
CHANGES = ("an agent goes", "it comes back", "a cap is raised", "it is lowered", "a daily cap is raised", "a weight")
#: An open transaction of a frozen process is ended by the server after 10 s: some freezes are longer.
FREEZES_S = (1.0, 3.0, 13.0)
SERVER_SHARE = 0.12
#: So long a server that is back is left alone, where the schedule has room: else nothing but outages would be seen.
SERVER_EVERY_S = 9.0


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL one replica of a service; it is started again after `down_s`."""

    service: str
    replica: int
    down_s: float


@dataclass(frozen=True, slots=True)
class KillServer:
    """SIGKILL the broker or the database; it is started again after `down_s`, with its data."""

    server: str
    down_s: float


@dataclass(frozen=True, slots=True)
class Freeze:
    """SIGSTOP a replica of a service inside its transaction; it goes on after `for_s`."""

    service: str
    for_s: float


@dataclass(frozen=True, slots=True)
class Configure:
    """Somebody changes the configuration."""

    change: str


@dataclass(frozen=True, slots=True)
class RunLot:
    """A lot is asked for, `times` times under one key."""

    route: str
    key: str
    times: int


Fault = Kill | KillServer | Freeze | Configure | RunLot


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault, and how many seconds after the beginning of the load it is due."""

    at_s: float
    fault: Fault


def plan(seed: int, duration_s: float, kills: int) -> tuple[Planned, ...]:
    """Give the faults in order of time, the first no sooner than a tenth of the duration.

    Among the kills are at least one of the broker and one of the database and, where there are enough, every service.
    """
    rng = random.Random(f"faults {seed}")
    faults = [*_kills(rng, duration_s, kills), *_freezes(rng, duration_s), *_others(rng, duration_s)]
    return tuple(sorted(faults, key=lambda planned: planned.at_s))


def _kills(rng: random.Random, duration_s: float, kills: int) -> Iterator[Planned]:
    room = max(1, int(duration_s * 0.8 / (2 * SERVER_EVERY_S)))
    each = min(max(1, round(kills * SERVER_SHARE)), room)
    servers = [BROKER, DATABASE] * each
    for number, server in enumerate(servers[:kills]):
        slot = duration_s * 0.85 / len(servers)
        at_s = duration_s * 0.1 + slot * number + rng.uniform(0, slot / 4)
        yield Planned(round(at_s, 2), KillServer(server, round(rng.uniform(0, 3), 2)))
    victims = list(SERVICES)
    rng.shuffle(victims)
    for number in range(kills - len(servers)):
        service = victims[number] if number < len(victims) else rng.choice(FOUR)
        replica = rng.randrange(REPLICAS) if service in CONSUMERS else 0
        at_s = rng.uniform(duration_s * 0.1, duration_s)
        yield Planned(round(at_s, 2), Kill(service, replica, round(rng.choice((0, 0, 0.5, 2)), 2)))


def _freezes(rng: random.Random, duration_s: float) -> Iterator[Planned]:
    lengths = [FREEZES_S[-1], *(rng.choice(FREEZES_S) for _ in range(round(duration_s / 25)))]
    for for_s in lengths:
        at_s = rng.uniform(duration_s * 0.1, duration_s)
        yield Planned(round(at_s, 2), Freeze(rng.choice(FOUR), for_s))


def _others(rng: random.Random, duration_s: float) -> Iterator[Planned]:
    for number in range(max(len(CHANGES), round(duration_s / 8))):
        at_s = rng.uniform(duration_s * 0.1, duration_s)
        yield Planned(round(at_s, 2), Configure(CHANGES[number % len(CHANGES)]))
    for number in range(max(4, round(duration_s / 10))):
        at_s = rng.uniform(duration_s * 0.15, duration_s)
        route = LOT_ROUTES[number % len(LOT_ROUTES)]
        yield Planned(round(at_s, 2), RunLot(route, f"chaos-{number}", rng.choice((1, 1, 2))))
