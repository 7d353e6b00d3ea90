"""The audit of what every lead writes costs a third less (docs/performance.md)."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision: str | None = "0014"

# Table, the column that tells its rows apart, columns whose change alone is not worth a record: as in revision 0003.
EVERY_LEADS = (("leads", "id", "repeats"), ("assignments", "id", ""))

# Functions of a table's own: its columns in the order in which jsonb keeps keys, which then need not be sorted, row by
# row, and its key as it is, not read out of JSON. Whoever adds a column to such a table calls this again, with a version
# of its own in the new revision if anything is to be otherwise.
AUDIT_IN_ORDER = """
CREATE FUNCTION audit_in_order(audited text, key text, noise text) RETURNS void LANGUAGE plpgsql AS $make$
DECLARE
    columns CONSTANT text := (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY octet_length(attname), attname COLLATE "C")
          FROM pg_attribute WHERE attrelid = audited::regclass AND attnum > 0 AND NOT attisdropped
    );
    who CONSTANT text := $$(SELECT nullif(current_setting('leadline.actor', true), '')),
                           (SELECT host(inet_client_addr()))$$;
BEGIN
    EXECUTE format($body$
        CREATE OR REPLACE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO audit_logs (table_name, action, new_value, actor, ip_address)
            SELECT TG_TABLE_NAME, TG_OP, to_jsonb(n), %3$s FROM (SELECT %2$s FROM new_rows) AS n;
            RETURN NULL;
        END $$
    $body$, 'audit_' || audited || '_inserted', columns, who);
    EXECUTE format($body$
        CREATE OR REPLACE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO audit_logs (table_name, action, old_value, new_value, actor, ip_address)
            SELECT TG_TABLE_NAME, TG_OP, was.value, is_now.value, %3$s
              FROM (SELECT %4$I, to_jsonb(o) AS value FROM (SELECT %2$s FROM old_rows) AS o OFFSET 0) AS was
              FULL JOIN (SELECT %4$I, to_jsonb(n) AS value FROM (SELECT %2$s FROM new_rows) AS n OFFSET 0) AS is_now
                   USING (%4$I)
             WHERE was.value IS DISTINCT FROM is_now.value
               AND (%5$L = '' OR was.value - %5$L IS DISTINCT FROM is_now.value - %5$L);
            RETURN NULL;
        END $$
    $body$, 'audit_' || audited || '_updated', columns, who, key, noise);
    EXECUTE format($$
        CREATE OR REPLACE TRIGGER audit_insert AFTER INSERT ON %1$I REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION %2$I()
    $$, audited, 'audit_' || audited || '_inserted');
    EXECUTE format($$
        CREATE OR REPLACE TRIGGER audit_update AFTER UPDATE ON %1$I
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION %2$I()
    $$, audited, 'audit_' || audited || '_updated');
END $make$
"""


def upgrade() -> None:
    op.execute(AUDIT_IN_ORDER)
    for table, key, noise in EVERY_LEADS:
        op.execute(f"SELECT audit_in_order('{table}', '{key}', '{noise}')")


def downgrade() -> None:
    for table, key, noise in EVERY_LEADS:
        op.execute(
            f"CREATE OR REPLACE TRIGGER audit_insert AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_inserted()"
        )
        op.execute(
            f"CREATE OR REPLACE TRIGGER audit_update AFTER UPDATE ON {table}"
            " REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
            f" FOR EACH STATEMENT EXECUTE FUNCTION audit_updated('{key}', '{noise}')"
        )
        op.execute(f"DROP FUNCTION audit_{table}_inserted(), audit_{table}_updated()")
    op.execute("DROP FUNCTION audit_in_order(text, text, text)")
