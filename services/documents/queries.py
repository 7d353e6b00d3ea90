"""Documents' SQL: what a sheet says, and the row that makes it one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.documents.filenames import lot_suffix, stream_suffix
from services.documents.sheet import SheetFacts, SheetRow

PIPELINE = "leads_assignment"

_rows = """
    SELECT assignments.sheet_key, assignments.page_group_code, assignments.lead_assignment_code, assignments.rowid,
           assignments.lead_date, assignments.lead_type, assignments.mobile_number, assignments.cx_name,
           assignments.address, assignments.store_code, assignments.lot_id, leads.lead_id,
           agents.id AS agent_id, agents.agent_code, agents.agent_name, routes.id AS route_id, routes.name AS route,
           routes.sheets, page_groups.day
    FROM assignments JOIN leads ON leads.id = assignments.lead_id JOIN agents ON agents.id = assignments.agent_id
         JOIN routes ON routes.id = assignments.route_id JOIN page_groups USING (page_group_code)
    WHERE assignments.sheet_key = ANY(CAST(:keys AS text[]))
"""
_told = """
    leads.lead_id = ANY((SELECT lead_ids FROM documents WHERE documents.sheet_key = assignments.sheet_key)::text[])
"""
_in_order = "ORDER BY assignments.sheet_key, assignments.rowid"
SHEETS = text(f"{_rows} AND assignments.is_current AND assignments.assignment_status_id IN (2, 3, 4) {_in_order}")
#: As their documents have them, whatever became of the assignments: those keep all they had.
TOLD = text(f"{_rows} AND {_told} {_in_order}")
#: A void one is made again where its lead was reopened.
EXISTING = text("SELECT sheet_key FROM documents WHERE sheet_key = ANY(CAST(:keys AS text[])) AND status <> 'void'")
#: The first sheet of a day for a place and an agent, in the order of lots and rows, has the name without either. Which
#: that is stays so, whoever asks again and whatever became of the sheet.
CLAIM_NAMES = text("""
    INSERT INTO first_sheets (doc_date, place, agent_code, sheet_key)
    SELECT new.doc_date, new.place, new.agent_code, new.sheet_key
    FROM unnest(CAST(:doc_dates AS date[]), CAST(:places AS text[]), CAST(:agent_codes AS text[]),
                CAST(:sheet_keys AS text[])) AS new (doc_date, place, agent_code, sheet_key)
    ON CONFLICT DO NOTHING
""")
FIRST = text("SELECT sheet_key FROM first_sheets WHERE sheet_key = ANY(CAST(:sheet_keys AS text[]))")
#: A sheet of whose assignments none is held by its agent any more is stored as void: nobody is to get it.
ADD = text("""
    INSERT INTO documents (sheet_key, doc_type, doc_subtype, doc_date, reference_name_1, reference_id_1,
                           reference_name_2, reference_id_2, reference_name_3, reference_id_3, mime_type,
                           storage_backend, file_path, sha256, size, status, lot_id, agent_id, route_id, lead_ids,
                           created_by)
    SELECT new.sheet_key, 'leads_assignment', 'per_store_agent_pdf', new.doc_date, 'pipeline', :pipeline,
           'store_code', new.place, 'agent_code', new.agent_code, 'application/pdf', :backend, new.file_path,
           new.sha256, new.size, CASE WHEN live.sheet_key IS NULL THEN 'void' ELSE 'ok' END, new.lot_id, new.agent_id,
           new.route_id, string_to_array(new.lead_ids, E'\\n'), 'leads_assignment_pipeline'
    FROM unnest(CAST(:sheet_keys AS text[]), CAST(:doc_dates AS date[]), CAST(:places AS text[]),
                CAST(:agent_codes AS text[]), CAST(:file_paths AS text[]), CAST(:sha256s AS text[]),
                CAST(:sizes AS bigint[]), CAST(:lot_ids AS bigint[]), CAST(:agent_ids AS bigint[]),
                CAST(:route_ids AS bigint[]), CAST(:lead_ids AS text[]))
         AS new (sheet_key, doc_date, place, agent_code, file_path, sha256, size, lot_id, agent_id, route_id, lead_ids)
         LEFT JOIN (
             SELECT DISTINCT sheet_key FROM assignments
             WHERE sheet_key = ANY(CAST(:sheet_keys AS text[])) AND is_current AND assignment_status_id IN (2, 3)
         ) AS live USING (sheet_key)
    ORDER BY new.sheet_key
    ON CONFLICT (sheet_key) DO UPDATE
    SET status = 'ok', storage_backend = excluded.storage_backend, file_path = excluded.file_path,
        sha256 = excluded.sha256, size = excluded.size, lead_ids = excluded.lead_ids
    WHERE documents.status = 'void' AND excluded.status = 'ok'
    RETURNING id, sheet_key, status
