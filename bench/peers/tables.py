"""The peers' tables: a lead, its assignment, a counter an agent. No audit, decisions or outbox: less than ours."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import DateTime, ForeignKey, String, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

AGENTS = 10


class Base(DeclarativeBase):
    pass


class LeadRow(Base):
    __tablename__ = "leads"

    id: Mapped[int] = mapped_column(primary_key=True)
    lead_id: Mapped[str] = mapped_column(String(128), unique=True)
    source: Mapped[str]
    store_code: Mapped[str | None]
    country: Mapped[str | None]
    document_type: Mapped[str | None]
    document_number: Mapped[str | None]
    customer_name: Mapped[str | None]
    mobile_number: Mapped[str | None]
    email: Mapped[str | None]
    address: Mapped[str | None]
    customer_type: Mapped[str | None]
    created_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class AgentRow(Base):
    __tablename__ = "agents"

    id: Mapped[int] = mapped_column(primary_key=True)
    agent_code: Mapped[str]
    assigned_count: Mapped[int] = mapped_column(default=0)


class AssignmentRow(Base):
    __tablename__ = "assignments"

    id: Mapped[int] = mapped_column(primary_key=True)
    lead_id: Mapped[str] = mapped_column(String(128), unique=True)
    agent_id: Mapped[int] = mapped_column(ForeignKey("agents.id"))
    assigned_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class LeadIn(BaseModel):
    """A lead as the CRM sends it."""

    lead_id: str
    source: str
    store_code: str | None = None
    country: str | None = None
    document_type: str | None = None
    document_number: str | None = None
    customer_name: str | None = None
    mobile_number: str | None = None
    email: str | None = None
    address: str | None = None
    customer_type: str | None = None
    created_at: datetime | None = None


class Accepted(BaseModel):
    lead_id: str


class Assigned(BaseModel):
    lead_id: str
    agent_code: str
    assignment_id: int
