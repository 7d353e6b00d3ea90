"""Mails that carry several sheets, or none: what makes a mail one is its key, and its sheets have rows of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"

KEYS = """
UPDATE notifications SET mail_key = coalesce(
    'sheet:' || (SELECT sheet_key FROM documents WHERE documents.id = notifications.document_id),
    'document:' || document_id
)
"""
SHEETS = """
INSERT INTO notification_sheets (profile_id, document_id, notification_id)
SELECT profile_id, document_id, id FROM notifications
"""
# What cannot be said of one sheet goes: stores' mails of lots and summaries.
NOT_OF_ONE_SHEET = "SELECT id FROM notifications WHERE lot_id IS NOT NULL OR mail_key !~ '^(sheet|document):'"
DOCUMENTS = """
UPDATE notifications SET document_id = theirs.document_id
FROM notification_sheets AS theirs WHERE theirs.notification_id = notifications.id
"""


def upgrade() -> None:
    op.add_column("notifications", sa.Column("mail_key", sa.Text(), nullable=True))
    op.add_column("notifications", sa.Column("lot_id", sa.BigInteger(), nullable=True))
    op.add_column("notifications", sa.Column("store_code", sa.Text(), nullable=True))
    for part in ("part", "parts"):
        op.add_column("notifications", sa.Column(part, sa.SmallInteger(), server_default=sa.text("1"), nullable=False))
    for column in ("display_name", "deferred_by"):
        op.add_column("notification_deliveries", sa.Column(column, sa.Text(), nullable=True))
    op.create_table(
        "notification_sheets",
        sa.Column("profile_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("notification_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notification_id"], ["notifications.id"], name=op.f("fk_notification_sheets_notification_id_notifications")
        ),
        sa.PrimaryKeyConstraint("profile_id", "document_id", name=op.f("pk_notification_sheets")),
    )
    op.execute(KEYS)
    op.execute(SHEETS)
    op.create_index("ix_notification_sheets_document_id", "notification_sheets", ["document_id"])
    op.create_index("ix_notification_sheets_notification_id", "notification_sheets", ["notification_id"])
    op.alter_column("notifications", "mail_key", nullable=False)
    op.drop_constraint("uq_notifications_document_id_profile_id", "notifications")
    op.drop_column("notifications", "document_id")
    op.create_unique_constraint(
        op.f("uq_notifications_profile_id_mail_key"), "notifications", ["profile_id", "mail_key"]
    )
    # It follows from profile and key, which are unique. An index of its own would fail whoever loses a race for a mail:
    # an INSERT meets every unique index, and its ON CONFLICT speaks of one.
    op.drop_constraint("uq_notifications_message_id", "notifications")
    op.create_index(
        "ix_notifications_lot_id", "notifications", ["lot_id"], postgresql_where=sa.text("lot_id IS NOT NULL")
    )


def downgrade() -> None:
    for table in ("notification_sheets", "notification_deliveries"):
        op.execute(f"DELETE FROM {table} WHERE notification_id IN ({NOT_OF_ONE_SHEET})")  # noqa: S608
    op.execute(f"DELETE FROM notifications WHERE id IN ({NOT_OF_ONE_SHEET})")  # noqa: S608
    op.add_column("notifications", sa.Column("document_id", sa.BigInteger(), nullable=True))
    op.execute(DOCUMENTS)
    op.alter_column("notifications", "document_id", nullable=False)
    op.drop_index("ix_notifications_lot_id", table_name="notifications")
    op.drop_constraint(op.f("uq_notifications_profile_id_mail_key"), "notifications")
    op.drop_table("notification_sheets")
    for column in ("display_name", "deferred_by"):
        op.drop_column("notification_deliveries", column)
    for column in ("mail_key", "lot_id", "store_code", "part", "parts"):
        op.drop_column("notifications", column)
    op.create_unique_constraint(
        op.f("uq_notifications_document_id_profile_id"), "notifications", ["document_id", "profile_id"]
    )
    op.create_unique_constraint(op.f("uq_notifications_message_id"), "notifications", ["message_id"])
