"""What a message of the CRM means: a lead, changes to one, or the reasons why it is neither. Pure.

A lead is never lost over a typo: what cannot be right is kept as written and flagged. What would be wrong to guess
(an unknown business line, a date that is none) is `Rejected`, in words for the person who will repair it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from services.ingest import contact
from shared.events import FieldError, LeadCreated, LeadFields, LeadUpdated

ATTRIBUTES_MAX_BYTES = 64 * 1024
ATTRIBUTES_MAX_DEPTH = 20
ALLOWED_SHOWN = 20
VALUE_SHOWN_LENGTH = 80
#: An older time is a null date of some system (0001-01-01, 1899-12-30), not a time.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)

FIELDS = tuple(name for name in LeadFields.model_fields if name != "attributes")
#: Fields that name reference data: their column, and what they are called.
REFERENCES = {
    "business_line": ("business_line_id", "business line"),
    "country": ("country_id", "country"),
    "document_type": ("document_type_id", "document type"),
}
COLUMN_OF = {name: column for name, (column, _) in REFERENCES.items()}
FIELD_OF = {column: name for name, column in COLUMN_OF.items()}
#: Columns that are never empty: what they are when nobody tells, or when it is cleared.
DEFAULTS: Mapping[str, object] = {"stage": 1, "is_order_placed": False}
#: Which flags speak about which column; whoever writes the column replaces them.
FLAGS_OF = {
    "mobile_number": frozenset({"mobile_number_invalid"}),
    "email": frozenset({"email_invalid"}),
    "created_at": frozenset({"created_at_no_offset", "created_at_in_future", "created_at_too_old"}),
    "customer_name": frozenset({"customer_name_built"}),
}


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

    def allowed(self) -> str:
        """The first names in alphabetical order, for a message."""
        rest = len(self.shown) - ALLOWED_SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        return (", ".join(self.shown[:ALLOWED_SHOWN]) or "none yet") + more


@dataclass(frozen=True, slots=True)
class Reference:
    """What a lead may point to."""

    business_lines: Names
    countries: Names
    document_types: Names

    def of(self, name: str) -> Names:
        """Those that the field `name` chooses from."""
        return {
            "business_line": self.business_lines,
            "country": self.countries,
            "document_type": self.document_types,
        }[name]


@dataclass(frozen=True, slots=True)
class SourceRules:
    """How a source's leads are read; `region` and `zone` are the settings' where the source has none of its own."""

    id: int
    name: str
    region: str
    zone: ZoneInfo
    natural_keys: frozenset[str] = frozenset({"document", "store_mobile"})
    duplicate_days: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
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
    attributes: Mapping[str, Any] = field(default_factory=dict)
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


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that cannot be taken, and why, field by field and as one line."""

    errors: tuple[FieldError, ...]

    @property
    def reason(self) -> str:
        return "; ".join(f"{error.field}: {error.problem}" for error in self.errors)


@dataclass(frozen=True, slots=True, order=True)
class NaturalKey:
    """What tells a lead again under another id."""

    kind: str
    key: str


# Reading.


