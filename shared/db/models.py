"""The tables. For migrations and for reading the schema; the way of a lead goes through each service's `queries`.

Keys inside are bigint. Foreign keys stand where they can be violated by people; on the hot tables the writers
hold the keys they write in the same transaction, and a foreign key would only cost (docs/decisions/0006).
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    Computed,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import Date, LargeBinary, Text

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

NOW = text("now()")
TRUE = text("true")
FALSE = text("false")
ZERO = text("0")


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it as a class attribute
        int: BigInteger,
        str: Text,
        datetime: TIMESTAMP(timezone=True),
        date: Date,
        bytes: LargeBinary,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def identity() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(always=False), primary_key=True)


# Reference: what a lead points to.


class Country(Base):
    __tablename__ = "countries"
    id: Mapped[int] = identity()
    code: Mapped[str] = mapped_column(String(3), unique=True)
    name: Mapped[str] = mapped_column(unique=True)


class DocumentType(Base):
    __tablename__ = "document_types"
    id: Mapped[int] = identity()
    name: Mapped[str] = mapped_column(unique=True)


class BusinessLine(Base):
    __tablename__ = "business_lines"
    id: Mapped[int] = identity()
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str | None]


class AssignmentStatus(Base):
    __tablename__ = "assignment_statuses"
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(unique=True)


class Source(Base):
    """A channel that leads come from. `natural_keys`: which of `document` and `store_mobile` tell a duplicate."""

    __tablename__ = "sources"
    id: Mapped[int] = identity()
    name: Mapped[str]
    description: Mapped[str | None]
    region: Mapped[str | None] = mapped_column(String(2))
    zone: Mapped[str | None]
    natural_keys: Mapped[list[str]] = mapped_column(server_default=text("'{document,store_mobile}'"))
    duplicate_days: Mapped[int] = mapped_column(SmallInteger, server_default=text("30"))
    is_new: Mapped[bool] = mapped_column(server_default=FALSE)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        Index("uq_sources_name", text("lower(name)"), unique=True),
        CheckConstraint("natural_keys <@ '{document,store_mobile}'", name="natural_keys"),
    )


class Store(Base):
    """`assign_leads` decides once somebody has set the store, that is, once `is_new` is false."""

    __tablename__ = "stores"
    store_code: Mapped[str] = mapped_column(primary_key=True)
    store_name: Mapped[str | None]
    assign_leads: Mapped[bool] = mapped_column(server_default=FALSE)
    is_new: Mapped[bool] = mapped_column(server_default=FALSE)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


# Actors: who works leads, who is behind them, and the leads.


class Agent(Base):
    """Who works leads. `max_load`: most leads open at once over all routes; NULL is no limit."""

    __tablename__ = "agents"
    id: Mapped[int] = identity()
    agent_code: Mapped[str] = mapped_column(CHAR(4), unique=True)
    agent_name: Mapped[str]
    given_name: Mapped[str | None]
    surname: Mapped[str | None]
    document_number: Mapped[str | None] = mapped_column(unique=True)
    mobile_number: Mapped[str | None]
    email: Mapped[str | None]
    business_line_id: Mapped[int | None] = mapped_column(ForeignKey("business_lines.id"))
    max_load: Mapped[int | None]
    crm_user_id: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(server_default=TRUE)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        CheckConstraint("agent_code ~ '^[0-9A-Z]{4}$'", name="agent_code"),
        CheckConstraint("max_load >= 0", name="max_load"),
    )


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = identity()
    external_id: Mapped[str] = mapped_column(unique=True)
    customer_name: Mapped[str | None]
    mobile_number: Mapped[str | None]
    email: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Lead(Base):
    """One inquiry. `lead_id` is the CRM's; `id` is ours. `written_at`: when an update last wrote a field.

    A revision that adds a column here, or to `assignments`, calls `audit_in_order` (0028).
    """

    __tablename__ = "leads"
    id: Mapped[int] = identity()
    lead_id: Mapped[str] = mapped_column(unique=True)
    revision: Mapped[int] = mapped_column(server_default=text("1"))
    source_id: Mapped[int]
    customer_id: Mapped[int | None]
    business_line_id: Mapped[int | None]
    country_id: Mapped[int | None]
    document_type_id: Mapped[int | None]
    document_number: Mapped[str | None]
    store_code: Mapped[str | None]
    store_name: Mapped[str | None]
    customer_name: Mapped[str | None]
    given_name: Mapped[str | None]
    surname: Mapped[str | None]
    mobile_number: Mapped[str | None]
    email: Mapped[str | None]
    address: Mapped[str | None]
    message: Mapped[str | None]
    customer_type: Mapped[str | None]
    stage: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    is_order_placed: Mapped[bool] = mapped_column(server_default=FALSE)
    created_at: Mapped[datetime]
    pickup_no: Mapped[str | None]
    pickup_date: Mapped[date | None]
    pickup_created_date: Mapped[date | None]
    run_date: Mapped[date | None]
    run_id: Mapped[str | None]
    final_source: Mapped[str | None]
    attributes: Mapped[dict[str, Any] | None]
    flags: Mapped[list[str] | None]
    written_at: Mapped[dict[str, Any] | None]
    duplicate_of: Mapped[int | None]
    repeats: Mapped[int] = mapped_column(server_default=ZERO)
    received_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        Index("ix_leads_customer_id", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
        CheckConstraint("stage BETWEEN 1 AND 4", name="stage"),
    )


class LeadKey(Base):
    """Natural keys: which lead holds a document number, or a mobile number at a store, since when."""

    __tablename__ = "lead_keys"
    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    lead_id: Mapped[int]
    customer_id: Mapped[int | None]
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


# Routing: which leads go to which agents, and how.


class Route(Base):
    """A match (NULL matches all), a policy, a mode. `sequence` rises by one with every committed decision or change."""

    __tablename__ = "routes"
    id: Mapped[int] = identity()
    name: Mapped[str] = mapped_column(unique=True)
    source_id: Mapped[int | None] = mapped_column(ForeignKey("sources.id"))
    store_code: Mapped[str | None]
    business_line_id: Mapped[int | None] = mapped_column(ForeignKey("business_lines.id"))
    priority: Mapped[int] = mapped_column(server_default=text("100"))
    policy: Mapped[str]
    params: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    mode: Mapped[str] = mapped_column(server_default=text("'stream'"))
    zone: Mapped[str] = mapped_column(server_default=text("'Asia/Kolkata'"))
    pipeline: Mapped[str] = mapped_column(server_default=text("'leads_assignment'"))
    sheets: Mapped[bool] = mapped_column(server_default=TRUE)
    retry_pending: Mapped[bool] = mapped_column(server_default=TRUE)
    schedule: Mapped[list[str] | None]
    is_enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    sequence: Mapped[int] = mapped_column(server_default=ZERO)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (CheckConstraint("mode IN ('stream', 'lot')", name="mode"),)


class RouteMember(Base):
    """An agent on a route, for all its stores (`store_code` NULL) or for one; that row replaces the one for all."""

    __tablename__ = "route_members"
    id: Mapped[int] = identity()
    route_id: Mapped[int] = mapped_column(ForeignKey("routes.id"))
    agent_id: Mapped[int] = mapped_column(ForeignKey("agents.id"))
    store_code: Mapped[str | None]
    weight: Mapped[int] = mapped_column(server_default=text("1"))
    priority: Mapped[int] = mapped_column(server_default=text("100"))
    max_existing_per_lot: Mapped[int | None]
    max_new_per_lot: Mapped[int | None]
    max_daily_leads: Mapped[int | None]
    is_enabled: Mapped[bool] = mapped_column(server_default=TRUE)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        UniqueConstraint("route_id", "agent_id", "store_code", postgresql_nulls_not_distinct=True),
        Index("ix_route_members_agent_id", "agent_id"),
        CheckConstraint("weight >= 0", name="weight"),
    )


class RouteVersion(Base):
    """A route's members and parameters as they were from `sequence` on, kept once per change."""

    __tablename__ = "route_versions"
    route_id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    sequence: Mapped[int]
    content: Mapped[dict[str, Any]]
    #: By agent id: `member_counters.start_count` from here on, where it is not 0.
    starts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class AgentCounter(Base):
    """What an agent has over all routes: kept, never recounted; locked in order of `agent_id`, last of all."""

    __tablename__ = "agent_counters"
    agent_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    open_load: Mapped[int] = mapped_column(server_default=ZERO)
    auto_assign_count: Mapped[int] = mapped_column(server_default=ZERO)
    __table_args__ = (
        CheckConstraint("open_load >= 0", name="open_load"),
        {"postgresql_with": {"fillfactor": "50"}},
    )


