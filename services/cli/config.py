"""`leadline config apply FILE` and `config export FILE`: the configuration, from a file to the database and back.

One transaction under the locks of all routes: no decision is taken on half a configuration. What the file does not name
is left alone; with `prune` it is removed, or deactivated where history refers to it, in the sections that the file has.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from sqlalchemy import bindparam, delete, insert, select, text, union, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.cli.configcheck import Checked, check
from services.cli.configfile import ConfigFile, Route, read, write
from services.cli.configproblems import ConfigError, Problem
from services.cli.configrows import KIND, KINDS, MATCH, Content, Difference, Kind, Row, Wanted, compare, wanted
from services.cli.routeversions import keep_versions, put_off_versions
from shared.db.session import Database, open_database
from shared.events import AssignmentRequested
from shared.messaging import outbox
from shared.settings import load_settings

SERVICE: Final = "config"
#: Order of the export where rows are told apart by more than their names: a tie between two goes to the smaller id.
_IN_ORDER_OF_ID: Final = frozenset({"agents", "routes", "members"})
_DEADLINE_S = 60
# Somebody else has just written the same row, or holds a lock: what is there is read anew, and the whole done again.
_UNIQUE: Final = "23505"
_AGAIN: Final = frozenset({_UNIQUE, "40001", "40P01", "55P03"})
_ATTEMPTS = 5

ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('leadline config apply'))")
LOCK_ROUTES = text("SELECT id FROM routes ORDER BY id FOR NO KEY UPDATE")
SET_ACTOR = text("SELECT set_config('leadline.actor', :actor, true)")


@dataclass(frozen=True, slots=True)
class KindChange:
    """What became of one kind's entries; each is named as a person knows it."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    deactivated: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """Not in the file, but history or other settings refer to them, and they cannot be deactivated."""
    unchanged: int = 0

    @property
    def is_change(self) -> bool:
        """Whether any row was written."""
        return bool(self.created or self.updated or self.removed or self.deactivated)


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """What an apply did."""

    kinds: Mapping[str, KindChange] = field(default_factory=dict)
    routes: tuple[str, ...] = ()
    """Routes that have a new version: they, a member or an agent of theirs changed."""

    @property
    def is_change(self) -> bool:
        """Whether anything is different now."""
        return bool(self.routes) or any(change.is_change for change in self.kinds.values())


@dataclass(frozen=True, slots=True)
class ConfigExport:
    """Where an export was written, and how many entries of each section it has."""

    file: str
    entries: Mapping[str, int]


def apply(
    file: Annotated[Path, typer.Argument(help="the YAML file")],
    prune: Annotated[bool, typer.Option("--prune", help="remove what the file's sections do not name")] = False,
) -> ConfigChange:
    """Bring the database to what FILE says. Applied twice, the second time changes nothing.

    Raises ConfigError, with every problem, before anything is changed.
    """
    config = read_file(file)

    async def run() -> ConfigChange:
        async with open_database(load_settings().database, application_name="leadline config") as database:
            return await apply_config(database, config, file=str(file), prune=prune, actor=_user())

    return asyncio.run(run())


def export(file: Annotated[Path, typer.Argument(help="the YAML file to write")]) -> ConfigExport:
    """Write the configuration to FILE; applied to an empty database it gives the same configuration."""

    async def run() -> ConfigFile:
        async with open_database(load_settings().database, application_name="leadline config") as database:
            return await export_config(database)

    config = asyncio.run(run())
    try:
        file.write_text(write(config), encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(file), [Problem("", f"cannot be written: {error.strerror}")]) from None
    return ConfigExport(str(file), {name: len(entries) for name, entries in config if entries is not None})


def read_file(file: Path) -> ConfigFile:
    """A file's content. Raises ConfigError, with every problem that can be seen without a database."""
    return read(_text_of(file), file=str(file))


