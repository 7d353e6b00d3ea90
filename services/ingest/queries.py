"""Ingest's SQL: set-based, one statement a batch. Rows are written in the order of their keys, so that two replicas
that meet wait for each other instead of deadlocking."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ingest.intake import Lead, Names, NaturalKey, Reference
from shared.db.statement import Statement

#: The columns that a lead's message decides, with their types; `source` and `external_id` are ids in the table.
COLUMNS = {
    "source_id": "bigint",
    "customer_id": "bigint",
    "business_line_id": "bigint",
    "country_id": "bigint",
    "document_type_id": "bigint",
    "document_number": "text",
    "store_code": "text",
    "store_name": "text",
    "customer_name": "text",
    "given_name": "text",
    "surname": "text",
    "mobile_number": "text",
    "email": "text",
    "address": "text",
    "message": "text",
    "customer_type": "text",
    "stage": "smallint",
    "is_order_placed": "boolean",
    "created_at": "timestamptz",
    "pickup_no": "text",
    "pickup_date": "date",
    "pickup_created_date": "date",
    "run_date": "date",
    "run_id": "text",
    "final_source": "text",
    "attributes": "text",
    "flags": "text",
    "written_at": "text",
}
#: Columns that travel as text, since an array of arrays or of objects cannot be unnested.
WRITTEN = {"attributes": "CAST({0} AS jsonb)", "flags": "string_to_array({0}, ',')", "written_at": "CAST({0} AS jsonb)"}

_names = ", ".join(COLUMNS)
_values = ", ".join(WRITTEN.get(name, "{0}").format(f"new.{name}") for name in COLUMNS)
_arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in COLUMNS.items())
_sets = ", ".join(f"{name} = {WRITTEN.get(name, '{0}').format(f'new.{name}')}" for name in COLUMNS)

#: With the natural keys that the new ones claim, the first of a batch before the others, and with the assignments of
#: those to whom all of theirs fell: one call. Whoever is claiming the same key is waited for; keys that fell to another
#: lead are returned, and whether it is one that had the key before.
INSERT_LEADS = Statement(f"""
    WITH added AS (
        INSERT INTO leads (lead_id, {_names})
        SELECT new.lead_id, {_values} FROM unnest(CAST(:lead_id AS text[]), {_arrays}) AS new (lead_id, {_names})
        ORDER BY new.lead_id
        ON CONFLICT (lead_id) DO NOTHING
        RETURNING lead_id, id, customer_id, created_at
    ), claims AS (
        SELECT claim.kind, claim.key, claim.place, added.*
        FROM unnest(CAST(:kinds AS text[]), CAST(:keys AS text[]), CAST(:claimants AS text[]))
             WITH ORDINALITY AS claim (kind, key, lead_id, place) JOIN added USING (lead_id)
    ), claimed AS (
        INSERT INTO lead_keys (kind, key, lead_id, customer_id, seen_at)
        SELECT DISTINCT ON (kind, key) kind, key, id, customer_id, created_at FROM claims ORDER BY kind, key, place
        ON CONFLICT (kind, key) DO NOTHING
        RETURNING kind, key, lead_id
    ), contested AS (
        SELECT claims.id, kind, key, claimed.lead_id IS NULL AS is_held
        FROM claims LEFT JOIN claimed USING (kind, key) WHERE claimed.lead_id IS DISTINCT FROM claims.id
    ), begun AS (
        INSERT INTO assignments (lead_id) SELECT id FROM added WHERE id NOT IN (SELECT id FROM contested) ORDER BY id
    )
    SELECT lead_id, id, NULL AS kind, NULL AS key, NULL AS is_held FROM added
    UNION ALL SELECT NULL, id, kind, key, is_held FROM contested
""")  # noqa: S608  # names of columns, from the table above
UPDATE_LEADS = Statement(f"""
    UPDATE leads SET {_sets}, revision = leads.revision + 1, updated_at = now()
    FROM unnest(CAST(:lead_id AS text[]), {_arrays}) AS new (lead_id, {_names})
    WHERE leads.lead_id = new.lead_id
""")  # noqa: S608
MARK_WRITTEN = Statement("""
    UPDATE leads SET written_at = CAST(new.written_at AS jsonb)
    FROM unnest(CAST(:lead_ids AS text[]), CAST(:written_at AS text[])) AS new (lead_id, written_at)
    WHERE leads.lead_id = new.lead_id