class MemberCounter(Base):
    """What an agent received on a route; written only under the route's lock.

    `start_count` is added where counts decide: it lets who joins or returns begin beside the others.
    """

    __tablename__ = "member_counters"
    route_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    agent_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    assigned_count: Mapped[int] = mapped_column(server_default=ZERO)
    start_count: Mapped[int] = mapped_column(server_default=ZERO)
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


class MemberDay(Base):
    """What a member's row received on a day of its route's zone: what daily caps count. `store_code` '' is for all."""

    __tablename__ = "member_days"
    route_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(primary_key=True)
    agent_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    store_code: Mapped[str] = mapped_column(primary_key=True, server_default=text("''"))
    leads: Mapped[int]
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


# Work: what was decided, and what became of it.


class Lot(Base):
    """One run of a lot route. The same `lot_key` is the same lot; its day is that of its request."""

    __tablename__ = "lots"
    id: Mapped[int] = identity()
    route_id: Mapped[int]
    lot_key: Mapped[str]
    day: Mapped[date]
    triggered_by: Mapped[str]
    run_id: Mapped[str | None]
    requested_at: Mapped[datetime]
    decision_id: Mapped[int | None]
    assigned: Mapped[int] = mapped_column(server_default=ZERO)
    #: How many leads wait for each reason.
    unassigned: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    #: The keys of the sheets that are to be made.
    sheets: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (UniqueConstraint("route_id", "lot_key"),)