""")
#: Documents as they stand; a void one will be made again if its lead is reopened.
STANDING = text("""
    SELECT sheet_key, file_path, sha256 FROM documents
    WHERE sheet_key = ANY(CAST(:keys AS text[])) AND status <> 'void' ORDER BY sheet_key
""")
LOCK = text("""
    SELECT sheet_key, sha256 FROM documents WHERE sheet_key = ANY(CAST(:keys AS text[]))
    ORDER BY sheet_key FOR NO KEY UPDATE
""")
DESCRIBE = text("""
    UPDATE documents SET sha256 = new.sha256, size = new.size, lead_ids = string_to_array(new.lead_ids, E'\\n')
    FROM unnest(CAST(:sheet_keys AS text[]), CAST(:sha256s AS text[]), CAST(:sizes AS bigint[]),
                CAST(:lead_ids AS text[])) AS new (sheet_key, sha256, size, lead_ids)
    WHERE documents.sheet_key = new.sheet_key
""")
SUPERSEDE = text("""
    UPDATE documents SET status = 'superseded'
    WHERE sheet_key = ANY(CAST(:keys AS text[])) AND status = 'ok' AND NOT EXISTS (
        SELECT 1 FROM assignments
        WHERE assignments.sheet_key = documents.sheet_key AND is_current AND assignment_status_id IN (2, 3, 4)
    )
""")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet to be made: what it says, and whose it is. `place` is the store, or the route for a lead without one."""

    facts: SheetFacts
    day: date
    place: str
    store_code: str | None
    agent_id: int
    agent_code: str
    route_id: int
    lot_id: int | None
    lead_ids: tuple[str, ...]

    @property
    def suffix(self) -> str:
        """What tells it from the first sheet of its day."""
        return lot_suffix(self.lot_id) if self.lot_id else stream_suffix(self.facts.rows[0].rowid or 0)