""")
COUNT_REPEATS = Statement("UPDATE leads SET repeats = repeats + 1 WHERE lead_id = ANY(CAST(:lead_ids AS text[]))")
MARK_DUPLICATES = Statement("""
    UPDATE leads SET duplicate_of = new.holder
    FROM unnest(CAST(:ids AS bigint[]), CAST(:holders AS bigint[])) AS new (id, holder) WHERE leads.id = new.id
""")
LOCK_LEADS = Statement("""
    SELECT 1 FROM leads WHERE lead_id = ANY(CAST(:lead_ids AS text[])) ORDER BY id FOR NO KEY UPDATE
""")
READ_LEADS = Statement("""
    SELECT leads.*, sources.name AS source, customers.external_id
    FROM leads JOIN sources ON sources.id = leads.source_id LEFT JOIN customers ON customers.id = leads.customer_id
    WHERE leads.lead_id = ANY(CAST(:lead_ids AS text[]))
""")
_keys = "unnest(CAST(:kinds AS text[]), CAST(:keys AS text[])) AS new (kind, key)"
LOCK_KEYS = Statement(f"""
    SELECT 1 FROM lead_keys JOIN {_keys} USING (kind, key) ORDER BY kind, key FOR NO KEY UPDATE OF lead_keys
""")  # noqa: S608
READ_HOLDERS = Statement(f"""
    SELECT kind, key, lead_keys.lead_id AS id, leads.lead_id, lead_keys.customer_id, lead_keys.seen_at,
           coalesce(assignments.assignment_status_id < 4, true) AS is_open
    FROM lead_keys JOIN {_keys} USING (kind, key) JOIN leads ON leads.id = lead_keys.lead_id
         LEFT JOIN assignments ON assignments.lead_id = lead_keys.lead_id AND assignments.is_current
""")  # noqa: S608
TAKE_KEYS = Statement("""
    UPDATE lead_keys SET lead_id = new.lead_id, customer_id = new.customer_id, seen_at = new.seen_at
    FROM unnest(CAST(:kinds AS text[]), CAST(:keys AS text[]), CAST(:lead_ids AS bigint[]),
                CAST(:customer_ids AS bigint[]), CAST(:seen_at AS timestamptz[]))
         AS new (kind, key, lead_id, customer_id, seen_at)
    WHERE lead_keys.kind = new.kind AND lead_keys.key = new.key
""")
INSERT_ASSIGNMENTS = Statement("""
    INSERT INTO assignments (lead_id, assignment_status_id, reason, closed_at)
    SELECT id, CASE WHEN is_duplicate THEN 4 ELSE 1 END, CASE WHEN is_duplicate THEN 'duplicate' END,
           CASE WHEN is_duplicate THEN now() END
    FROM unnest(CAST(:ids AS bigint[]), CAST(:are_duplicates AS boolean[])) AS new (id, is_duplicate)
    ORDER BY id
""")

NEW_SOURCES = Statement("""
    INSERT INTO sources (name, is_new)
    SELECT name, true FROM unnest(CAST(:names AS text[])) AS name ORDER BY lower(name)
    ON CONFLICT (lower(name)) DO NOTHING
""")
NEW_STORES = Statement("""
    INSERT INTO stores (store_code, store_name, is_new)
    SELECT store_code, store_name, true FROM unnest(CAST(:codes AS text[]), CAST(:names AS text[]))
           AS new (store_code, store_name) ORDER BY store_code
    ON CONFLICT (store_code) DO NOTHING
""")
NEW_CUSTOMERS = Statement("""
    INSERT INTO customers (external_id, customer_name, mobile_number, email)
    SELECT * FROM unnest(CAST(:external_ids AS text[]), CAST(:names AS text[]), CAST(:mobiles AS text[]),
                         CAST(:emails AS text[])) AS new (external_id, customer_name, mobile_number, email)
    ORDER BY external_id
    ON CONFLICT (external_id) DO NOTHING
""")
CUSTOMER_IDS = Statement("SELECT external_id, id FROM customers WHERE external_id = ANY(CAST(:external_ids AS text[]))")
_source_columns = "sources.id, sources.name, region, zone, natural_keys, duplicate_days"
SOURCES = Statement(f"SELECT sources.name AS asked, {_source_columns} FROM sources")  # noqa: S608
#: By the names asked for: which of them are one is the database's to say.
SOURCES_OF = Statement(f"""
    SELECT asked, {_source_columns} FROM unnest(CAST(:names AS text[])) AS asked
         JOIN sources ON lower(sources.name) = lower(asked)
