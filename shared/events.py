"""The contract on the wire: one pydantic model an event, its type the routing key on the exchange `leads`.

Every event of ours carries `event_id`, made once with its outbox row and kept by relay, retry and replay,
`occurred_at`, and, where it is about one lead, `lead_id` and a `revision` that rises per lead and service.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, date, datetime
from math import isfinite
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

LEAD_ID_MAX_BYTES = 128
#: A returned sheet has no more: some 7,000 leads.
SHEET_MAX_BYTES = 25_000_000


def _lead_id(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PydanticCustomError("lead_id", "must be a string or a whole number")
    text = str(value)
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    if not 1 <= size <= LEAD_ID_MAX_BYTES:
        raise PydanticCustomError(
            "lead_id",
            "must have 1 to {limit} bytes, has {size}",
            {"limit": LEAD_ID_MAX_BYTES, "size": size},
        )
    if not text.isprintable():
        raise PydanticCustomError("lead_id", "must not have control characters")
    return text


def _text(value: object) -> object:
    """Accept numbers where text is meant, and refuse what PostgreSQL cannot store."""
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        if isinstance(value, float) and not isfinite(value):
            raise PydanticCustomError("finite", "must be text or a finite number")
        value = str(value)
    text = value.strip()
    if "\x00" in text:
        raise PydanticCustomError("nul", "must not have the character NUL (U+0000)")
    return text


def _day(value: object) -> object:
    """Accept a time where a date is meant: CRMs send both for the same field."""
    if isinstance(value, str) and len(value) > len("2025-01-31") and value[10] in "T ":
        return value[:10]
    return value


def _blank_to_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


#: Of this process alone. An id is no secret, and the system's own randomness is a call into the kernel for each.
_ids = random.Random()
os.register_at_fork(after_in_child=_ids.seed)


def _new_id() -> str:
    return f"{_ids.getrandbits(128):032x}"


as_text = BeforeValidator(_text)
LeadId = Annotated[str, BeforeValidator(_lead_id)]
#: Constraints stand before what reads the value first: so pydantic's core checks them, and not a call into Python.
Code = Annotated[str, StringConstraints(max_length=64), as_text]
Name = Annotated[str, StringConstraints(max_length=200), as_text]
Line = Annotated[str, StringConstraints(max_length=1_000), as_text]
Prose = Annotated[str, StringConstraints(max_length=20_000), as_text]
Day = Annotated[date, BeforeValidator(_day)]
Stage = Annotated[int, Field(ge=1, le=4)]

T = TypeVar("T")
#: A field that may be absent, null or blank: CRMs send all three and mean the same.
Maybe = Annotated[T | None, BeforeValidator(_blank_to_none)]


class Event(BaseModel):
    """One JSON object. A client needs to send no more than the fields without a default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    #: A service of ours consumes it: publishing it where no queue takes it is an error.
    is_ours: ClassVar[bool] = True

    event_id: str = Field(default_factory=_new_id, max_length=128)
    #: When it happened; of an event of ours, when it was made.
    occurred_at: Maybe[datetime] = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def key(self) -> str | None:
        """What orders this event: two events of one key are never in the same batch."""
        return getattr(self, "lead_id", None)

    def to_json(self) -> str:
        """The body on the wire. Absent values are left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True).decode()


class LeadFields(BaseModel):
    """What a CRM may tell about a lead. All optional; what it does not know of goes to `attributes`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    store_code: Maybe[Code] = None
    store_name: Maybe[Name] = None
    business_line: Maybe[Name] = None
    country: Maybe[Name] = None
    document_type: Maybe[Name] = None
    document_number: Maybe[Code] = None
    external_id: Maybe[Name] = None
    customer_name: Maybe[Name] = None
    given_name: Maybe[Name] = None
    surname: Maybe[Name] = None
    mobile_number: Maybe[Code] = None
    email: Maybe[Annotated[str, StringConstraints(max_length=320), as_text]] = None
    address: Maybe[Line] = None
    message: Maybe[Prose] = None
    customer_type: Maybe[Code] = None
    stage: Maybe[Stage] = None
    is_order_placed: Maybe[bool] = None
    created_at: Maybe[datetime] = None
    pickup_no: Maybe[Code] = None
    pickup_date: Maybe[Day] = None
    pickup_created_date: Maybe[Day] = None
    run_date: Maybe[Day] = None
    run_id: Maybe[Code] = None
    final_source: Maybe[Name] = None
    attributes: dict[str, Any] | None = None


