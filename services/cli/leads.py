"""One lead's whole story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from services.cli.failures import CommandError
from shared.db.session import Database

LEAD = text("""
    SELECT leads.id, leads.lead_id, sources.name AS source, leads.customer_name, leads.mobile_number, leads.email,
           leads.store_code, leads.stage, leads.created_at, leads.received_at, leads.revision, leads.repeats,
           leads.flags, leads.attributes, first.lead_id AS duplicate_of, assignment_statuses.name AS status,
           assignments.reason, assignments.retry_at, routes.name AS route, agents.agent_code AS agent,
           agents.agent_name, assignments.lead_assignment_code, assignments.assigned_at
    FROM leads JOIN sources ON sources.id = leads.source_id
         LEFT JOIN leads AS first ON first.id = leads.duplicate_of
         LEFT JOIN assignments ON assignments.lead_id = leads.id AND assignments.is_current
         LEFT JOIN assignment_statuses ON assignment_statuses.id = assignments.assignment_status_id
         LEFT JOIN routes ON routes.id = assignments.route_id
         LEFT JOIN agents ON agents.id = assignments.agent_id
    WHERE leads.lead_id = :lead_id
""")
HISTORY = text("""
    SELECT assignment_records.updated_at AS at, assignment_statuses.name AS status, assignment_records.method,
           agents.agent_code AS agent, assignment_records.reason, count_before, count_after, open_before, open_after
    FROM assignment_records JOIN assignment_statuses ON assignment_statuses.id = assignment_status_id
         LEFT JOIN agents ON agents.id = assignment_records.agent_id
    WHERE assignment_records.lead_id = :id ORDER BY assignment_records.id
""")
DOCUMENTS = text("""
    SELECT documents.sheet_key AS sheet, documents.status, documents.file_path AS file, documents.created_at AS at,
           profiles.code AS mail_of, notifications.status AS mail, notifications.reason, notifications.sent_at,
           (SELECT string_agg(email_address || ' ' || deliveries.status, ', ' ORDER BY email_address)
            FROM notification_deliveries AS deliveries WHERE notification_id = notifications.id) AS recipients
    FROM assignments JOIN documents USING (sheet_key)
         LEFT JOIN notification_sheets ON notification_sheets.document_id = documents.id
         LEFT JOIN notifications ON notifications.id = notification_sheets.notification_id
              -- a store's mail that waits for other sheets of the lot carries none yet
              OR notifications.lot_id = documents.lot_id AND notifications.store_code = assignments.store_code
                 AND NOT EXISTS (SELECT 1 FROM notification_sheets WHERE notification_id = notifications.id)
         LEFT JOIN notification_profiles AS profiles ON profiles.id = notifications.profile_id
    WHERE assignments.lead_id = :id ORDER BY documents.id, notifications.id
""")


@dataclass(frozen=True, slots=True)
class Story:
    """A lead as it stands, every change of its assignment, its sheets and mails."""

    lead: dict[str, Any]
    history: Sequence[dict[str, Any]]
    documents: Sequence[dict[str, Any]]


async def read_story(database: Database, lead_id: str) -> Story:
    """Give a lead's story. CommandError if there is no such lead."""
    async with database.reading() as connection:
        lead = (await connection.execute(LEAD, {"lead_id": lead_id})).mappings().one_or_none()
        if lead is None:
            raise CommandError(f"there is no lead {lead_id!r}; ids are the CRM's, as in `lead_id` of lead.created")
        history = [dict(row) for row in (await connection.execute(HISTORY, {"id": lead["id"]})).mappings()]
        documents = [dict(row) for row in (await connection.execute(DOCUMENTS, {"id": lead["id"]})).mappings()]
    return Story({name: value for name, value in lead.items() if name != "id"}, history, documents)