""")  # noqa: S608
STORES = Statement("SELECT store_code FROM stores")
REFERENCE = Statement("""
    SELECT 'business_line' AS kind, id, name, NULL AS code FROM business_lines
    UNION ALL SELECT 'document_type', id, name, NULL FROM document_types
    UNION ALL SELECT 'country', id, name, code FROM countries
""")


@dataclass(frozen=True, slots=True)
class Source:
    """A row of `sources`; `region` and `zone` may be the settings' business."""

    id: int
    name: str
    region: str | None
    zone: str | None
    natural_keys: frozenset[str]
    duplicate_days: int


class Holder(Struct, frozen=True):
    """The lead that holds a natural key."""

    id: int
    lead_id: str
    customer_id: int | None
    seen_at: datetime
    is_open: bool


class Claim(Struct, frozen=True):
    """A lead's claim to a natural key, which counts if the lead is new."""

    key: NaturalKey
    lead_id: str
    customer_id: int | None
    seen_at: datetime


async def read_reference(connection: AsyncConnection) -> tuple[Reference, dict[str, Source], frozenset[str]]:
    """Read what leads may point to: reference data, sources by folded name, known store codes."""
    names: dict[str, list[tuple[int, str] | tuple[int, str, str]]] = {}
    for kind, key, name, code in await REFERENCE.run(connection):
        names.setdefault(kind, []).append((key, name, code) if code else (key, name))
    reference = Reference(
        business_lines=Names.of(names.get("business_line", ())),
        countries=Names.of(names.get("country", ())),
        document_types=Names.of(names.get("document_type", ())),
    )
    sources = _sources(await SOURCES.run(connection))
    return reference, sources, frozenset(row["store_code"] for row in await STORES.run(connection))


async def add_sources(tx: AsyncConnection, names: Sequence[str]) -> dict[str, Source]:
    """Store unknown sources as new; give those of these names, by folded name."""
    await NEW_SOURCES.run(tx, {"names": list(names)})
    return _sources(await SOURCES_OF.run(tx, {"names": list(names)}))


def _sources(rows: Iterable[Any]) -> dict[str, Source]:
    return {
        asked.casefold(): Source(key, name, region, zone, frozenset(natural_keys), duplicate_days)
        for asked, key, name, region, zone, natural_keys, duplicate_days in rows
    }


async def add_stores(tx: AsyncConnection, stores: Mapping[str, str | None]) -> None:
    await NEW_STORES.run(tx, {"codes": list(stores), "names": list(stores.values())})


