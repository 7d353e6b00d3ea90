"""Each replica's own word of itself; a replay that may be asked to rest from anywhere; customers find their leads.

The index is of leads that name a customer only: the others pay nothing (docs/decisions/0006).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision: str | None = "0012"

WHEN = postgresql.TIMESTAMP(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("problems", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("started_at", WHEN, server_default=NOW, nullable=False),
        sa.Column("seen_at", WHEN, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replicas")),
    )
    op.add_column(
        "dead_letter_replays",
        sa.Column("is_asked_to_rest", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_index(
        "ix_leads_customer_id", "leads", ["customer_id"], postgresql_where=sa.text("customer_id IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_leads_customer_id", table_name="leads")
    op.drop_column("dead_letter_replays", "is_asked_to_rest")
    op.drop_table("replicas")