def read_created(event: LeadCreated, source: SourceRules, reference: Reference, now: datetime) -> Lead | Rejected:
    """The lead that the CRM tells of, in normal form. `source` is the event's; `now` is aware."""
    told = [name for name in FIELDS if getattr(event, name) is not None]
    read = _read(event, told, source, reference, now)
    read.errors += _attribute_errors(event)
    if read.errors:
        return Rejected(tuple(read.errors))
    columns = frozenset({"source", *read.values})
    if "created_at_in_future" in read.flags:
        columns -= {"created_at"}
    if "customer_name" not in columns and (name := _full_name(read.values)):
        read.values["customer_name"] = name
        read.flags.append("customer_name_built")
    read.values.setdefault("created_at", now.astimezone(UTC))
    return Lead(
        lead_id=event.lead_id,
        source=source.name,
        attributes={key: value for key, value in _attributes(event).items() if value is not None},
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
    read.errors += _attribute_errors(event)
    if read.errors or occurred_at is None:
        return Rejected(tuple(read.errors))
    return LeadChanges(
        event.lead_id,
        occurred_at,
        values=read.values,
        attributes=_attributes(event),
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
            allowed = reference.of(name).allowed()
            problem = f"there is no {kind} {_shown(written)}, known are: {allowed}; add it, then replay this message"
            self.errors.append(FieldError(field=name, problem=problem))


def _read(event: LeadFields, told: Sequence[str], source: SourceRules, reference: Reference, latest: datetime) -> _Read:
    """The told fields as columns; a creation after `latest` is at `latest`, one before all time is not told."""
    read = _Read(_half_characters(event))
    for name in told:
        written = getattr(event, name)
        if written is None:
            read.values[COLUMN_OF.get(name, name)] = DEFAULTS.get(name)
            continue
        match name:
            case "business_line" | "country" | "document_type":
                read.reference(name, written, reference)
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
                read.values[name] = written
    return read


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


def _full_name(values: Mapping[str, Any]) -> str | None:
    return " ".join(filter(None, (values.get("given_name"), values.get("surname")))) or None


def lead_type(customer_type: str | None) -> str:
    """N for a new customer, E for one that exists."""
    return "N" if (customer_type or "").casefold().startswith("new") else "E"


# Attributes: whatever the contract has no field for.


def _attributes(event: LeadFields) -> dict[str, Any]:
    return {**(event.model_extra or {}), **(event.attributes or {})}


def _attribute_errors(event: LeadFields) -> Iterator[FieldError]:
    """The first thing that PostgreSQL's jsonb, or a reader, could not take; else the size, if it is too much."""
    if not (event.attributes or event.model_extra):
        return
    for path, part in ((("attributes",), event.attributes or {}), ((), event.model_extra or {})):
        if wrong := _unstorable(part, path, depth=1):
            where, problem = wrong
            yield FieldError(field=_path(where), problem=problem)
            return
    size = len(json.dumps(_attributes(event), ensure_ascii=False, separators=(",", ":")).encode())
    if size > ATTRIBUTES_MAX_BYTES:
        problem = f"must have at most {ATTRIBUTES_MAX_BYTES:,} bytes as JSON with all unknown fields, has {size:,}"
        yield FieldError(field="attributes", problem=problem)


Path = tuple[str | int, ...]


def _unstorable(value: object, path: Path, depth: int) -> tuple[Path, str] | None:
    """Where inside a value something cannot be stored, and what is wrong with it."""
    if wrong := _wrong_with(value, depth):
        return path, wrong
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return next(filter(None, (_unstorable(part, (*path, key), depth + 1) for key, part in parts)), None)
    return None


def _wrong_with(value: object, depth: int) -> str | None:
    match value:
        case str():
            return _wrong_with_text(value)
        case float() if not math.isfinite(value):
            return "must be a finite number, not NaN or Infinity"
        case dict() | list() if depth > ATTRIBUTES_MAX_DEPTH:
            return f"must be nested at most {ATTRIBUTES_MAX_DEPTH} deep"
        case dict():
            names = (f"the name {_shown(name)} {wrong}" for name in value if (wrong := _wrong_with_text(name)))
            return next(names, None)
        case None | bool() | int() | float() | list():
            return None
        case _:
            return f"must be JSON, got {_shown(value)}"


def _wrong_with_text(text: str) -> str | None:
    if "\x00" in text:
        return "must not have the character NUL (U+0000)"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return HALF_CHARACTER
    return None


def _half_characters(event: LeadFields) -> list[FieldError]:
    """Texts that are no UTF-8. They get past pydantic when the JSON was decoded by Python."""
    texts = [(name, text) for name, text in vars(event).items() if text.__class__ is str and not text.isascii()]
    return [FieldError(field=name, problem=wrong) for name, text in texts if (wrong := _wrong_with_text(text))]


# Changing.


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
        new["customer_name"] = _full_name(new)
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


def is_duplicate(lead_external_id: str | None, other_external_id: str | None) -> bool:
    """Whether two leads with a natural key in common are one: requests of one known customer never are."""
    return lead_external_id is None or lead_external_id != other_external_id


# Words for what is wrong.


def as_error(error: ValidationError) -> Rejected:
    """What the contract's models refuse, field by field, in words for people."""
    return Rejected(tuple(_in_words(item) for item in error.errors(include_url=False)))


def too_large(size: int, limit: int) -> Rejected:
    """A body that is not even read."""
    return Rejected((FieldError(field="body", problem=f"must have at most {limit:,} bytes, has {size:,}"),))


A_TIME = "must be a date or time such as 2025-01-31T10:00:00+05:30"
A_DAY = "must be a date such as 2025-01-31"
HALF_CHARACTER = "must not have half a character (a lone surrogate, U+D800 to U+DFFF)"
#: What pydantic's types of errors ask for.
EXPECTED = {
    "bool": "must be true or false",
    "date_": A_DAY,
    "datetime_": A_TIME,
    "dict_type": "must be an object",
    "greater_than_equal": "must be at least {ge}",
    "int_": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "model_": "must be one JSON object",
    "string_type": "must be text",
}
#: What the JSON parser says, and what it means.
NOT_JSON = {
    "surrogate": HALF_CHARACTER,
    "hex escape": HALF_CHARACTER,
    "unicode code point": "must be text in UTF-8",
    "recursion limit": "must not be nested that deep",
    "number out of range": "must not have a number that long",
    "EOF while": "must be whole JSON: it ends too early",
}


def _in_words(item: ErrorDetails) -> FieldError:
    problem = _problem(item["type"], item["input"], item.get("ctx", {}), item["msg"])
    return FieldError(field=_path(item["loc"]), problem=problem)


def _problem(kind: str, value: object, context: Mapping[str, Any], message: str) -> str:
    """One error of pydantic's; `message` is its own, taken for the errors that our models word themselves."""
    if kind == "json_invalid":
        return _not_json(value, str(context.get("error", "")))
    if kind == "missing" or value is None or (isinstance(value, str) and not value.strip()):
        return "is required"
    if kind in {"too_long", "string_too_long"}:
        return f"must have at most {context['max_length']} characters, has {len(str(value).strip())}"
    for prefix, expected in EXPECTED.items():
        if kind.startswith(prefix):
            return f"{expected.format_map(context)}, got {_shown(value)}"
    return message.replace("Input should be", "must be")


def _not_json(body: object, said: str) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    if not text.strip():
        return "must be one JSON object, is empty"
    problem = next((words for part, words in NOT_JSON.items() if part in said), "must be one JSON object, is not JSON")
    return f"{problem} ({said}): {_shown(text)}"


def _shown(value: object) -> str:
    """A value for a message: as Python writes it, no longer than a line."""
    text = repr(value[:VALUE_SHOWN_LENGTH] if isinstance(value, str) else value)
    return text if len(text) <= VALUE_SHOWN_LENGTH else f"{text[: VALUE_SHOWN_LENGTH - 3]}..."


def _path(parts: Iterable[str | int]) -> str:
    """attributes.utm[2].name; a name that cannot be printed is quoted, the whole message is the body."""
    steps = (f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in parts)
    return "".join(steps).removeprefix(".") or "body"


def _printable(name: str) -> str:
    return name if name.isprintable() and 0 < len(name) <= VALUE_SHOWN_LENGTH else _shown(name)


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
