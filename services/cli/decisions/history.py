"""What is stored of a route's history: its versions and decisions as plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from services.assigner.deciding import MANUAL, NONE, Moment
from services.assigner.facts import Lead, Member, Route, Status

#: The kind of a lot's decision.
LOT = "lot"
_MEMBER_FIELDS = frozenset(Member.__struct_fields__)


@dataclass(frozen=True)
class Version:
    """What a route said from one number of its sequence on, and with which counts its members began."""

    route_id: int
    number: int
    sequence: int
    content: Mapping[str, Any]
    starts: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def route(self) -> Route:
        """The route, as far as its policy looks at it."""
        said = {name: self.content[name] for name in ("name", "priority", "policy", "mode", "retry_pending", "params")}
        return Route(
            id=self.route_id,
            source_id=None,
            store_code=None,
            business_line_id=None,
            zone=ZoneInfo(self.content["zone"]),
            version=self.number,
            sequence=self.sequence,
            **said,
        )

    @cached_property
    def members(self) -> Sequence[Member]:
        """Its members' rows, who have received nothing yet."""
        return [
            Member(
                **{name: value for name, value in row.items() if name in _MEMBER_FIELDS},
                start_count=self.starts.get(str(row["agent_id"]), 0),
            )
            for row in self.content["members"]
        ]

    @cached_property
    def rows_of_stores(self) -> frozenset[tuple[int, str]]:
        """Which agents have a row for which store."""
        return frozenset((row.agent_id, row.store_code) for row in self.members if row.store_code is not None)


@dataclass(frozen=True, slots=True)
class Answered:
    """A question that a decision put to its policy: leads of one store, and what was read for it, as JSON has it."""

    store_code: str | None
    leads: Sequence[Sequence[Any]]
    read: Mapping[str, int]
    boundary: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Decision:
    """A row of `decisions`."""

    id: int
    sequence: int
    version: int
    algorithm: str
    kind: str
    day: date
    decided_at: datetime
    facts: Mapping[str, Any]
    #: Per lead its agent, or why it waits.
    choices: Mapping[int, int | str]

    @property
    def is_lot(self) -> bool:
        return self.kind == LOT

    @property
    def is_manual(self) -> bool:
        return self.algorithm == MANUAL

    @property
    def is_by_policy(self) -> bool:
        return self.algorithm not in {MANUAL, NONE}

    @property
    def moment(self) -> Moment:
        now = self.facts.get("now")
        return Moment(datetime.fromisoformat(now) if now else self.decided_at, self.day, is_lot=self.is_lot)

    @cached_property
    def answers(self) -> Sequence[Answered]:
        """What its policy was asked. None where a person chose."""
        return [
            Answered(each["store"], each["leads"], each["read"], each["boundary"])
            for each in self.facts.get("answers", ())
        ]

    @cached_property
    def loads(self) -> Mapping[int, int]:
        """The open loads that it read, as far as they mattered."""
        return {int(agent_id): load for agent_id, load in self.facts.get("loads", {}).items()}

    @cached_property
    def stores(self) -> Mapping[int, str | None]:
        """Per lead that could be given, its store as far as that mattered."""
        if self.is_manual:
            return {lead_id: store for lead_id, _, store in self.facts["leads"]}
        return {lead[0]: answer.store_code for answer in self.answers for lead in answer.leads}

    @cached_property
    def given(self) -> dict[int, int]:
        """Per lead that was given, its agent."""
        return {lead_id: choice for lead_id, choice in self.choices.items() if isinstance(choice, int)}

    def leads(self, texts: Mapping[int, str]) -> list[Lead]:
        """The leads that it could give, in its order. `texts`: the CRM's ids, where the policy goes by them."""
        if self.is_manual:
            given: Iterable[tuple[int, int | None, str | None, Sequence[Any]]] = (
                (lead_id, line, store, ()) for lead_id, line, store in self.facts["leads"]
            )
        else:
            given = (
                (lead_id, line, answer.store_code, rest)
                for answer in self.answers
                for lead_id, line, *rest in answer.leads
            )
        return [
            _lead(lead_id, texts.get(lead_id, ""), line, store, rest, self.decided_at)
            for lead_id, line, store, rest in given
        ]


def bare_lead() -> Lead:
    """Give a lead of which nothing is known: any member may get it whose row is for all stores."""
    return _lead(0, "", None, None, (), datetime.min.replace(tzinfo=UTC))


def _lead(
    lead_id: int, text: str, line: int | None, store: str | None, of_lot: Sequence[Any], decided_at: datetime
) -> Lead:
    """A lead as its policy saw it; what no policy looks at is left empty."""
    lead_type, created_at, reason = of_lot or (None, None, None)
    return Lead(
        id=lead_id,
        lead_id=text,
        assignment_id=0,
        status=Status.PENDING,
        route_id=None,
        agent_id=None,
        agent_code=None,
        reason=reason,
        retry_at=None,
        sheet_key=None,
        revision=0,
        source_id=0,
        source="",
        store_code=store,
        store_name=None,
        store_takes_part=True,
        business_line_id=line,
        customer_type="New" if lead_type == "N" else None,
        customer_name=None,
        mobile_number=None,
        address=None,
        final_source=None,
        created_at=datetime.fromisoformat(created_at) if created_at else decided_at,
        pickup_date=None,
        pickup_created_date=None,
        run_date=None,
        is_order_placed=False,
        is_duplicate=False,
    )
