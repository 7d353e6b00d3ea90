"""Sheets are signed, named by rule, come back and are read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision: str | None = "0004"

NOW = sa.text("now()")
WHEN = postgresql.TIMESTAMP(timezone=True)

# 244 random bits without an extension: what gen_random_uuid() gives comes from the server's strong random source.
OWN_KEY = """
INSERT INTO installation_keys (name, key)
VALUES ('sheets', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))
"""

# As in revision 0003: an outcome's earlier values stay in the audit log.
TRIGGERS = (
    "CREATE TRIGGER audit_insert AFTER INSERT ON lead_assignment_outcomes REFERENCING NEW TABLE AS new_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_inserted()",
    "CREATE TRIGGER audit_update AFTER UPDATE ON lead_assignment_outcomes"
    " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_updated('id', '')",
    "CREATE TRIGGER audit_delete AFTER DELETE ON lead_assignment_outcomes REFERENCING OLD TABLE AS old_rows"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_deleted()",
    "CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON lead_assignment_outcomes"
    " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_truncate()",
)


def upgrade() -> None:
    op.create_table(
        "installation_keys",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", WHEN, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation_keys")),
    )
    op.execute(OWN_KEY)
    op.create_table(
        "first_sheets",
        sa.Column("doc_date", sa.Date(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("agent_code", sa.Text(), nullable=False),
        sa.Column("sheet_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("doc_date", "place", "agent_code", name=op.f("pk_first_sheets")),
        sa.UniqueConstraint("sheet_key", name=op.f("uq_first_sheets_sheet_key")),
    )
    op.create_table(
        "returned_sheets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("received_from", sa.Text(), nullable=False),
        sa.Column("received_at", WHEN, nullable=False),
        sa.Column("sheet_key", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("outcomes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reviews", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", WHEN, server_default=NOW, nullable=False),
        sa.CheckConstraint("status IN ('read', 'refused')", name=op.f("ck_returned_sheets_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_returned_sheets")),
        sa.UniqueConstraint("sha256", name=op.f("uq_returned_sheets_sha256")),
    )
    op.create_index("ix_returned_sheets_sheet_key", "returned_sheets", ["sheet_key"])
    op.execute("CREATE SEQUENCE outcome_revisions")
    op.create_table(
        "lead_assignment_outcomes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("lead_assignment_id", sa.BigInteger(), nullable=False),
        sa.Column("converted_flag", sa.Boolean(), nullable=True),
        sa.Column("order_number", sa.Text(), nullable=True),
        sa.Column("order_date", sa.Date(), nullable=True),
        sa.Column("order_value", sa.Numeric(12, 2), nullable=True),
        sa.Column("payment_mode", sa.Text(), nullable=True),
        sa.Column("payment_amount", sa.Numeric(12, 2), nullable=True),
        sa.Column("remarks", sa.Text(), nullable=True),
        sa.Column("returned_sheet_id", sa.BigInteger(), nullable=False),
        sa.Column("returned_at", WHEN, nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("nextval('outcome_revisions')"), nullable=False),
        sa.Column("created_at", WHEN, server_default=NOW, nullable=False),
        sa.Column("updated_at", WHEN, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_assignment_id"],
            ["assignments.id"],
            name=op.f("fk_lead_assignment_outcomes_lead_assignment_id_assignments"),
        ),
        sa.ForeignKeyConstraint(
            ["returned_sheet_id"],
            ["returned_sheets.id"],
            name=op.f("fk_lead_assignment_outcomes_returned_sheet_id_returned_sheets"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lead_assignment_outcomes")),
        sa.UniqueConstraint("lead_assignment_id", name=op.f("uq_lead_assignment_outcomes_lead_assignment_id")),
    )
    op.create_table(
        "sheet_reviews",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("returned_sheet_id", sa.BigInteger(), nullable=False),
        sa.Column("lead_assignment_code", sa.Text(), nullable=False),
        sa.Column("lead_assignment_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("values", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("created_at", WHEN, server_default=NOW, nullable=False),
        sa.Column("resolved_at", WHEN, nullable=True),
        sa.CheckConstraint("status IN ('open', 'resolved')", name=op.f("ck_sheet_reviews_status")),
        sa.ForeignKeyConstraint(
            ["returned_sheet_id"],
            ["returned_sheets.id"],
            name=op.f("fk_sheet_reviews_returned_sheet_id_returned_sheets"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sheet_reviews")),
    )
    op.create_index("ix_sheet_reviews_open", "sheet_reviews", ["id"], postgresql_where=sa.text("status = 'open'"))
    op.create_index("ix_sheet_reviews_returned_sheet_id", "sheet_reviews", ["returned_sheet_id"])
    for statement in TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("sheet_reviews")
    op.drop_table("lead_assignment_outcomes")
    op.execute("DROP SEQUENCE outcome_revisions")
    op.drop_table("returned_sheets")
    op.drop_table("first_sheets")
    op.drop_table("installation_keys")
