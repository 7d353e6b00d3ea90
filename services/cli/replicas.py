"""The processes of all services, as each of them last told of itself (shared/heartbeat.py); and the same in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from shared.db.session import Database
from shared.heartbeat import BEAT_S, FORGOTTEN_MIN, WITHIN_S

#: One beat may be late by all that a beat may take.
SILENT_S = 2 * BEAT_S + WITHIN_S

READ = text(f"""
    SELECT service, host, pid, started_at, CAST(extract(epoch FROM now() - seen_at) AS float) AS seen_s, problems
    FROM replicas WHERE seen_at > now() - interval '{FORGOTTEN_MIN} minutes' ORDER BY service, started_at, id
""")  # noqa: S608  # a constant of ours


@dataclass(frozen=True, slots=True)
class Replica:
    """A process. `seen_s`: seconds since it last told of itself; `problems`: what keeps it from working."""

    service: str
    host: str
    pid: int
    started_at: datetime
    seen_s: float
    problems: Sequence[str]

    @property
    def is_silent(self) -> bool:
        """Whether it should have told of itself since: it was killed, is frozen, or does not reach the database."""
        return self.seen_s > SILENT_S

    @property
    def is_well(self) -> bool:
        return not self.is_silent and not self.problems

    @property
    def words(self) -> str:
        """What /readyz says, on one line."""
        if self.is_silent:
            return f"not heard of for {self.seen_s:.0f} s: killed, frozen, or cut off from the database"
        return "; ".join(each.removeprefix(f"{self.service}: ") for each in self.problems) or "ready"


async def read_replicas(database: Database) -> list[Replica]:
    """Give all that have told of themselves within the last minutes, by service. Raises as a read does."""
    async with database.reading() as connection:
        return [Replica(*row) for row in await connection.execute(READ)]


def outages(replicas: Sequence[Replica]) -> list[str]:
    """Say of each service what keeps replicas of it from working, the same once: `ingest, 2 replicas: …`."""
    ailing: dict[tuple[str, str], list[Replica]] = {}
    for each in replicas:
        if not each.is_well:
            # How long each is silent is a number of its own; the rest is the same words.
            ailing.setdefault((each.service, "" if each.is_silent else each.words), []).append(each)
    return [f"{service}, {_which(found)}: {found[0].words}" for (service, _), found in ailing.items()]


def _which(replicas: Sequence[Replica]) -> str:
    if len(replicas) > 1:
        return f"{len(replicas)} replicas"
    return f"{replicas[0].host} ({replicas[0].pid})"