class Assignment(Base):
    """A lead's assignments, one of them current. From the start there is one, Pending; an ended one keeps all."""

    __tablename__ = "assignments"
    id: Mapped[int] = identity()
    lead_id: Mapped[int]
    is_current: Mapped[bool] = mapped_column(server_default=TRUE)
    assignment_status_id: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    route_id: Mapped[int | None]
    agent_id: Mapped[int | None]
    decision_id: Mapped[int | None]
    lot_id: Mapped[int | None]
    reason: Mapped[str | None]
    retry_at: Mapped[datetime | None]
    sheet_key: Mapped[str | None]
    page_group_code: Mapped[str | None]
    rowid: Mapped[int | None]
    lead_assignment_code: Mapped[str | None]
    store_code: Mapped[str | None]
    store_name: Mapped[str | None]
    lead_date: Mapped[date | None]
    lead_type: Mapped[str | None] = mapped_column(CHAR(1))
    mobile_number: Mapped[str | None]
    cx_name: Mapped[str | None]
    address: Mapped[str | None]
    lead_source: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    assigned_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        Index("uq_assignments_current", "lead_id", unique=True, postgresql_where=text("is_current")),
        Index(
            "ix_assignments_waiting", "route_id", "id", postgresql_where=text("is_current AND assignment_status_id = 1")
        ),
        Index("ix_assignments_sheet_key", "sheet_key", postgresql_where=text("sheet_key IS NOT NULL")),
        Index(
            "ix_assignments_unbegun",
            "route_id",
            "id",
            postgresql_where=text("is_current AND assignment_status_id = 2 AND lot_id IS NOT NULL"),
        ),
        CheckConstraint("(assignment_status_id IN (2, 3)) <= (agent_id IS NOT NULL)", name="agent"),
    )


class AssignmentRecord(Base):
    """Every change of an assignment's state. Its `id` is the revision on the assigner's events."""

    __tablename__ = "assignment_records"
    id: Mapped[int] = identity()
    assignment_id: Mapped[int]
    lead_id: Mapped[int]
    agent_id: Mapped[int | None]
    assignment_status_id: Mapped[int] = mapped_column(SmallInteger)
    method: Mapped[str]
    reason: Mapped[str | None]
    count_before: Mapped[int | None]
    count_after: Mapped[int | None]
    open_before: Mapped[int | None]
    open_after: Mapped[int | None]
    requested_by: Mapped[str | None]
    #: Of a refusal: the id of the event that was refused, or a hash of its body. One record each.
    refused_event: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        Index("ix_assignment_records_lead_id", "lead_id"),
        Index(
            "uq_assignment_records_refused",
            "lead_id",
            "refused_event",
            unique=True,
            postgresql_where=text("refused_event IS NOT NULL"),
        ),
    )


