"""`leadline assign`: have the leads that wait looked at now, for a person, and tell what came of it.

From Python, where no event loop runs:

    from services.cli.assigning import Wish, assign

    print(assign(Wish(source="META")).assigned)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from sqlalchemy import text

from services.assigner.consumer import ANSWERED
from services.cli.failures import CommandError
from services.cli.output import show
from services.cli.waiting import ask, wait_for, why_nothing_came
from shared.db.session import Database, open_database
from shared.events import AssignmentRequested
from shared.settings import Settings, load_settings

TIMEOUT_S = 60.0
REQUESTED_BY = "cli"

KNOWN = text("""
    SELECT (CAST(:source AS text) IS NULL OR EXISTS (SELECT 1 FROM sources WHERE lower(name) = lower(:source)))
               AS source,
           (CAST(:route AS text) IS NULL OR EXISTS (SELECT 1 FROM routes WHERE name = :route AND is_enabled)) AS route,
           (CAST(:agent AS text) IS NULL OR EXISTS (SELECT 1 FROM agents WHERE agent_code = :agent)) AS agent,
           ARRAY(SELECT given FROM unnest(CAST(:lead_ids AS text[])) WITH ORDINALITY AS given (given, n)
                 WHERE NOT EXISTS (SELECT 1 FROM leads WHERE lead_id = given) ORDER BY n) AS unknown_leads
""")
DECISIONS = text("SELECT id, kind, choices FROM decisions WHERE request_id = :request_id ORDER BY id")
AGENTS = text("SELECT id, agent_code FROM agents WHERE id = ANY(CAST(:ids AS bigint[]))")
#: Of the leads that were named: those that no decision was about, and how they stand.
LEFT_ALONE = text("""
    SELECT lower(assignment_statuses.name) AS status, count(*) AS leads
    FROM leads JOIN assignments ON assignments.lead_id = leads.id AND is_current
         JOIN assignment_statuses ON assignment_statuses.id = assignment_status_id
    WHERE leads.lead_id = ANY(CAST(:lead_ids AS text[])) AND leads.id <> ALL(CAST(:decided AS bigint[]))
    GROUP BY 1 ORDER BY 1
""")


@dataclass(frozen=True, slots=True)
class Wish:
    """Which leads: those that wait of a source or on a route, or these; with `to_agent_code` they go to this agent."""

    source: str | None = None
    route: str | None = None
    lead_ids: Sequence[str] = ()
    to_agent_code: str | None = None

    def request(self, requested_by: str = REQUESTED_BY) -> AssignmentRequested:
        """Give the event. CommandError where it says nothing, or what cannot be."""
        if not (self.source or self.route or self.lead_ids):
            raise CommandError("which leads? Name --source, --route or --lead")
        if self.lead_ids and (self.source or self.route):
            raise CommandError("--lead names the leads: it does not go with --source or --route")
        try:
            return AssignmentRequested(
                source=self.source,
                route=self.route,
                lead_ids=tuple(self.lead_ids),
                to_agent_code=self.to_agent_code,
                requested_by=requested_by,
                request_id=token_hex(16),
            )
        except ValidationError as error:
            wrong = error.errors()[0]
            raise CommandError(f"{wrong['loc'][0]}: {wrong['msg']}") from None


@dataclass(frozen=True, slots=True)
class Answered:
    """How many leads were assigned, to whom, and why the others were not."""

    assigned: int
    agents: Mapping[str, int]
    unassigned: Mapping[str, int]
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the decisions under a request say so far: per lead its agent's id, or why it has none."""

    decisions: int
    is_whole: bool
    choices: Mapping[str, int | str]


def assign(wish: Wish, *, timeout_s: float = TIMEOUT_S, settings: Settings | None = None) -> Answered:
    """Have leads looked at and wait for the answer, at most `timeout_s` from each page of leads to the next.

    Also takes leads that wait for a person, whom nothing else assigns.

    Raises:
        CommandError: a name in the wish is not known, or nothing answers in time; the message says what is not running.
    """
    settings = settings or load_settings()
    request = wish.request()

    async def run() -> Answered:
        async with open_database(settings.database, application_name="leadline assign") as database:
            await check(database, request)
            row_id = await ask(settings, database, request)
            answer = await _answer(settings, database, request, row_id, timeout_s)
            return await told(database, request, answer)

    return asyncio.run(run())