@dataclass(frozen=True, slots=True)
class Kept:
    """A sheet on disk."""

    sheet: Sheet
    file_path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A document that is there: its file, and what is to be in it."""

    sheet_key: str
    file_path: str
    sha256: str


async def sheets_to_make(connection: AsyncConnection, keys: Sequence[str], anew: Collection[str] = ()) -> list[Sheet]:
    """Give the sheets of these keys that have no document yet, and those `anew`, as their assignments stand now.

    A route whose leads get no sheets has none; nor has a new key none of whose assignments stands any more. One of
    `anew` is then as its document says.
    """
    existing = set((await connection.execute(EXISTING, {"keys": list(keys)})).scalars()) - set(anew)
    found = await _sheets(connection, SHEETS, [key for key in keys if key not in existing])
    if ended := set(anew).intersection(keys) - {sheet.facts.sheet_key for sheet in found}:
        found += await _sheets(connection, TOLD, sorted(ended))
    return found


async def _sheets(connection: AsyncConnection, statement: TextClause, keys: Sequence[str]) -> list[Sheet]:
    rows = (await connection.execute(statement, {"keys": keys})).mappings()
    groups = groupby((dict(row) for row in rows if row["sheets"]), key=lambda row: row["sheet_key"])
    return [_sheet(list(group)) for _, group in groups]


def _sheet(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    first = rows[0]
    facts = SheetFacts(
        sheet_key=first["sheet_key"],
        page_group_code=first["page_group_code"],
        agent_code=first["agent_code"],
        agent_name=first["agent_name"],
        batch_date=first["day"],
        rows=tuple(
            SheetRow(
                row["lead_assignment_code"],
                row["rowid"],
                row["lead_date"],
                row["lead_type"],
                row["mobile_number"],
                row["cx_name"],
                row["address"],
            )
            for row in rows
        ),
    )
    return Sheet(
        facts=facts,
        day=first["day"],
        place=first["store_code"] or first["route"],
        store_code=first["store_code"],
        agent_id=first["agent_id"],
        agent_code=first["agent_code"],
        route_id=first["route_id"],
        lot_id=first["lot_id"],
        lead_ids=tuple(row["lead_id"] for row in rows),
    )


async def first_of_their_day(connection: AsyncConnection, sheets: Sequence[Sheet]) -> set[str]:
    """Give the keys of those sheets whose name does without a suffix, by a constraint: asked again, the same."""
    in_order = sorted(sheets, key=lambda sheet: (sheet.day, sheet.lot_id or 0, sheet.facts.rows[0].rowid or 0))
    values = {
        "doc_dates": [sheet.day for sheet in in_order],
        "places": [sheet.place for sheet in in_order],
        "agent_codes": [sheet.agent_code for sheet in in_order],
        "sheet_keys": [sheet.facts.sheet_key for sheet in in_order],
    }
    await connection.execute(CLAIM_NAMES, values)
    # Apart, and after any wait for another replica's claim: one statement would not see what was committed meanwhile.
    return set((await connection.execute(FIRST, {"sheet_keys": values["sheet_keys"]})).scalars())


async def add_documents(tx: AsyncConnection, kept: Sequence[Kept], backend: str) -> dict[str, int]:
    """Store sheets, void where nobody holds their leads any more; give the ids of those that are new and stand."""
    sheets = [each.sheet for each in kept]
    values = {
        "pipeline": PIPELINE,
        "backend": backend,
        "sheet_keys": [sheet.facts.sheet_key for sheet in sheets],
        "doc_dates": [sheet.day for sheet in sheets],
        "places": [sheet.place for sheet in sheets],
        "agent_codes": [sheet.agent_code for sheet in sheets],
        "file_paths": [each.file_path for each in kept],
        "sha256s": [each.sha256 for each in kept],
        "sizes": [each.size for each in kept],
        "lot_ids": [sheet.lot_id for sheet in sheets],
        "agent_ids": [sheet.agent_id for sheet in sheets],
        "route_ids": [sheet.route_id for sheet in sheets],
        "lead_ids": ["\n".join(sheet.lead_ids) for sheet in sheets],
    }
    return {row.sheet_key: row.id for row in await tx.execute(ADD, values) if row.status == "ok"}


async def standing(connection: AsyncConnection, keys: Sequence[str]) -> list[Standing]:
    """Give the documents that stand of these keys."""
    return [Standing(*row) for row in await connection.execute(STANDING, {"keys": list(keys)})]


async def lock_others(tx: AsyncConnection, kept: Sequence[Kept]) -> list[Kept]:
    """Lock the documents of these sheets; give those sheets of which the document says another content."""
    keys = [each.sheet.facts.sheet_key for each in kept]
    says = {row.sheet_key: row.sha256 for row in await tx.execute(LOCK, {"keys": keys})}
    return [each for each in kept if says.get(each.sheet.facts.sheet_key, each.sha256) != each.sha256]


async def describe(tx: AsyncConnection, kept: Sequence[Kept]) -> None:
    """Let documents say what these sheets have."""
    values = {
        "sheet_keys": [each.sheet.facts.sheet_key for each in kept],
        "sha256s": [each.sha256 for each in kept],
        "sizes": [each.size for each in kept],
        "lead_ids": ["\n".join(each.sheet.lead_ids) for each in kept],
    }
    await tx.execute(DESCRIBE, values)


async def supersede(tx: AsyncConnection, keys: Sequence[str]) -> None:
    """Mark sheets whose last assignment is ended."""
    await tx.execute(SUPERSEDE, {"keys": list(keys)})