class PageGroup(Base):
    """The day's numbering of an agent: the last `rowid` given out, over all stores, routes and lots."""

    __tablename__ = "page_groups"
    page_group_code: Mapped[str] = mapped_column(primary_key=True)
    agent_id: Mapped[int]
    day: Mapped[date]
    last_rowid: Mapped[int]
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)


class Decision(Base):
    """Why a batch of leads went where it went: what was read, the boundary, the answer; enough to run it again."""

    __tablename__ = "decisions"
    id: Mapped[int] = identity()
    route_id: Mapped[int | None]
    route_version: Mapped[int | None]
    sequence: Mapped[int | None]
    algorithm: Mapped[str]
    kind: Mapped[str]
    request_id: Mapped[str | None]
    day: Mapped[date | None]
    facts: Mapped[dict[str, Any]]
    choices: Mapped[dict[str, Any]]
    decided_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        UniqueConstraint("route_id", "sequence"),
        Index("ix_decisions_request_id", "request_id", postgresql_where=text("request_id IS NOT NULL")),
    )


# Paper and mail.


class Document(Base):
    """A sheet on disk. `sheet_key` is what makes it one."""

    __tablename__ = "documents"
    id: Mapped[int] = identity()
    sheet_key: Mapped[str] = mapped_column(unique=True)
    doc_type: Mapped[str]
    doc_subtype: Mapped[str]
    doc_date: Mapped[date]
    reference_name_1: Mapped[str | None]
    reference_id_1: Mapped[str | None]
    reference_name_2: Mapped[str | None]
    reference_id_2: Mapped[str | None]
    reference_name_3: Mapped[str | None]
    reference_id_3: Mapped[str | None]
    mime_type: Mapped[str]
    storage_backend: Mapped[str]
    file_path: Mapped[str | None]
    sha256: Mapped[str | None]
    size: Mapped[int | None]
    status: Mapped[str]
    lot_id: Mapped[int | None]
    agent_id: Mapped[int]
    route_id: Mapped[int]
    lead_ids: Mapped[list[str]]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (CheckConstraint("status IN ('ok', 'superseded', 'void')", name="status"),)


class FirstSheet(Base):
    """Which sheet of a day, place and agent was the first: its file's name does without the lot."""

    __tablename__ = "first_sheets"
    doc_date: Mapped[date] = mapped_column(primary_key=True)
    place: Mapped[str] = mapped_column(primary_key=True)
    agent_code: Mapped[str] = mapped_column(primary_key=True)
    sheet_key: Mapped[str] = mapped_column(unique=True)


class ReturnedSheet(Base):
    """A file that came back: read, or refused with the reason. The same file twice is one row."""

    __tablename__ = "returned_sheets"
    id: Mapped[int] = identity()
    sha256: Mapped[str] = mapped_column(unique=True)
    file_path: Mapped[str]
    received_from: Mapped[str]
    received_at: Mapped[datetime]
    sheet_key: Mapped[str | None]
    status: Mapped[str]
    reason: Mapped[str | None]
    outcomes: Mapped[int] = mapped_column(server_default=ZERO)
    reviews: Mapped[int] = mapped_column(server_default=ZERO)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        Index("ix_returned_sheets_sheet_key", "sheet_key"),
        CheckConstraint("status IN ('read', 'refused')", name="status"),
    )