async def apply_config(
    database: Database, config: ConfigFile, *, actor: str, prune: bool = False, file: str = "configuration"
) -> ConfigChange:
    """Apply in one transaction; done again from the start when somebody wrote the same rows at the same time."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with database.begin(deadline_s=_DEADLINE_S) as tx:
                return await apply_in(tx, config, actor=actor, prune=prune, file=file)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state == _UNIQUE and attempt == _ATTEMPTS:
                raise ConfigError(file, [_not_unique(error)]) from error
            if state not in _AGAIN or attempt == _ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


async def export_config(database: Database) -> ConfigFile:
    """The configuration as it is now."""
    async with database.begin(deadline_s=_DEADLINE_S) as tx:
        content = await read_content(tx)
    return ConfigFile.model_validate(_sections(content))


async def routes_in(tx: AsyncConnection) -> list[Route]:
    """The routes as the caller's transaction sees them."""
    return list(ConfigFile.model_validate(_sections(await read_content(tx))).routes or ())


async def apply_in(
    tx: AsyncConnection, config: ConfigFile, *, actor: str, prune: bool = False, file: str = "configuration"
) -> ConfigChange:
    """Apply in the caller's transaction, which holds the locks of all routes from here on.

    Events to wake the assigner are in its outbox row, for the next relay that sweeps. Raises ConfigError before
    anything is written.
    """
    await tx.execute(ONE_AT_A_TIME)
    await tx.execute(LOCK_ROUTES)
    await put_off_versions(tx)
    await tx.execute(SET_ACTOR, {"actor": actor})
    content = await read_content(tx)
    checked, problems = check(config, content, prune=prune)
    if problems:
        raise ConfigError(file, problems)
    changes, surplus, is_rematch = {}, {}, False
    for kind in KINDS:
        rows = list(_wanted(checked, content, kind))
        difference = compare(kind, content.rows[kind.name], rows)
        surplus[kind.name] = _prunable(checked, content, kind, difference)
        is_rematch |= _moves_leads(kind, difference)
        changes[kind.name] = _labels(content, kind, difference, await _store(tx, content, kind, difference))
    if prune:
        for kind in reversed(KINDS):
            pruned = await _prune(tx, content, kind, surplus[kind.name])
            is_rematch |= kind.name in {"routes", "stores"} and pruned.is_change
            changes[kind.name] = replace(
                changes[kind.name], removed=pruned.removed, deactivated=pruned.deactivated, kept=pruned.kept
            )
    routes = await keep_versions(tx)
    wakes = [*routes, None] if is_rematch else [*routes]
    requests = [AssignmentRequested(route=route, requested_by=SERVICE) for route in wakes]
    await outbox.add(tx, SERVICE, requests, is_left=True)
    return ConfigChange({name: change for name, change in changes.items() if change != KindChange()}, routes)


async def read_content(tx: AsyncConnection) -> Content:
    """All rows of the configuration's tables."""
    content = Content()
    for kind in KINDS:
        rows = await tx.execute(select(kind.table).order_by(kind.id_column))
        content.add(kind, (dict(row) for row in rows.mappings()))
    return content


def _wanted(checked: Checked, content: Content, kind: Kind) -> Iterator[Wanted]:
    """The rows that the file wants of a kind."""
    if kind.name == "members":
        for route, members in checked.members.items():
            for member in members:
                yield wanted(content, kind, member, route_id=content.id_of("routes", (route,)))
    else:
        for entry in checked.entries(kind.name) or ():
            yield wanted(content, kind, entry)


def _prunable(checked: Checked, content: Content, kind: Kind, difference: Difference) -> list[Row]:
    """Rows that stand in no section which the file has. What ingest has put there as new was never configured."""
    if kind.name == "members":
        given = {content.id_of("routes", (route,)) for route in checked.members}
        return [row for row in difference.surplus if row["route_id"] in given]
    return [] if checked.entries(kind.name) is None else [row for row in difference.surplus if not row.get("is_new")]


def _moves_leads(kind: Kind, difference: Difference) -> bool:
    """Whether leads that wait on one route may belong to another now, or to one at all."""
    match kind.name:
        case "routes":
            return bool(difference.new) or any(MATCH & changes.keys() for _, changes in difference.changed)
        case "stores":
            return any({"assign_leads", "is_new"} & changes.keys() for _, changes in difference.changed)
        case _:
            return False


