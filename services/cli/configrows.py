"""The configuration's entries as rows of the tables, and back: one description of each kind serves both ways. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Column, Table

from services.cli import configfile as file
from shared.db.models import Base

Row = dict[str, Any]
Key = tuple[Any, ...]

_TABLES = Base.metadata.tables


def _columns(*names: str) -> tuple[Column[Any], ...]:
    return tuple(_TABLES[table].c[column] for table, column in (name.split(".") for name in names))


@dataclass(frozen=True)
class Kind:
    """One kind of entry and its table. A field stands in the column of its name unless it says otherwise below."""

    name: str
    """As the file's section is called."""
    table: Table
    key: tuple[str, ...]
    """The columns that tell rows apart for people."""
    entry: type[file.Entry] = file.Entry
    is_folded: bool = False
    """Upper and lower case are the same in the key."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Field of the file → column."""
    references: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Column → the kind whose id stands in it, and the fields that name it in the file."""
    constant: Mapping[str, object] = field(default_factory=dict)
    """What standing in the file means for a row."""
    is_kept: bool = False
    """Rows are never deleted: ingest remembers their ids for some seconds, and a lead may come at any time."""
    used_by: tuple[Column[Any], ...] = ()
    """Where history and other settings point to a row: then it is not deleted."""
    owns: tuple[Column[Any], ...] = ()
    """What goes with a row that is deleted."""
    retired: Mapping[str, object] = field(default_factory=dict)
    """What deactivates a row that cannot be deleted."""

    @cached_property
    def id_column(self) -> Column[Any]:
        """What other tables point to."""
        (column,) = self.table.primary_key.columns
        return column

    @cached_property
    def columns(self) -> dict[str, str]:
        """Field → column of the fields that stand in a column as they are."""
        named = {name for _, fields in self.references.values() for name in fields}
        plain = (name for name in self.entry.model_fields if name not in named and name != "members")
        return {name: self.renamed.get(name, name) for name in plain}

    def key_of(self, row: Mapping[str, Any]) -> Key:
        """A row's natural key."""
        return self.fold(row[column] for column in self.key)

    def fold(self, values: Iterable[Any]) -> Key:
        """Values as they are compared."""
        return tuple(value.lower() if self.is_folded and isinstance(value, str) else value for value in values)


KINDS: Final = (
    Kind(
        "business_lines",
        _TABLES["business_lines"],
        key=("name",),
        entry=file.BusinessLine,
        used_by=_columns("leads.business_line_id", "agents.business_line_id", "routes.business_line_id"),
    ),
    Kind(
        "countries",
        _TABLES["countries"],
        key=("code",),
        entry=file.Country,
        used_by=_columns("leads.country_id"),
    ),
    Kind(
        "document_types",
        _TABLES["document_types"],
        key=("name",),
        entry=file.DocumentType,
        used_by=_columns("leads.document_type_id"),
    ),
    Kind(
        "sources",
        _TABLES["sources"],
        key=("name",),
        entry=file.Source,
        is_folded=True,
        constant={"is_new": False},
        is_kept=True,
        retired={"is_new": True},
    ),
    Kind(
        "stores",
        _TABLES["stores"],
        key=("store_code",),
        entry=file.Store,
        renamed={"code": "store_code", "name": "store_name"},
        constant={"is_new": False},
        used_by=_columns("leads.store_code", "routes.store_code", "route_members.store_code"),
        retired={"assign_leads": False},
    ),
    Kind(
        "agents",
        _TABLES["agents"],
        key=("agent_code",),
        entry=file.Agent,
        renamed={"code": "agent_code", "name": "agent_name", "mobile": "mobile_number", "active": "is_active"},
        references={"business_line_id": ("business_lines", ("business_line",))},
        used_by=_columns(
            "route_members.agent_id",
            "assignments.agent_id",
            "assignment_records.agent_id",
            "page_groups.agent_id",
            "documents.agent_id",
        ),
        owns=_columns("agent_counters.agent_id", "member_counters.agent_id"),
        retired={"is_active": False},
    ),
    Kind(
        "routes",
        _TABLES["routes"],
        key=("name",),
        entry=file.Route,
        renamed={"store": "store_code", "enabled": "is_enabled"},
        references={
            "source_id": ("sources", ("source",)),
            "business_line_id": ("business_lines", ("business_line",)),
        },
        used_by=_columns("assignments.route_id", "decisions.route_id", "documents.route_id"),
        owns=_columns("route_members.route_id", "member_counters.route_id", "route_versions.route_id"),
        retired={"is_enabled": False},
    ),
    Kind(
        "members",
        _TABLES["route_members"],
        key=("route_id", "agent_id", "store_code"),
        entry=file.Member,
        renamed={"store": "store_code", "enabled": "is_enabled"},
        references={"agent_id": ("agents", ("agent",))},
    ),
    Kind("pipelines", _TABLES["pipelines"], key=("code",)),
    Kind(
        "profiles",
        _TABLES["notification_profiles"],
        key=("pipeline_id", "code", "env"),
        entry=file.Profile,
        renamed={"active": "is_active"},
        references={"pipeline_id": ("pipelines", ("pipeline",))},
        used_by=_columns("notifications.profile_id", "notification_recipients.profile_id"),
        retired={"is_active": False},
    ),
    Kind(
        "recipients",
        _TABLES["notification_recipients"],
        key=("profile_id", "store_code", "env", "email_address"),
        entry=file.Recipient,
        renamed={
            "store": "store_code",
            "email": "email_address",
            "name": "display_name",
            "active": "is_active",
        },
        references={"profile_id": ("profiles", ("pipeline", "profile", "profile_env"))},
    ),
)
KIND: Final = {kind.name: kind for kind in KINDS}
#: What decides which leads come to a route.
MATCH: Final = frozenset({"source_id", "store_code", "business_line_id", "priority", "is_enabled"})