class LeadAssignmentOutcome(Base):
    """What the agent wrote about an assignment, as of the last sheet that said so; what it was before is audited.

    `revision` rises with every change, over all outcomes, by the sequence `outcome_revisions`.
    """

    __tablename__ = "lead_assignment_outcomes"
    id: Mapped[int] = identity()
    lead_assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"), unique=True)
    converted_flag: Mapped[bool | None]
    order_number: Mapped[str | None]
    order_date: Mapped[date | None]
    order_value: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    payment_mode: Mapped[str | None]
    payment_amount: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    remarks: Mapped[str | None]
    returned_sheet_id: Mapped[int] = mapped_column(ForeignKey("returned_sheets.id"))
    returned_at: Mapped[datetime]
    revision: Mapped[int] = mapped_column(server_default=text("nextval('outcome_revisions')"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)


class SheetReview(Base):
    """A row of a returned sheet that a person must look at, and why; resolved by a later sheet that is right."""

    __tablename__ = "sheet_reviews"
    id: Mapped[int] = identity()
    returned_sheet_id: Mapped[int] = mapped_column(ForeignKey("returned_sheets.id"))
    lead_assignment_code: Mapped[str]
    lead_assignment_id: Mapped[int | None]
    reason: Mapped[str]
    values: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(server_default=text("'open'"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    resolved_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_sheet_reviews_open", "id", postgresql_where=text("status = 'open'")),
        Index("ix_sheet_reviews_returned_sheet_id", "returned_sheet_id"),
        CheckConstraint("status IN ('open', 'resolved')", name="status"),
    )


class InstallationKey(Base):
    """A secret that this installation made for itself when its tables were made."""

    __tablename__ = "installation_keys"
    name: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Pipeline(Base):
    __tablename__ = "pipelines"
    id: Mapped[int] = identity()
    code: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str]


class NotificationProfile(Base):
    __tablename__ = "notification_profiles"
    id: Mapped[int] = identity()
    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id"))
    code: Mapped[str]
    description: Mapped[str | None]
    env: Mapped[str] = mapped_column(server_default=text("'any'"))
    scope: Mapped[str]
    attach_mode: Mapped[str]
    is_active: Mapped[bool] = mapped_column(server_default=TRUE)
    __table_args__ = (
        UniqueConstraint("pipeline_id", "code", "env"),
        CheckConstraint("scope IN ('agent', 'store', 'global')", name="scope"),
        CheckConstraint("attach_mode IN ('none', 'per_sheet_pdf', 'per_store_pdf')", name="attach_mode"),
    )


class NotificationRecipient(Base):
    __tablename__ = "notification_recipients"
    id: Mapped[int] = identity()
    profile_id: Mapped[int] = mapped_column(ForeignKey("notification_profiles.id"))
    store_code: Mapped[str | None]
    env: Mapped[str] = mapped_column(server_default=text("'any'"))
    email_address: Mapped[str]
    display_name: Mapped[str | None]
    send_as: Mapped[str] = mapped_column(server_default=text("'to'"))
    is_active: Mapped[bool] = mapped_column(server_default=TRUE)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        UniqueConstraint("profile_id", "store_code", "env", "email_address", postgresql_nulls_not_distinct=True),
        CheckConstraint("send_as IN ('to', 'cc', 'bcc')", name="send_as"),
    )


class Notification(Base):
    """One mail of a profile. `mail_key` makes it one; `message_id` is its own, the same however often it is tried.

    Which sheets it carries stands in `notification_sheets`, before it is sent; a store's mail of a lot has none while
    it is awaited. Part so many of so many, where they are too large for one mail.
    """

    __tablename__ = "notifications"
    id: Mapped[int] = identity()
    profile_id: Mapped[int]
    mail_key: Mapped[str]
    #: Of a store's mails, and of a lot's summary.
    lot_id: Mapped[int | None]
    store_code: Mapped[str | None]
    message_id: Mapped[str]
    part: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    parts: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    status: Mapped[str]
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    sent_at: Mapped[datetime | None]
    #: One that did not go was asked for again then, since it may go; NULL once something has become of that.
    asked_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("profile_id", "mail_key"),
        Index(
            "ix_notifications_unsent",
            "id",
            postgresql_where=text("status IN ('waiting', 'failed', 'void') AND asked_at IS NULL"),
        ),
        Index("ix_notifications_lot_id", "lot_id", postgresql_where=text("lot_id IS NOT NULL")),
        CheckConstraint("status IN ('sent', 'partial', 'failed', 'void', 'waiting')", name="status"),
    )


class NotificationSheet(Base):
    """Which mail of a profile carries a sheet: one, and for good."""

    __tablename__ = "notification_sheets"
    profile_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    document_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    notification_id: Mapped[int] = mapped_column(ForeignKey("notifications.id"))
    __table_args__ = (
        Index("ix_notification_sheets_document_id", "document_id"),
        Index("ix_notification_sheets_notification_id", "notification_id"),
    )


class NotificationDelivery(Base):
    """One recipient of one mail, and what the server said."""

    __tablename__ = "notification_deliveries"
    notification_id: Mapped[int] = mapped_column(ForeignKey("notifications.id"), primary_key=True)
    email_address: Mapped[str] = mapped_column(primary_key=True)
    display_name: Mapped[str | None]
    send_as: Mapped[str]
    status: Mapped[str]
    answer: Mapped[str | None]
    #: The id of the event whose message waits on the retry ladder for this recipient.
    deferred_by: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (CheckConstraint("status IN ('sent', 'deferred', 'refused')", name="status"),)