async def add_customers(tx: AsyncConnection, people: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Give the ids of those people who have an `external_id`; new ones are stored with name and contact."""
    first = {person["external_id"]: person for person in reversed(people) if person["external_id"] is not None}
    if not first:
        return {}
    columns = {
        "external_ids": list(first),
        "names": [person["customer_name"] for person in first.values()],
        "mobiles": [person["mobile_number"] for person in first.values()],
        "emails": [person["email"] for person in first.values()],
    }
    await NEW_CUSTOMERS.run(tx, columns)
    return dict(map(tuple, await CUSTOMER_IDS.run(tx, {"external_ids": list(first)})))


@dataclass(frozen=True, slots=True)
class Inserted:
    """What became of leads: the ids of those that are new, and which natural keys of theirs others had before."""

    new: Mapping[str, int]
    held: frozenset[NaturalKey]
    #: Of the new ones those that have not got all their keys: whether they are duplicates is open.
    contested: frozenset[int]


async def insert_leads(
    tx: AsyncConnection, leads: Sequence[Lead], ids: Sequence[tuple[int, int | None]], claims: Sequence[Claim]
) -> Inserted:
    """Store leads, then claim the natural keys of those that are new, in the keys' order, where nobody has them.

    `ids`: of each lead's source and customer. Of several that claim the same key the first gets it. Who gets all that
    it claims has its first assignment, pending.
    """
    values = {
        **columns_of(leads, ids),
        "kinds": [claim.key.kind for claim in claims],
        "keys": [claim.key.key for claim in claims],
        "claimants": [claim.lead_id for claim in claims],
    }
    new: dict[str, int] = {}
    held: set[NaturalKey] = set()
    contested: set[int] = set()
    for lead_id, key_of_lead, kind, key, is_held in await INSERT_LEADS.run(tx, values):
        if lead_id is not None:
            new[lead_id] = key_of_lead
            continue
        contested.add(key_of_lead)
        if is_held:
            held.add(NaturalKey(kind, key))
    return Inserted(new, frozenset(held), frozenset(contested))


async def lock_leads(tx: AsyncConnection, lead_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Lock existing leads in order of their ids, then read them, as they are after the wait."""
    await LOCK_LEADS.run(tx, {"lead_ids": list(lead_ids)})
    rows = await READ_LEADS.run(tx, {"lead_ids": list(lead_ids)})
    return {row["lead_id"]: dict(row) for row in rows}


async def update_leads(tx: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write leads anew as a whole; their revision rises by one."""
    await UPDATE_LEADS.run(tx, _columns(rows))


async def mark_written(tx: AsyncConnection, written_at: Mapping[str, Mapping[str, str]]) -> None:
    """Remember who wrote what last, where nothing else of the lead has changed."""
    values = [json.dumps(entry) for entry in written_at.values()]
    await MARK_WRITTEN.run(tx, {"lead_ids": list(written_at), "written_at": values})


async def count_repeats(tx: AsyncConnection, lead_ids: Sequence[str]) -> None:
    await COUNT_REPEATS.run(tx, {"lead_ids": list(lead_ids)})


async def hold_keys(tx: AsyncConnection, wanted: Sequence[NaturalKey]) -> dict[NaturalKey, Holder]:
    """Hold natural keys that others have, in their order; give these."""
    keys = {"kinds": [key.kind for key in wanted], "keys": [key.key for key in wanted]}
    await LOCK_KEYS.run(tx, keys)
    return {NaturalKey(kind, key): Holder(*holder) for kind, key, *holder in await READ_HOLDERS.run(tx, keys)}


async def take_keys(tx: AsyncConnection, holders: Mapping[NaturalKey, Holder]) -> None:
    """Write who holds these keys from now on. They are held already."""
    columns = {
        "kinds": [key.kind for key in holders],
        "keys": [key.key for key in holders],
        "lead_ids": [holder.id for holder in holders.values()],
        "customer_ids": [holder.customer_id for holder in holders.values()],
        "seen_at": [holder.seen_at.astimezone(UTC) for holder in holders.values()],
    }
    await TAKE_KEYS.run(tx, columns)


async def mark_duplicates(tx: AsyncConnection, holders: Mapping[int, int]) -> None:
    await MARK_DUPLICATES.run(tx, {"ids": list(holders), "holders": list(holders.values())})


async def insert_assignments(tx: AsyncConnection, lead_ids: Mapping[int, bool]) -> None:
    """Give new leads that have none their first assignment: pending; closed, where the value says: a duplicate."""
    await INSERT_ASSIGNMENTS.run(tx, {"ids": list(lead_ids), "are_duplicates": list(lead_ids.values())})


def columns_of(leads: Sequence[Lead], ids: Sequence[tuple[int, int | None]]) -> dict[str, Sequence[Any] | None]:
    """Give leads that nobody has yet as the arrays of `INSERT_LEADS`."""
    columns = dict(zip(_LEADS_OWN, zip(*map(_own_of, leads), strict=True), strict=True))
    source_ids, customer_ids = zip(*ids, strict=True)
    return _as_arrays({**columns, "source_id": source_ids, "customer_id": customer_ids})


#: What a new lead has by itself, under the table's names.
_LEADS_OWN = tuple(name for name in ("lead_id", *COLUMNS) if name in Lead.__struct_fields__)
_own_of = attrgetter(*_LEADS_OWN)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any] | None]:
    return _as_arrays({name: [row.get(name) for row in rows] for name in ("lead_id", *COLUMNS)})


def _as_arrays(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any] | None]:
    """Write what travels as text; a column that nobody tells is no array at all, which unnest makes as many nulls."""
    written = {
        name: [write(value) if value else None for value in columns[name]]
        for name, write in _WRITE.items()
        if name in columns
    }
    told = {name: each for name, each in {**columns, **written}.items() if each.count(None) < len(each)}
    return {**_NOTHING, **told}


_WRITE: Mapping[str, Callable[[Any], str]] = {"flags": ",".join, "attributes": json.dumps, "written_at": json.dumps}
_NOTHING: Mapping[str, None] = dict.fromkeys(COLUMNS)