class Content:
    """The rows of all kinds as the database has them, found by name and by id."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Key, Row]] = {kind.name: {} for kind in KINDS}
        self._names: dict[str, dict[Any, Key]] = {kind.name: {} for kind in KINDS}
        self._ids: dict[str, dict[Key, Any]] = {kind.name: {} for kind in KINDS}

    def add(self, kind: Kind, rows: Iterable[Row]) -> None:
        """Take in rows; those that they point to are in already."""
        for row in rows:
            row_id, name = row[kind.id_column.name], self._name(kind, row)
            self.rows[kind.name][kind.key_of(row)] = row
            self._names[kind.name][row_id] = name
            self._ids[kind.name][kind.fold(name)] = row_id

    def names(self, kind: str) -> list[Key]:
        """How people name the rows of a kind."""
        return list(self._names[kind].values())

    def name_of(self, kind: str, row_id: object) -> Key:
        """How people name the row with this id."""
        return self._names[kind][row_id]

    def id_of(self, kind: str, name: Key) -> Any:
        """The id of the row that people name so."""
        return self._ids[kind][KIND[kind].fold(name)]

    def to_row(self, kind: Kind, entry: file.Entry) -> Row:
        """All of an entry's columns."""
        row = {column: getattr(entry, name) for name, column in kind.columns.items()}
        for column, (target, fields) in kind.references.items():
            name = tuple(getattr(entry, part) for part in fields)
            row[column] = None if None in name else self.id_of(target, name)
        return {**row, **kind.constant}

    def to_entry(self, kind: Kind, row: Mapping[str, Any]) -> Row:
        """All of a row's fields in the file; `to_row` of them gives the row again."""
        fields = {name: row[column] for name, column in kind.columns.items()}
        for column, (target, parts) in kind.references.items():
            absent = (None,) * len(parts)
            name = absent if row[column] is None else self.name_of(target, row[column])
            fields.update(zip(parts, name, strict=True))
        return fields

    def label(self, kind: Kind, row: Mapping[str, Any]) -> str:
        """What a person recognises a row by."""
        if kind.name == "members":
            route, agent = self.name_of("routes", row["route_id"]), self.name_of("agents", row["agent_id"])
            return " ".join((*route, *agent, *filter(None, [row["store_code"]])))
        if kind.name == "agents":
            return f"{row['agent_code']} {row['agent_name']}"
        return " ".join(str(part) for part in self._name(kind, row) if part is not None)

    def _name(self, kind: Kind, row: Mapping[str, Any]) -> Key:
        """The natural key in people's words: ids in it are replaced by the names they stand for."""
        name: list[Any] = []
        for column in kind.key:
            target = "routes" if column == "route_id" else kind.references.get(column, ("",))[0]
            name.extend(self.name_of(target, row[column]) if target else [row[column]])
        return tuple(name)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row as the file wants it: whole if it is new, else only the columns that the file gives."""

    row: Row
    given: frozenset[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What it takes to get from the rows that are there to those that are wanted."""

    new: list[Row]
    changed: list[tuple[Row, Row]]
    """The row as it is, and the columns that change."""
    unchanged: int
    surplus: list[Row]


def wanted(content: Content, kind: Kind, entry: file.Entry, **more: object) -> Wanted:
    """The row for an entry; `more` are columns that it has from where it stands."""
    given = {column for name, column in kind.columns.items() if name in entry.model_fields_set}
    given |= {column for column, (_, fields) in kind.references.items() if entry.model_fields_set & set(fields)}
    return Wanted({**content.to_row(kind, entry), **more}, frozenset(given | kind.constant.keys()))


def compare(kind: Kind, existing: Mapping[Key, Row], rows: Sequence[Wanted]) -> Difference:
    """Tell new rows from changed, unchanged and surplus ones by their natural keys."""
    new: list[Row] = []
    changed: list[tuple[Row, Row]] = []
    unchanged = 0
    for row in rows:
        before = existing.get(kind.key_of(row.row))
        if before is None:
            new.append(row.row)
        elif changes := {column: row.row[column] for column in row.given if before[column] != row.row[column]}:
            changed.append((before, changes))
        else:
            unchanged += 1
    keys = {kind.key_of(row.row) for row in rows}
    return Difference(new, changed, unchanged, [row for key, row in existing.items() if key not in keys])
