"""The tables of the main job: reference, actors, routing, work, paper, mail, machinery."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    op.create_table(
        "agent_counters",
        sa.Column("agent_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("open_load", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("auto_assign_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("open_load >= 0", name=op.f("ck_agent_counters_open_load")),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_agent_counters")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "assignment_records",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("assignment_id", sa.BigInteger(), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), nullable=True),
        sa.Column("assignment_status_id", sa.SmallInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("count_before", sa.BigInteger(), nullable=True),
        sa.Column("count_after", sa.BigInteger(), nullable=True),
        sa.Column("open_before", sa.BigInteger(), nullable=True),
        sa.Column("open_after", sa.BigInteger(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("refused_event", sa.Text(), nullable=True),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment_records")),
    )
    op.create_index("ix_assignment_records_lead_id", "assignment_records", ["lead_id"], unique=False)
    op.create_index(
        "uq_assignment_records_refused",
        "assignment_records",
        ["lead_id", "refused_event"],
        unique=True,
        postgresql_where=sa.text("refused_event IS NOT NULL"),
    )
    op.create_table(
        "assignment_statuses",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment_statuses")),
        sa.UniqueConstraint("name", name=op.f("uq_assignment_statuses_name")),
    )
    op.create_table(
        "assignments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("is_current", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("assignment_status_id", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("route_id", sa.BigInteger(), nullable=True),
        sa.Column("agent_id", sa.BigInteger(), nullable=True),
        sa.Column("decision_id", sa.BigInteger(), nullable=True),
        sa.Column("lot_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("retry_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("sheet_key", sa.Text(), nullable=True),
        sa.Column("page_group_code", sa.Text(), nullable=True),
        sa.Column("rowid", sa.BigInteger(), nullable=True),
        sa.Column("lead_assignment_code", sa.Text(), nullable=True),
        sa.Column("store_code", sa.Text(), nullable=True),
        sa.Column("store_name", sa.Text(), nullable=True),
        sa.Column("lead_date", sa.Date(), nullable=True),
        sa.Column("lead_type", sa.CHAR(length=1), nullable=True),
        sa.Column("mobile_number", sa.Text(), nullable=True),
        sa.Column("cx_name", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("lead_source", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("assigned_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("closed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(assignment_status_id IN (2, 3)) <= (agent_id IS NOT NULL)", name=op.f("ck_assignments_agent")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignments")),
    )
    op.create_index(
        "ix_assignments_sheet_key",
        "assignments",
        ["sheet_key"],
        unique=False,
        postgresql_where=sa.text("sheet_key IS NOT NULL"),
    )
    op.create_index(
        "ix_assignments_waiting",
        "assignments",
        ["route_id", "id"],
        unique=False,
        postgresql_where=sa.text("is_current AND assignment_status_id = 1"),
    )
    op.create_index(
        "uq_assignments_current", "assignments", ["lead_id"], unique=True, postgresql_where=sa.text("is_current")
    )
    op.create_table(
        "audit_logs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("old_value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("new_value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("ip_address", sa.Text(), nullable=True),
        sa.Column("changed_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_logs")),
    )
    op.create_table(
        "business_lines",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_business_lines")),
        sa.UniqueConstraint("name", name=op.f("uq_business_lines_name")),
    )
    op.create_table(
        "countries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(length=3), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_countries")),
        sa.UniqueConstraint("code", name=op.f("uq_countries_code")),
        sa.UniqueConstraint("name", name=op.f("uq_countries_name")),
    )
    op.create_table(
        "customers",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("customer_name", sa.Text(), nullable=True),
        sa.Column("mobile_number", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customers")),
        sa.UniqueConstraint("external_id", name=op.f("uq_customers_external_id")),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("content_key", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=True),
        sa.Column("lead_id", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("first_failed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("failed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'new'"), nullable=False),
        sa.Column("stored_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('new', 'replaying', 'resolved', 'discarded')", name=op.f("ck_dead_letters_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint("content_key", name=op.f("uq_dead_letters_content_key")),
    )
    op.create_index("ix_dead_letters_group_key", "dead_letters", ["group_key"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("route_id", sa.BigInteger(), nullable=True),
        sa.Column("route_version", sa.BigInteger(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("choices", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("decided_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sa.UniqueConstraint("route_id", "sequence", name=op.f("uq_decisions_route_id_sequence")),
    )
    op.create_index(
        "ix_decisions_request_id",
        "decisions",
        ["request_id"],
        unique=False,
        postgresql_where=sa.text("request_id IS NOT NULL"),
    )
    op.create_table(
        "document_types",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document_types")),
        sa.UniqueConstraint("name", name=op.f("uq_document_types_name")),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sheet_key", sa.Text(), nullable=False),
        sa.Column("doc_type", sa.Text(), nullable=False),
        sa.Column("doc_subtype", sa.Text(), nullable=False),
        sa.Column("doc_date", sa.Date(), nullable=False),
        sa.Column("reference_name_1", sa.Text(), nullable=True),
        sa.Column("reference_id_1", sa.Text(), nullable=True),
        sa.Column("reference_name_2", sa.Text(), nullable=True),
        sa.Column("reference_id_2", sa.Text(), nullable=True),
        sa.Column("reference_name_3", sa.Text(), nullable=True),
        sa.Column("reference_id_3", sa.Text(), nullable=True),
        sa.Column("mime_type", sa.Text(), nullable=False),
        sa.Column("storage_backend", sa.Text(), nullable=False),
        sa.Column("file_path", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("lot_id", sa.BigInteger(), nullable=True),
        sa.Column("agent_id", sa.BigInteger(), nullable=False),
        sa.Column("route_id", sa.BigInteger(), nullable=False),
        sa.Column("lead_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('ok', 'superseded', 'void')", name=op.f("ck_documents_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
        sa.UniqueConstraint("sheet_key", name=op.f("uq_documents_sheet_key")),
    )
    op.create_table(
        "lead_keys",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name=op.f("pk_lead_keys")),
    )
    op.create_table(
        "leads",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("lead_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=True),
        sa.Column("business_line_id", sa.BigInteger(), nullable=True),
        sa.Column("country_id", sa.BigInteger(), nullable=True),
        sa.Column("document_type_id", sa.BigInteger(), nullable=True),
        sa.Column("document_number", sa.Text(), nullable=True),
        sa.Column("store_code", sa.Text(), nullable=True),
        sa.Column("store_name", sa.Text(), nullable=True),
        sa.Column("customer_name", sa.Text(), nullable=True),
        sa.Column("given_name", sa.Text(), nullable=True),
        sa.Column("surname", sa.Text(), nullable=True),
        sa.Column("mobile_number", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("customer_type", sa.Text(), nullable=True),
        sa.Column("stage", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("is_order_placed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("pickup_no", sa.Text(), nullable=True),
        sa.Column("pickup_date", sa.Date(), nullable=True),
        sa.Column("pickup_created_date", sa.Date(), nullable=True),
        sa.Column("run_date", sa.Date(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("final_source", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("flags", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("written_at", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("duplicate_of", sa.BigInteger(), nullable=True),
        sa.Column("repeats", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("stage BETWEEN 1 AND 4", name=op.f("ck_leads_stage")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads")),
        sa.UniqueConstraint("lead_id", name=op.f("uq_leads_lead_id")),
    )
    op.create_table(
        "member_counters",
        sa.Column("route_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("agent_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("assigned_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("day_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("route_id", "agent_id", name=op.f("pk_member_counters")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("asked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('sent', 'partial', 'failed', 'void', 'waiting')", name=op.f("ck_notifications_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint("document_id", "profile_id", name=op.f("uq_notifications_document_id_profile_id")),
        sa.UniqueConstraint("message_id", name=op.f("uq_notifications_message_id")),
    )
    op.create_index(
        "ix_notifications_unsent",
        "notifications",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status IN ('waiting', 'failed', 'void') AND asked_at IS NULL"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("types", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("keys", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("bodies", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("traceparents", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column(
            "due_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now() + interval '5 seconds'"),
            nullable=False,
        ),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "page_groups",
        sa.Column("page_group_code", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("last_rowid", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("page_group_code", name=op.f("pk_page_groups")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "pipelines",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipelines")),
        sa.UniqueConstraint("code", name=op.f("uq_pipelines_code")),
    )
    op.create_table(
        "route_versions",
        sa.Column("route_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("route_id", "version", name=op.f("pk_route_versions")),
    )
    op.create_table(
        "sources",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("region", sa.String(length=2), nullable=True),
        sa.Column("zone", sa.Text(), nullable=True),
        sa.Column(
            "natural_keys",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{document,store_mobile}'"),
            nullable=False,
        ),
        sa.Column("duplicate_days", sa.SmallInteger(), server_default=sa.text("30"), nullable=False),
        sa.Column("is_new", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("natural_keys <@ '{document,store_mobile}'", name=op.f("ck_sources_natural_keys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
    )
    op.create_index("uq_sources_name", "sources", [sa.literal_column("lower(name)")], unique=True)
    op.create_table(
        "stores",
        sa.Column("store_code", sa.Text(), nullable=False),
        sa.Column("store_name", sa.Text(), nullable=True),
        sa.Column("assign_leads", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_new", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("store_code", name=op.f("pk_stores")),
    )
    op.create_table(
        "agents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("agent_code", sa.CHAR(length=4), nullable=False),
        sa.Column("agent_name", sa.Text(), nullable=False),
        sa.Column("given_name", sa.Text(), nullable=True),
        sa.Column("surname", sa.Text(), nullable=True),
        sa.Column("document_number", sa.Text(), nullable=True),
        sa.Column("mobile_number", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("business_line_id", sa.BigInteger(), nullable=True),
        sa.Column("max_load", sa.BigInteger(), nullable=True),
        sa.Column("crm_user_id", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("agent_code ~ '^[0-9A-Z]{4}$'", name=op.f("ck_agents_agent_code")),
        sa.CheckConstraint("max_load >= 0", name=op.f("ck_agents_max_load")),
        sa.ForeignKeyConstraint(
            ["business_line_id"], ["business_lines.id"], name=op.f("fk_agents_business_line_id_business_lines")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
        sa.UniqueConstraint("agent_code", name=op.f("uq_agents_agent_code")),
        sa.UniqueConstraint("document_number", name=op.f("uq_agents_document_number")),
    )
    op.create_table(
        "notification_deliveries",
        sa.Column("notification_id", sa.BigInteger(), nullable=False),
        sa.Column("email_address", sa.Text(), nullable=False),
        sa.Column("send_as", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('sent', 'deferred', 'refused')", name=op.f("ck_notification_deliveries_status")),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notifications.id"],
            name=op.f("fk_notification_deliveries_notification_id_notifications"),
        ),
        sa.PrimaryKeyConstraint("notification_id", "email_address", name=op.f("pk_notification_deliveries")),
    )
    op.create_table(
        "notification_profiles",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("pipeline_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("env", sa.Text(), server_default=sa.text("'any'"), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("attach_mode", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint(
            "attach_mode IN ('none', 'per_sheet_pdf', 'per_store_pdf')",
            name=op.f("ck_notification_profiles_attach_mode"),
        ),
        sa.CheckConstraint("scope IN ('agent', 'store', 'global')", name=op.f("ck_notification_profiles_scope")),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_notification_profiles_pipeline_id_pipelines")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_profiles")),
        sa.UniqueConstraint("pipeline_id", "code", "env", name=op.f("uq_notification_profiles_pipeline_id_code_env")),
    )
    op.create_table(
        "routes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=True),
        sa.Column("store_code", sa.Text(), nullable=True),
        sa.Column("business_line_id", sa.BigInteger(), nullable=True),
        sa.Column("priority", sa.BigInteger(), server_default=sa.text("100"), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("mode", sa.Text(), server_default=sa.text("'stream'"), nullable=False),
        sa.Column("zone", sa.Text(), server_default=sa.text("'Asia/Kolkata'"), nullable=False),
        sa.Column("pipeline", sa.Text(), server_default=sa.text("'leads_assignment'"), nullable=False),
        sa.Column("sheets", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("retry_pending", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("mode IN ('stream', 'lot')", name=op.f("ck_routes_mode")),
        sa.ForeignKeyConstraint(
            ["business_line_id"], ["business_lines.id"], name=op.f("fk_routes_business_line_id_business_lines")
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name=op.f("fk_routes_source_id_sources")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_routes")),
        sa.UniqueConstraint("name", name=op.f("uq_routes_name")),
    )
    op.create_table(
        "notification_recipients",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("store_code", sa.Text(), nullable=True),
        sa.Column("env", sa.Text(), server_default=sa.text("'any'"), nullable=False),
        sa.Column("email_address", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("send_as", sa.Text(), server_default=sa.text("'to'"), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("send_as IN ('to', 'cc', 'bcc')", name=op.f("ck_notification_recipients_send_as")),
        sa.ForeignKeyConstraint(
            ["profile_id"],
            ["notification_profiles.id"],
            name=op.f("fk_notification_recipients_profile_id_notification_profiles"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_recipients")),
        sa.UniqueConstraint(
            "profile_id",
            "store_code",
            "env",
            "email_address",
            name=op.f("uq_notification_recipients_profile_id_store_code_env_email_address"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "route_members",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("route_id", sa.BigInteger(), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), nullable=False),
        sa.Column("store_code", sa.Text(), nullable=True),
        sa.Column("weight", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("priority", sa.BigInteger(), server_default=sa.text("100"), nullable=False),
        sa.Column("max_existing_per_lot", sa.BigInteger(), nullable=True),
        sa.Column("max_new_per_lot", sa.BigInteger(), nullable=True),
        sa.Column("max_daily_leads", sa.BigInteger(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("weight >= 0", name=op.f("ck_route_members_weight")),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_route_members_agent_id_agents")),
        sa.ForeignKeyConstraint(["route_id"], ["routes.id"], name=op.f("fk_route_members_route_id_routes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route_members")),
        sa.UniqueConstraint(
            "route_id",
            "agent_id",
            "store_code",
            name=op.f("uq_route_members_route_id_agent_id_store_code"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index("ix_route_members_agent_id", "route_members", ["agent_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_route_members_agent_id", table_name="route_members")
    op.drop_table("route_members")
    op.drop_table("notification_recipients")
    op.drop_table("routes")
    op.drop_table("notification_profiles")
    op.drop_table("notification_deliveries")
    op.drop_table("agents")
    op.drop_table("stores")
    op.drop_index("uq_sources_name", table_name="sources")
    op.drop_table("sources")
    op.drop_table("route_versions")
    op.drop_table("pipelines")
    op.drop_table("page_groups")
    op.drop_table("outbox")
    op.drop_table("notifications")
    op.drop_table("member_counters")
    op.drop_table("leads")
    op.drop_table("lead_keys")
    op.drop_table("documents")
    op.drop_table("document_types")
    op.drop_index("ix_decisions_request_id", table_name="decisions", postgresql_where=sa.text("request_id IS NOT NULL"))
    op.drop_table("decisions")
    op.drop_index("ix_dead_letters_group_key", table_name="dead_letters")
    op.drop_table("dead_letters")
    op.drop_table("customers")
    op.drop_table("countries")
    op.drop_table("business_lines")
    op.drop_table("audit_logs")
    op.drop_index("uq_assignments_current", table_name="assignments", postgresql_where=sa.text("is_current"))
    op.drop_index(
        "ix_assignments_waiting",
        table_name="assignments",
        postgresql_where=sa.text("is_current AND assignment_status_id = 1"),
    )
    op.drop_index(
        "ix_assignments_sheet_key", table_name="assignments", postgresql_where=sa.text("sheet_key IS NOT NULL")
    )
    op.drop_table("assignments")
    op.drop_table("assignment_statuses")
    op.drop_index("ix_assignment_records_lead_id", table_name="assignment_records")
    op.drop_table("assignment_records")
    op.drop_table("agent_counters")
