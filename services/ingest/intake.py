"""What a message of the CRM means: a lead, changes to one, or the reasons why it is neither. Pure.

A lead is never lost over a typo: what cannot be right is kept as written and flagged. What would be wrong to guess
(an unknown business line, a date that is none) is `Rejected`, in words for the person who will repair it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from services.ingest import contact
from services.ingest.attributes import attribute_errors, attributes_of
from services.ingest.problems import Rejected, shown, wrong_with_text
from shared.events import FieldError, LeadCreated, LeadFields, LeadUpdated

NAMES_SHOWN = 20
#: An older time is a null date of some system (0001-01-01, 1899-12-30), not a time.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)

FIELDS = tuple(name for name in LeadFields.model_fields if name != "attributes")
#: What every message tells besides.
WHOSE = ("event_id", "lead_id", "source")
#: Fields that name reference data: their column, and what they are called.
REFERENCES = {
    "business_line": ("business_line_id", "business line"),
    "country": ("country_id", "country"),
    "document_type": ("document_type_id", "document type"),
}
COLUMN_OF = {name: column for name, (column, _) in REFERENCES.items()}
FIELD_OF = {column: name for name, column in COLUMN_OF.items()}
#: What is more than a text, a number or a date that is stored as it is written.
READ = frozenset({*REFERENCES, "mobile_number", "email", "address", "created_at"})
#: Columns that are never empty: what they are when nobody tells, or when it is cleared.
DEFAULTS: Mapping[str, object] = {"stage": 1, "is_order_placed": False}


@dataclass(frozen=True, slots=True)
class Names:
    """Reference data of one kind: the id behind each name, in any case, and the names as people know them."""

    ids: Mapping[str, int]
    shown: tuple[str, ...]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, str] | tuple[int, str, str]]) -> Names:
        """From rows of id, name and, where there is one, a code that is as good as the name."""
        ids: dict[str, int] = {}
        shown: list[str] = []
        for key, name, *codes in rows:
            ids |= dict.fromkeys(map(_folded, (name, *codes)), key)
            shown.append(f"{name} ({codes[0]})" if codes else name)
        return cls(ids, tuple(sorted(shown, key=str.casefold)))

    def find(self, name: str) -> int | None:
        return self.ids.get(_folded(name))

    def known(self) -> str:
        """The first names in alphabetical order, for a message."""
        if not self.shown:
            return "none are configured yet"
        rest = len(self.shown) - NAMES_SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        return f"known are: {', '.join(self.shown[:NAMES_SHOWN])}{more}"


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


@dataclass(frozen=True, slots=True)
class Reference:
    """What a lead may point to."""

    business_lines: Names
    countries: Names
    document_types: Names

    def of(self, name: str) -> Names:
        """Those that the field `name` chooses from."""
        match name:
            case "business_line":
                return self.business_lines
            case "country":
                return self.countries
            case "document_type":
                return self.document_types
        raise KeyError(name)


class SourceRules(Struct, frozen=True):
    """How a source's leads are read; `region` and `zone` are the settings' where the source has none of its own."""

    id: int
    name: str
    region: str
    zone: ZoneInfo
    natural_keys: frozenset[str] = frozenset({"document", "store_mobile"})
    duplicate_days: int = 30


class Lead(Struct, frozen=True, kw_only=True):
    """A lead as it is to be stored: the columns of `leads`, `source` and `external_id` in place of their ids."""

    lead_id: str
    source: str
    business_line_id: int | None = None
    country_id: int | None = None
    document_type_id: int | None = None
    document_number: str | None = None
    store_code: str | None = None
    store_name: str | None = None
    external_id: str | None = None
    customer_name: str | None = None
    given_name: str | None = None
    surname: str | None = None
    mobile_number: str | None = None
    email: str | None = None
    address: str | None = None
    message: str | None = None
    customer_type: str | None = None
    stage: int = 1
    is_order_placed: bool = False
    created_at: datetime
    pickup_no: str | None = None
    pickup_date: date | None = None
    pickup_created_date: date | None = None
    run_date: date | None = None
    run_id: str | None = None
    final_source: str | None = None
    attributes: Mapping[str, Any] = {}
    flags: tuple[str, ...] = ()
    #: The columns that the message itself told; the others are our defaults.
    told: frozenset[str] = frozenset()
    unknown_fields: int = 0


@dataclass(frozen=True, slots=True)
class LeadChanges:
    """What an update says: the new value of each column it tells; in `attributes`, None removes a key."""

    lead_id: str
    occurred_at: datetime
    values: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    clears_attributes: bool = False
    flags: tuple[str, ...] = ()
    unknown_fields: int = 0


class NaturalKey(Struct, frozen=True, order=True):
    """What tells a lead again under another id."""

    kind: str
    key: str


# Reading.


def read_created(event: LeadCreated, source: SourceRules, reference: Reference, now: datetime) -> Lead | Rejected:
    """The lead that the CRM tells of, in normal form. `source` is the event's; `now` is aware."""
    fields = vars(event)
    told = [name for name in FIELDS if fields[name] is not None]
    read = _read(event, told, source, reference, now)
    read.errors += attribute_errors(event)
    if read.errors:
        return Rejected(tuple(read.errors))
    columns = frozenset({"source", *read.values})
    if "created_at_in_future" in read.flags:
        columns -= {"created_at"}
    if "customer_name" not in columns and (name := full_name(read.values)):
        read.values["customer_name"] = name
        read.flags.append("customer_name_built")
    read.values.setdefault("created_at", now.astimezone(UTC))
    return Lead(
        lead_id=event.lead_id,
        source=source.name,
        attributes={key: value for key, value in attributes_of(event).items() if value is not None},
        flags=tuple(sorted(read.flags)),
        told=columns,
        unknown_fields=len(event.model_extra or ()),
        **read.values,
    )