class LeadCreated(LeadFields, Event):
    """CRM → ingest. A new lead; the same `lead_id` again changes nothing."""

    model_config = ConfigDict(frozen=True, extra="allow")
    type: ClassVar[str] = "lead.created"

    lead_id: LeadId
    source: Annotated[str, StringConstraints(min_length=1, max_length=128), as_text]
    #: Set by a replay only: caps as of that day.
    as_of: date | None = None


class LeadUpdated(LeadFields, Event):
    """CRM → ingest. What changed: absent is unchanged, null is cleared; the newest `occurred_at` wins per field."""

    model_config = ConfigDict(frozen=True, extra="allow")
    type: ClassVar[str] = "lead.updated"

    lead_id: LeadId
    source: Maybe[Annotated[str, StringConstraints(max_length=128), as_text]] = None
    occurred_at: datetime  # required here: it decides who wins


class FieldError(BaseModel):
    """One field and what is wrong with it, in words."""

    model_config = ConfigDict(frozen=True)

    field: str
    problem: str


class LeadRejected(Event):
    """Ingest → CRM. The message was not taken; nothing of it is stored."""

    type: ClassVar[str] = "lead.rejected"
    is_ours: ClassVar[bool] = False

    lead_id: str | None = None
    errors: tuple[FieldError, ...]


class LeadDuplicate(Event):
    """Ingest → CRM. The lead is another's duplicate, or came again with other values (`differing_fields`)."""

    type: ClassVar[str] = "lead.duplicate"
    is_ours: ClassVar[bool] = False

    lead_id: LeadId
    revision: int
    duplicate_of: str
    differing_fields: tuple[str, ...] = ()


class LeadAccepted(Event):
    """Ingest → assigner. This lead is new or changed: look at it."""

    type: ClassVar[str] = "lead.accepted"

    lead_id: LeadId
    revision: int
    as_of: date | None = None
    #: Of a new lead: when its `lead.created` occurred.
    since: AwareDatetime | None = None


class LeadTaken(Event):
    """CRM, API, sheet → assigner. The agent begins to work the lead."""

    type: ClassVar[str] = "lead.taken"

    lead_id: LeadId
    agent_code: Code | None = None


CloseReason = Literal["won", "lost", "invalid", "duplicate"]


class LeadClosed(Event):
    """CRM, API, sheet → assigner. The work ends, the agent's place is free."""

    type: ClassVar[str] = "lead.closed"

    lead_id: LeadId
    agent_code: Code | None = None
    reason: CloseReason = "lost"


class LeadReopened(Event):
    """CRM, API → assigner. A closed lead is to be worked again."""

    type: ClassVar[str] = "lead.reopened"

    lead_id: LeadId
    agent_code: Code | None = None


class AssignmentRequested(Event):
    """Scheduler, API, CLI, config → assigner. Look at the leads that wait: of a route, of a source, or these.

    Without `route`, matches may have changed: every waiting lead is looked at. With `lead_ids`, `source` or
    `to_agent_code` it is a person's wish, answered by a decision under `request_id`.
    """

    type: ClassVar[str] = "assignment.requested"

    route: Name | None = None
    source: Name | None = None
    lead_ids: tuple[LeadId, ...] = ()
    to_agent_code: Code | None = None
    requested_by: Name = "unknown"
    request_id: Code | None = None

    @property
    def key(self) -> str | None:
        return f"request of {self.route}"


