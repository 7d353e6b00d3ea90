"""Which dead letters a command is about: by id, group, service, queue of origin, time. One WHERE for all commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.cli.failures import CommandError

BIGINT_MAX = 2**63 - 1

#: For the letters' own columns; the parameters are those of `Selection.values`.
WHERE = """
    (CAST(:ids AS bigint[]) IS NULL OR dead_letters.id = ANY(CAST(:ids AS bigint[])))
    AND (CAST(:group AS text) IS NULL OR dead_letters.group_id = :group OR dead_letters.group_key = :group)
    AND (CAST(:service AS text) IS NULL OR dead_letters.service = :service OR dead_letters.queue = :service)
    AND (CAST(:since AS timestamptz) IS NULL OR dead_letters.failed_at >= :since)
    AND (CAST(:until AS timestamptz) IS NULL OR dead_letters.failed_at < :until)
"""


@dataclass(frozen=True, slots=True)
class Selection:
    """All conditions hold; one that is not given excludes nothing."""

    ids: Sequence[int] | None = None
    #: A group's short name, or its whole.
    group: str | None = None
    #: A service, or one queue of it.
    service: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def values(self) -> dict[str, Any]:
        return {
            "ids": list(self.ids) if self.ids is not None else None,
            "group": self.group,
            "service": self.service,
            "since": self.since,
            "until": self.until,
        }

    @property
    def is_everything(self) -> bool:
        return all(value is None for value in self.values.values())

    def plain(self) -> dict[str, Any]:
        """What was asked for, for the record."""
        given = {name: value for name, value in self.values.items() if value is not None}
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}


def selected(
    ids: Sequence[int] | None,
    group: str | None,
    service: str | None,
    since: str | None,
    until: str | None,
    *,
    zone: ZoneInfo,
) -> Selection:
    """Read what a person wrote; a time without an offset is of our zone. CommandError says what is wrong."""
    for row_id in ids or ():
        if not 0 < row_id <= BIGINT_MAX:
            raise CommandError(f"{row_id} is no id of a dead letter; `leadline deadletters list` shows them")
    return Selection(
        list(ids) if ids else None, group, service, _moment("--since", since, zone), _moment("--until", until, zone)
    )


def _moment(option: str, written: str | None, zone: ZoneInfo) -> datetime | None:
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise CommandError(f"{option} {written}: write a day or a time such as 2026-01-31T10:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