def _labels(content: Content, kind: Kind, difference: Difference, updated: Sequence[Row]) -> KindChange:
    return KindChange(
        created=tuple(content.label(kind, row) for row in difference.new),
        updated=tuple(content.label(kind, row) for row in updated),
        unchanged=difference.unchanged,
    )


async def _store(tx: AsyncConnection, content: Content, kind: Kind, difference: Difference) -> list[Row]:
    """Write new and changed rows, and take them into `content`. The changed ones as they are now."""
    if difference.new:
        created = await tx.execute(
            insert(kind.table).returning(*kind.table.c, sort_by_parameter_order=True), difference.new
        )
        content.add(kind, (dict(row) for row in created.mappings()))
    by_columns: dict[tuple[str, ...], list[Row]] = {}
    for before, changes in difference.changed:
        by_columns.setdefault(tuple(sorted(changes)), []).append({**changes, "_id": before[kind.id_column.name]})
    for columns, rows in by_columns.items():
        statement = update(kind.table).where(kind.id_column == bindparam("_id"))
        await tx.execute(statement.values({column: bindparam(column) for column in columns}), rows)
    updated = [{**before, **changes} for before, changes in difference.changed]
    content.add(kind, updated)
    return updated


async def _prune(tx: AsyncConnection, content: Content, kind: Kind, rows: Sequence[Row]) -> KindChange:
    """Delete rows, or retire those that something refers to."""
    name = kind.id_column.name
    used = await _used(tx, kind, [row[name] for row in rows])
    removed = [row for row in rows if row[name] not in used]
    if gone := [row[name] for row in removed]:
        for column in (*kind.owns, kind.id_column):
            await tx.execute(delete(column.table).where(column.in_(gone)))
    staying = [row for row in rows if row[name] in used]
    to_retire = [row for row in staying if kind.retired and not kind.retired.items() <= row.items()]
    if to_retire:
        ids = [row[name] for row in to_retire]
        await tx.execute(update(kind.table).where(kind.id_column.in_(ids)).values(**kind.retired))
    return KindChange(
        removed=tuple(content.label(kind, row) for row in removed),
        deactivated=tuple(content.label(kind, row) for row in to_retire),
        kept=() if kind.retired else tuple(content.label(kind, row) for row in staying),
    )


async def _used(tx: AsyncConnection, kind: Kind, ids: Sequence[Any]) -> set[Any]:
    """Those of the rows that history or other settings point to."""
    if kind.is_kept:
        return set(ids)
    if not ids or not kind.used_by:
        return set()
    users = union(*(select(column).where(column.in_(ids)) for column in kind.used_by))
    return set((await tx.execute(users)).scalars())


def _sections(content: Content) -> dict[str, list[Row]]:
    """The file's sections. Sources and stores that nobody has configured are left out, unless a route names them."""
    named = {row["source_id"] for row in content.rows["routes"].values()}
    members: dict[int, list[Row]] = {row["id"]: [] for row in content.rows["routes"].values()}
    for row in _sorted(content, KIND["members"]):
        members[row["route_id"]].append(content.to_entry(KIND["members"], row))
    sections = {
        kind.name: [
            content.to_entry(kind, row)
            for row in _sorted(content, kind)
            if not row.get("is_new") or (kind.name == "sources" and row["id"] in named)
        ]
        for kind in KINDS
        if kind.name in ConfigFile.model_fields
    }
    for route in sections["routes"]:
        route["members"] = members[content.id_of("routes", (route["name"],))]
    return sections


def _sorted(content: Content, kind: Kind) -> list[Row]:
    rows = content.rows[kind.name].values()
    if kind.name in _IN_ORDER_OF_ID:
        return sorted(rows, key=lambda row: row[kind.id_column.name])
    return sorted(rows, key=lambda row: content.label(kind, row))


def _not_unique(error: DBAPIError) -> Problem:
    cause = error.orig and error.orig.__cause__
    table, detail = getattr(cause, "table_name", None), getattr(cause, "detail", None)
    return Problem(table or "", f"{detail or 'a value is taken'} Two entries cannot both have it: correct one.")


def _user() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user has no name
        return "cli"


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(str(file), [Problem("", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), [Problem("", "is not UTF-8 text: save it as UTF-8")]) from None
