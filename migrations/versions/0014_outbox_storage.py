"""The outbox is not compressed: its rows live for less than a second (docs/performance.md)."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision: str | None = "0013"

ARRAYS = ("types", "keys", "bodies", "traceparents")


def upgrade() -> None:
    _store("EXTERNAL")


def downgrade() -> None:
    _store("EXTENDED")


def _store(how: str) -> None:
    columns = ", ".join(f"ALTER COLUMN {column} SET STORAGE {how}" for column in ARRAYS)
    op.execute(f"ALTER TABLE outbox {columns}")
