"""Reference data as ingest last read it. Read again every few seconds, and when a lead names something unknown."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from services.ingest import queries
from services.ingest.intake import Reference, SourceRules
from services.ingest.queries import Source
from shared.db.session import Database

FRESH_S = 5.0
#: A source that is not stored yet: its rules are the defaults, its id comes with the save.
UNKNOWN_ID = 0


@dataclass(frozen=True, slots=True)
class Known:
    """One reading: what leads may point to."""

    reference: Reference
    sources: Mapping[str, Source]
    stores: frozenset[str]
    region: str
    zone: ZoneInfo
    _rules: dict[str, SourceRules] = field(default_factory=dict, init=False, repr=False, compare=False)

    def has_source(self, name: str) -> bool:
        return name.casefold() in self.sources

    def rules(self, source: str) -> SourceRules:
        """How leads of a source are read; one that nobody knows has the defaults."""
        if source not in self._rules:
            self._rules[source] = self._rules_of(source)
        return self._rules[source]

    def _rules_of(self, source: str) -> SourceRules:
        found = self.sources.get(source.casefold())
        if found is None:
            return SourceRules(id=UNKNOWN_ID, name=source, region=self.region, zone=self.zone)
        return SourceRules(
            id=found.id,
            name=found.name,
            region=found.region or self.region,
            zone=ZoneInfo(found.zone) if found.zone else self.zone,
            natural_keys=found.natural_keys,
            duplicate_days=found.duplicate_days,
        )


class ReferenceReader:
    """Gives the latest reading, at most `FRESH_S` old."""

    def __init__(self, region: str, zone: ZoneInfo) -> None:
        self._region = region
        self._zone = zone
        self._known: Known | None = None
        self._read_at = 0.0

    async def latest(self, database: Database) -> Known:
        if self._known is None or time.monotonic() - self._read_at > FRESH_S:
            return await self.anew(database)
        return self._known

    async def anew(self, database: Database) -> Known:
        async with database.reading() as connection:
            reference, sources, stores = await queries.read_reference(connection)
        self._known = Known(reference, sources, stores, self._region, self._zone)
        self._read_at = time.monotonic()
        return self._known
