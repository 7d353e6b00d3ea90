"""Sheets are signed, named by rule, come back and are read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision: str | None = "0004"

WHEN = postgresql.TIMESTAMP(timezone=True)

# 244 random bits without an extension: what gen_random_uuid() gives comes from the server's strong random source.
OWN_KEY = """
INSERT INTO installation_keys (name, key)
VALUES ('sheets', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))
"""


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


def downgrade() -> None:
    op.drop_table("first_sheets")
    op.drop_table("installation_keys")