# Machinery.


class Outbox(Base):
    """The events of one committed transaction, until the broker has confirmed them all: stored uncompressed."""

    __tablename__ = "outbox"
    id: Mapped[int] = identity()
    service: Mapped[str]
    types: Mapped[list[str]]
    keys: Mapped[list[str]]
    bodies: Mapped[list[str]]
    traceparents: Mapped[list[str]]
    attempts: Mapped[int] = mapped_column(server_default=ZERO)
    last_error: Mapped[str | None]
    due_at: Mapped[datetime] = mapped_column(server_default=text("now() + interval '5 seconds'"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class DeadLetter(Base):
    """A message that could not be handled, as it was, and why. Header text is escaped, the body kept as bytes."""

    __tablename__ = "dead_letters"
    id: Mapped[int] = identity()
    content_key: Mapped[str] = mapped_column(unique=True)
    service: Mapped[str]
    queue: Mapped[str]
    event_type: Mapped[str | None]
    lead_id: Mapped[str | None]
    body: Mapped[bytes]
    headers: Mapped[dict[str, Any]]
    reason: Mapped[str]
    error_type: Mapped[str | None]
    traceback: Mapped[str | None]
    #: What and where, without ids and numbers; and its short name.
    group_key: Mapped[str]
    group_id: Mapped[str] = mapped_column(Computed('"left"(md5(group_key), 10)', persisted=True))
    attempts: Mapped[int]
    first_failed_at: Mapped[datetime]
    failed_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(server_default=text("'new'"))
    stored_at: Mapped[datetime] = mapped_column(server_default=NOW)
    content_type: Mapped[str | None]
    #: The body as it died, once somebody has edited it.
    original_body: Mapped[bytes | None]
    #: Since when it is resolved or discarded.
    settled_at: Mapped[datetime | None]
    #: The last replay that sent it, and how often it was sent.
    replay_id: Mapped[int | None]
    replays: Mapped[int] = mapped_column(server_default=ZERO)
    __table_args__ = (
        Index("ix_dead_letters_group_key", "group_key"),
        Index(
            "ix_dead_letters_groups", "status", "group_id", "id", postgresql_include=["first_failed_at", "failed_at"]
        ),
        Index("ix_dead_letters_settled_at", "settled_at", postgresql_where=text("settled_at IS NOT NULL")),
        CheckConstraint("status IN ('new', 'replaying', 'resolved', 'discarded')", name="status"),
    )


class DeadLetterReplay(Base):
    """One replay of dead letters that an operator has asked for."""

    __tablename__ = "dead_letter_replays"
    id: Mapped[int] = identity()
    actor: Mapped[str]
    selection: Mapped[dict[str, Any]]
    as_of: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    #: By whoever, wherever; whoever runs it looks here.
    is_asked_to_rest: Mapped[bool] = mapped_column(server_default=FALSE)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        CheckConstraint("as_of IN ('original', 'today')", name="as_of"),
        CheckConstraint("state IN ('open', 'stopped', 'done')", name="state"),
    )


class DeadLetterReplayRow(Base):
    """A dead letter of a replay's frozen selection, and how far it has come."""

    __tablename__ = "dead_letter_replay_rows"
    replay_id: Mapped[int] = mapped_column(ForeignKey("dead_letter_replays.id"), primary_key=True)
    dead_letter_id: Mapped[int] = mapped_column(ForeignKey("dead_letters.id", ondelete="CASCADE"), primary_key=True)
    #: How often it had been sent when the selection was frozen: sent meanwhile by another replay, it is passed over.
    replays: Mapped[int]
    state: Mapped[str] = mapped_column(server_default=text("'waiting'"))
    __table_args__ = (
        Index(
            "ix_dead_letter_replay_rows_waiting",
            "replay_id",
            "dead_letter_id",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_dead_letter_replay_rows_under_way",
            "replay_id",
            "dead_letter_id",
            postgresql_where=text("state IN ('claimed', 'sent')"),
        ),
        Index("ix_dead_letter_replay_rows_dead_letter_id", "dead_letter_id"),
        CheckConstraint(
            "state IN ('waiting', 'claimed', 'sent', 'through', 'failed', 'passed over')",
            name="state",
        ),
    )


class DeadLetterAction(Base):
    """What an operator did to a dead letter. It outlives the dead letter; the bodies of an edit do not."""

    __tablename__ = "dead_letter_actions"
    id: Mapped[int] = identity()
    dead_letter_id: Mapped[int] = mapped_column(index=True)
    action: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str | None]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (CheckConstraint("action IN ('edit', 'replay', 'discard', 'undo')", name="action"),)