async def check(database: Database, request: AssignmentRequested) -> None:
    """Raise CommandError for a name that is not known."""
    values = {
        "source": request.source,
        "route": request.route,
        "agent": request.to_agent_code,
        "lead_ids": list(request.lead_ids),
    }
    async with database.reading() as connection:
        known = (await connection.execute(KNOWN, values)).one()
    if not known.source:
        raise CommandError(f"there is no source {request.source!r}")
    if not known.route:
        raise CommandError(f"there is no route {request.route!r} in use; `leadline stats` lists them")
    if not known.agent:
        raise CommandError(f"there is no agent with the code {request.to_agent_code!r}")
    if known.unknown_leads:
        raise CommandError(f"there is no lead {known.unknown_leads[0]!r}; ids are the CRM's")


async def _answer(
    settings: Settings, database: Database, request: AssignmentRequested, row_id: int, timeout_s: float
) -> Answer:
    """Wait for the request's last decision, as long as there are more of them."""
    answer = Answer(0, is_whole=False, choices={})

    async def more() -> Answer | None:
        found = await read_answer(database, request)
        return found if found.is_whole or found.decisions > answer.decisions else None

    while not answer.is_whole:
        found = await wait_for(more, timeout_s)
        if found is None:
            why = await why_nothing_came(settings, database, row_id, "assigner")
            raise CommandError(f"no answer within {timeout_s:g} s: {why}. The request stands")
        answer = found
    return answer


async def read_answer(database: Database, request: AssignmentRequested) -> Answer:
    """Give what was decided so far."""
    async with database.reading() as connection:
        rows = (await connection.execute(DECISIONS, {"request_id": request.request_id})).all()
    choices = {lead: choice for row in rows for lead, choice in row.choices.items()}
    return Answer(len(rows), any(row.kind == ANSWERED for row in rows), choices)


async def told(database: Database, request: AssignmentRequested, answer: Answer) -> Answered:
    """Give an answer as people know agents and leads."""
    received = Counter(choice for choice in answer.choices.values() if isinstance(choice, int))
    unassigned = Counter(choice for choice in answer.choices.values() if isinstance(choice, str))
    decided = [int(lead) for lead in answer.choices]
    async with database.reading() as connection:
        codes = {row.id: row.agent_code for row in await connection.execute(AGENTS, {"ids": list(received)})}
        alone = await connection.execute(LEFT_ALONE, {"lead_ids": list(request.lead_ids), "decided": decided})
        unassigned.update({f"is {row.status}": row.leads for row in alone})
    agents = {codes[agent_id]: leads for agent_id, leads in received.most_common()}
    return Answered(received.total(), agents, dict(unassigned.most_common()), str(request.request_id))


def assign_command(
    source: Annotated[str | None, typer.Option(help="All leads of this source that wait.")] = None,
    route: Annotated[str | None, typer.Option(help="All leads that wait on this route.")] = None,
    lead: Annotated[list[str] | None, typer.Option(help="This lead, by the CRM's id; may be given again.")] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="AGENT_CODE", help="Give them to this agent.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0)] = TIMEOUT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Assign leads that wait now, also those that wait for a person; tell how many, and why not the others."""
    answered = assign(Wish(source, route, lead or (), to), timeout_s=timeout)
    show(answered if as_json else _in_words(answered), as_json=as_json)


def _in_words(answered: Answered) -> dict[str, Any]:
    return {
        "assigned": answered.assigned,
        "not assigned": sum(answered.unassigned.values()),
        "agents": [{"agent": code, "leads": leads} for code, leads in answered.agents.items()],
        "why not": [{"reason": reason, "leads": leads} for reason, leads in answered.unassigned.items()],
    }