def read_updated(
    event: LeadUpdated, source: SourceRules, reference: Reference, now: datetime
) -> LeadChanges | Rejected:
    """What changed. `source` is the one that the event names, else the lead's; `now` is aware."""
    told = [name for name in FIELDS if name in event.model_fields_set]
    occurred_at, flags = _instant("occurred_at", event.occurred_at, source, now)
    # No lead is made after it changed. Bounded so and not by `now`, the same update read again says the same.
    read = _read(event, told, source, reference, occurred_at or now)
    if "source" in event.model_fields_set:
        read.values["source"] = source.name if event.source else None
    read.errors += _emptied(event, read.values | {"occurred_at": occurred_at})
    read.errors += attribute_errors(event)
    if read.errors or occurred_at is None:
        return Rejected(tuple(read.errors))
    return LeadChanges(
        event.lead_id,
        occurred_at,
        values=read.values,
        attributes=attributes_of(event),
        clears_attributes="attributes" in event.model_fields_set and event.attributes is None,
        flags=tuple(sorted({*flags, *read.flags})),
        unknown_fields=len(event.model_extra or ()),
    )


@dataclass(slots=True)
class _Read:
    """What is known so far about a message's fields: columns, flags, errors."""

    errors: list[FieldError]
    values: dict[str, Any] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)

    def contact(self, name: str, written: str, normal: str | None) -> None:
        self.values[name] = normal or written
        if normal is None:
            self.flags.append(f"{name}_invalid")

    def reference(self, name: str, written: str, reference: Reference) -> None:
        column, kind = REFERENCES[name]
        self.values[column] = reference.of(name).find(written)
        if self.values[column] is None:
            known = reference.of(name).known()
            problem = f"there is no {kind} {shown(written)}, {known}; add it, then replay this message"
            self.errors.append(FieldError(field=name, problem=problem))


def _read(event: LeadFields, told: Sequence[str], source: SourceRules, reference: Reference, latest: datetime) -> _Read:
    """The told fields as columns; a creation after `latest` is at `latest`, one before all time is not told."""
    fields = vars(event)
    read = _Read(_half_characters(fields, told))
    for name in told:
        written = fields[name]
        if written is None:
            read.values[COLUMN_OF.get(name, name)] = DEFAULTS.get(name)
            continue
        if name not in READ:
            read.values[name] = written
            continue
        match name:
            case "mobile_number":
                read.contact(name, written, contact.phone(written, source.region))
            case "email":
                read.contact(name, written, contact.email(written))
            case "address":
                read.values[name] = contact.address(written) or written
            case "created_at":
                instant, flags = _instant(name, written, source, latest)
                read.values |= {name: instant} if instant else {}
                read.flags += flags
            case _:
                read.reference(name, written, reference)
    return read


def _half_characters(fields: Mapping[str, Any], told: Sequence[str]) -> list[FieldError]:
    """Texts that are no UTF-8. They get past pydantic when the JSON was decoded by Python."""
    texts = [(name, fields[name]) for name in (*WHOSE, *told) if fields[name].__class__ is str]
    suspects = [(name, text) for name, text in texts if not text.isascii()]
    return [FieldError(field=name, problem=wrong) for name, text in suspects if (wrong := wrong_with_text(text))]


def _instant(name: str, written: datetime, source: SourceRules, latest: datetime) -> tuple[datetime | None, list[str]]:
    """The time in UTC, not after `latest`, and what was odd about it; None for one before all time."""
    flags: list[str] = []
    if written.tzinfo is None:
        written = written.replace(tzinfo=source.zone)
        flags.append(f"{name}_no_offset")
    if written < EARLIEST:
        return None, [*flags, f"{name}_too_old"]
    if written > latest:
        return latest.astimezone(UTC), [*flags, f"{name}_in_future"]
    return written.astimezone(UTC), flags


def _emptied(event: LeadUpdated, values: Mapping[str, object]) -> Iterator[FieldError]:
    """What an update leaves without a value and may not."""
    for name in ("occurred_at", "source", "created_at"):
        if name in event.model_fields_set and values.get(name) is None:
            written = getattr(event, name)
            problem = f"must be after 1900, got {written.isoformat()}" if written else "cannot be cleared"
            yield FieldError(field=name, problem=problem)


def full_name(values: Mapping[str, Any]) -> str | None:
    """Given name and surname, as far as there are any."""
    return " ".join(filter(None, (values.get("given_name"), values.get("surname")))) or None


# Knowing again.


def natural_keys(lead: Lead, source: SourceRules) -> list[NaturalKey]:
    """What the lead can be known again by, sorted: the order to lock in. From valid values only."""
    keys = []
    if "document" in source.natural_keys and (number := contact.document(lead.document_number or "")):
        keys.append(NaturalKey("document", f"{lead.document_type_id or '-'}:{number}"))
    if "store_mobile" in source.natural_keys and lead.store_code and _has_own_phone(lead):
        keys.append(NaturalKey("store_mobile", f"{lead.store_code}:{lead.mobile_number}"))
    return sorted(keys)


def _has_own_phone(lead: Lead) -> bool:
    number = lead.mobile_number
    return bool(number) and "mobile_number_invalid" not in lead.flags and not contact.is_phone_placeholder(number or "")
