"""What an update makes of a stored lead, and what a lead that came again tells otherwise. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from services.ingest.intake import FIELD_OF, Lead, LeadChanges, full_name

#: Which flags speak about which column; whoever writes the column replaces them.
FLAGS_OF = {
    "mobile_number": frozenset({"mobile_number_invalid"}),
    "email": frozenset({"email_invalid"}),
    "created_at": frozenset({"created_at_no_offset", "created_at_in_future", "created_at_too_old"}),
    "customer_name": frozenset({"customer_name_built"}),
}


@dataclass(frozen=True, slots=True)
class Merged:
    """A lead after an update: the columns whose value is another now, and who wrote what last.

    `is_changed`: the lead is another. `is_newer`: at least `written_at` is, and must be stored for later updates.
    """

    values: Mapping[str, Any]
    written_at: Mapping[str, str]
    is_newer: bool

    @property
    def is_changed(self) -> bool:
        return bool(self.values)


def apply_changes(stored: Mapping[str, Any], written_at: Mapping[str, str], changes: LeadChanges) -> Merged:
    """The stored lead after an update: per field, the newest writer wins, and any update beats `lead.created`.

    The same updates in any order, each any number of times, come to the same lead, unless two of the same time
    tell one field differently: then the later to arrive wins. `stored` has all columns of `Lead`.
    """
    at = changes.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
    won = {column: value for column, value in changes.values.items() if written_at.get(column, "") <= at}
    attributes, entries = _merged_attributes(stored["attributes"] or {}, written_at, changes, at)
    written = {**entries, **dict.fromkeys(won, at)}
    new = {**stored, **won, "attributes": attributes}
    flags = _merged_flags(set(stored["flags"] or ()), changes, set(won))
    if "customer_name" not in written and ("customer_name_built" in flags or new["customer_name"] is None):
        new["customer_name"] = full_name(new)
        flags = flags - {"customer_name_built"} | ({"customer_name_built"} if new["customer_name"] else set())
    new["flags"] = tuple(sorted(flags))
    before = {**stored, "flags": tuple(sorted(stored["flags"] or ())), "attributes": stored["attributes"] or {}}
    values = {column: value for column, value in new.items() if value != before[column]}
    return Merged(values, written, is_newer=written != written_at)


def _merged_attributes(
    stored: Mapping[str, Any], written_at: Mapping[str, str], changes: LeadChanges, at: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Attributes and entries of `written_at`. The entry `attributes` says when all were cleared: older writers lose."""
    attributes, written = dict(stored), dict(written_at)
    if changes.clears_attributes and written.get("attributes", "") <= at:
        attributes = {key: value for key, value in stored.items() if written.get(_entry(key), "") > at}
        written = {name: then for name, then in written.items() if not name.startswith(_entry("")) or then > at}
        written["attributes"] = at
    for key, value in changes.attributes.items():
        if max(written.get("attributes", ""), written.get(_entry(key), "")) <= at:
            written[_entry(key)] = at
            attributes[key] = value
    return {key: value for key, value in attributes.items() if value is not None}, written


def _entry(attribute: str) -> str:
    return f"attributes.{attribute}"


def _merged_flags(stored: set[str], changes: LeadChanges, won: set[str]) -> set[str]:
    """Flags go with their column's writer; those about the update's own time stay."""
    lost: set[str] = set().union(*(flags for column, flags in FLAGS_OF.items() if column not in won))
    replaced: set[str] = set().union(*(FLAGS_OF.get(column, ()) for column in won))
    return (stored - replaced) | (set(changes.flags) - lost)


def differing_fields(stored: Mapping[str, Any], lead: Lead, written_at: Mapping[str, str]) -> tuple[str, ...]:
    """For a lead that came again: fields it tells otherwise than stored, though no update wrote them since."""
    told = lead.told - written_at.keys()
    if "created_at_in_future" in (stored["flags"] or ()):
        told -= {"created_at"}
    fields = [FIELD_OF.get(column, column) for column in told if stored[column] != getattr(lead, column)]
    attributes = stored["attributes"] or {}
    if "attributes" not in written_at:
        differing = (key for key, value in lead.attributes.items() if attributes.get(key) != value)
        fields += [entry for key in differing if (entry := _entry(key)) not in written_at]
    return tuple(sorted(fields))