class LotRequested(Event):
    """Scheduler, API, CLI → assigner. Assign what a lot route has collected; the same `lot_key` is the same lot."""

    type: ClassVar[str] = "lot.requested"

    route: Name
    lot_key: Name
    occurred_at: datetime  # required here: the lot's day is that of its request
    triggered_by: Name = "unknown"
    run_id: Code | None = None
    as_of: date | None = None

    @property
    def key(self) -> str | None:
        return f"lots of {self.route}"


class LeadAssigned(Event):
    """Assigner → documents, CRM. The lead is this agent's now."""

    type: ClassVar[str] = "lead.assigned"

    lead_id: LeadId
    revision: int
    agent_code: str
    agent_name: str
    agent_email: str | None = None
    crm_user_id: str | None = None
    previous_agent_code: str | None = None
    previous_sheet_key: str | None = None
    source: str
    store_code: str | None = None
    route: str
    assignment_id: int
    decision_id: int | None = None
    assigned_at: AwareDatetime
    lot_id: int | None = None
    sheet_key: str
    page_group_code: str
    rowid: int
    lead_assignment_code: str


class LeadUnassigned(Event):
    """Assigner → documents, CRM. The lead waits, and this is why; sent only when the reason changes."""

    type: ClassVar[str] = "lead.unassigned"

    lead_id: LeadId
    revision: int
    reason: str
    retry_at: AwareDatetime | None = None
    previous_sheet_key: str | None = None


class LotCompleted(Event):
    """Assigner → notifier, CRM. What a lot did, counted by reason."""

    type: ClassVar[str] = "lot.completed"

    lot_id: int
    route: str
    assigned: int
    unassigned: dict[str, int] = {}


class DocumentReady(Event):
    """Documents → notifier. The sheet is on disk."""

    type: ClassVar[str] = "document.ready"

    document_id: int
    sheet_key: str
    lot_id: int | None = None
    store_code: str | None = None
    agent_code: str
    lead_ids: tuple[str, ...]

    @property
    def key(self) -> str | None:
        return self.sheet_key


class SheetReturned(Event):
    """Command line, drop folder, mailbox, API → documents. A filled-in sheet has come back."""

    type: ClassVar[str] = "sheet.returned"

    file_path: Line
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    received_from: Name

    @property
    def key(self) -> str | None:
        return self.sha256


class SheetDamaged(Event):
    """Notifier → documents. The sheet's file is not there, or not what its document says: make it anew."""

    type: ClassVar[str] = "sheet.damaged"

    document_id: int
    sheet_key: str

    @property
    def key(self) -> str | None:
        return self.sheet_key


class NotificationSent(Event):
    """Notifier → CRM. These recipients have the mail."""

    type: ClassVar[str] = "notification.sent"
    is_ours: ClassVar[bool] = False

    notification_id: int
    document_id: int
    sheet_key: str
    recipients: tuple[str, ...]


class OutcomeRecorded(Event):
    """Documents → webhooks, CRM. What the agent wrote on the sheet about this lead."""

    type: ClassVar[str] = "outcome.recorded"

    lead_id: LeadId
    revision: int
    lead_assignment_code: str
    is_converted: bool | None = None
    order_number: str | None = None
    order_date: date | None = None
    order_value: str | None = None
    payment_mode: str | None = None
    payment_amount: str | None = None
    remarks: str | None = None
    agent_code: str | None = None

    @model_validator(mode="after")
    def _order_needs_conversion(self) -> OutcomeRecorded:
        if self.order_number and self.is_converted is False:
            raise PydanticCustomError("outcome", "an order number contradicts a lead that is not converted")
        return self


EVENTS: tuple[type[Event], ...] = (
    LeadCreated,
    LeadUpdated,
    LeadRejected,
    LeadDuplicate,
    LeadAccepted,
    LeadTaken,
    LeadClosed,
    LeadReopened,
    AssignmentRequested,
    LotRequested,
    LeadAssigned,
    LeadUnassigned,
    LotCompleted,
    DocumentReady,
    SheetReturned,
    SheetDamaged,
    NotificationSent,
    OutcomeRecorded,
)
BY_TYPE: dict[str, type[Event]] = {event.type: event for event in EVENTS}