class ApiKey(Base):
    """Who may call the API. Of the key, 256 random bits, only the SHA-256 is kept."""

    __tablename__ = "api_keys"
    id: Mapped[int] = identity()
    name: Mapped[str]
    role: Mapped[str]
    #: How the key begins, so that people can tell which one it is.
    hint: Mapped[str]
    key_sha256: Mapped[bytes] = mapped_column(unique=True)
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    __table_args__ = (
        Index("uq_api_keys_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
        CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
    )


class IdempotencyKey(Base):
    """A request that a client may send again: what it asked for, and what it was answered."""

    __tablename__ = "idempotency_keys"
    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[bytes]
    answer: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)


class Import(Base):
    """A file that was uploaded to be imported, and how far it has come. `share`: of the file, from 0 to 1."""

    __tablename__ = "imports"
    id: Mapped[int] = identity()
    file_name: Mapped[str]
    created_by: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'running'"))
    share: Mapped[float] = mapped_column(server_default=ZERO)
    rows: Mapped[int] = mapped_column(server_default=ZERO)
    sent: Mapped[int] = mapped_column(server_default=ZERO)
    skipped_closed: Mapped[int] = mapped_column(server_default=ZERO)
    rejected: Mapped[int] = mapped_column(server_default=ZERO)
    rejected_path: Mapped[str | None]
    rejected_sha256: Mapped[str | None]
    problem: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),)


class Webhook(Base):
    """An endpoint of somebody else that is told of events. The secret signs: it is kept as it is."""

    __tablename__ = "webhooks"
    id: Mapped[int] = identity()
    url: Mapped[str]
    secret: Mapped[str]
    events: Mapped[list[str]]
    is_active: Mapped[bool] = mapped_column(server_default=TRUE)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class WebhookDelivery(Base):
    """What became of one event at one endpoint: what was sent or refused is not sent again."""

    __tablename__ = "webhook_deliveries"
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    event_type: Mapped[str]
    lead_id: Mapped[str | None]
    status: Mapped[str]
    answer: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default=text("1"))
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (
        Index("ix_webhook_deliveries_updated_at", "updated_at"),
        CheckConstraint("status IN ('sent', 'refused', 'failed')", name="status"),
    )


class ConsoleSession(Base):
    """A person who is logged in to the console by a key. Of the cookie, 256 random bits, only the SHA-256 is kept."""

    __tablename__ = "console_sessions"
    id: Mapped[int] = identity()
    token_sha256: Mapped[bytes] = mapped_column(unique=True)
    api_key_id: Mapped[int] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    address: Mapped[str]
    #: What the next page says once: how the last change went.
    notice: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class LoginAttempt(Base):
    """A try to log in that has not succeeded."""

    __tablename__ = "login_attempts"
    id: Mapped[int] = identity()
    address: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    __table_args__ = (Index("ix_login_attempts_at", "at"),)


class Replica(Base):
    """A process of a service, as it last told of itself: what keeps it from working, nothing if it works."""

    __tablename__ = "replicas"
    id: Mapped[str] = mapped_column(primary_key=True)
    service: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    problems: Mapped[list[str]]
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class AuditLog(Base):
    """What people and the CRM changed, row by row, written by triggers."""

    __tablename__ = "audit_logs"
    id: Mapped[int] = identity()
    table_name: Mapped[str]
    action: Mapped[str]
    old_value: Mapped[dict[str, Any] | None]
    new_value: Mapped[dict[str, Any] | None]
    actor: Mapped[str | None]
    ip_address: Mapped[str | None]
    changed_at: Mapped[datetime] = mapped_column(server_default=NOW)


#: Tables whose changes are audited, and whose TRUNCATE is refused.
AUDITED = (
    "countries",
    "document_types",
    "business_lines",
    "assignment_statuses",
    "sources",
    "stores",
    "agents",
    "customers",
    "leads",
    "routes",
    "route_members",
    "assignments",
    "pipelines",
    "notification_profiles",
    "notification_recipients",
    "lead_assignment_outcomes",
)

__all__ = ["AUDITED", "NAMING", "Base"]
