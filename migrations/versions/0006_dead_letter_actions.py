"""What operators do with dead letters: groups to name them by, replays, actions, and the time from which they age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision: str | None = "0005"

WHEN = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "dead_letter_replays",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("selection", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("as_of", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("created_at", WHEN, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("as_of IN ('original', 'today')", name=op.f("ck_dead_letter_replays_as_of")),
        sa.CheckConstraint("state IN ('open', 'stopped', 'done')", name=op.f("ck_dead_letter_replays_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter_replays")),
    )
    op.create_table(
        "dead_letter_replay_rows",
        sa.Column("replay_id", sa.BigInteger(), nullable=False),
        sa.Column("dead_letter_id", sa.BigInteger(), nullable=False),
        sa.Column("replays", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'claimed', 'sent', 'through', 'failed', 'passed over')",
            name=op.f("ck_dead_letter_replay_rows_state"),
        ),
        sa.ForeignKeyConstraint(
            ["dead_letter_id"],
            ["dead_letters.id"],
            name=op.f("fk_dead_letter_replay_rows_dead_letter_id_dead_letters"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["replay_id"],
            ["dead_letter_replays.id"],
            name=op.f("fk_dead_letter_replay_rows_replay_id_dead_letter_replays"),
        ),
        sa.PrimaryKeyConstraint("replay_id", "dead_letter_id", name=op.f("pk_dead_letter_replay_rows")),
    )
    op.create_index(
        "ix_dead_letter_replay_rows_waiting",
        "dead_letter_replay_rows",
        ["replay_id", "dead_letter_id"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_dead_letter_replay_rows_under_way",
        "dead_letter_replay_rows",
        ["replay_id", "dead_letter_id"],
        postgresql_where=sa.text("state IN ('claimed', 'sent')"),
    )
    op.create_index("ix_dead_letter_replay_rows_dead_letter_id", "dead_letter_replay_rows", ["dead_letter_id"])
    op.create_table(
        "dead_letter_actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dead_letter_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("at", WHEN, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "action IN ('edit', 'replay', 'discard', 'undo')", name=op.f("ck_dead_letter_actions_action")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter_actions")),
    )
    op.create_index("ix_dead_letter_actions_dead_letter_id", "dead_letter_actions", ["dead_letter_id"])
    for column in (
        sa.Column("group_id", sa.Text(), sa.Computed('"left"(md5(group_key), 10)', persisted=True), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("original_body", sa.LargeBinary(), nullable=True),
        sa.Column("settled_at", WHEN, nullable=True),
        sa.Column("replay_id", sa.BigInteger(), nullable=True),
        sa.Column("replays", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    ):
        op.add_column("dead_letters", column)
    op.execute("UPDATE dead_letters SET settled_at = failed_at WHERE status IN ('resolved', 'discarded')")
    op.create_index(
        "ix_dead_letters_groups",
        "dead_letters",
        ["status", "group_id", "id"],
        postgresql_include=["first_failed_at", "failed_at"],
    )
    op.create_index(
        "ix_dead_letters_settled_at", "dead_letters", ["settled_at"], postgresql_where=sa.text("settled_at IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_dead_letters_settled_at", table_name="dead_letters")
    op.drop_index("ix_dead_letters_groups", table_name="dead_letters")
    op.drop_table("dead_letter_actions")
    op.drop_table("dead_letter_replay_rows")
    op.drop_table("dead_letter_replays")
    op.execute("UPDATE dead_letters SET status = 'new' WHERE status = 'replaying'")
    for column in ("group_id", "content_type", "original_body", "settled_at", "replay_id", "replays"):
        op.drop_column("dead_letters", column)
