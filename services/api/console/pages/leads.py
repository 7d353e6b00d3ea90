"""Leads: found, and each one's whole story."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, get_args
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query, Request
from sqlalchemy import text
from starlette.responses import Response

from services.api.console import rendering
from services.api.console.guarding import Operating, Page, Viewing, done
from services.api.console.pages.fields import WordField, WordQuery, blank
from services.api.fields import LeadIdText
from services.api.paging import Cursor
from services.api.problems import said
from services.api.routes import leads as api
from services.api.state import SharedState
from services.cli.decisions.explaining import explain
from services.cli.leads import Story, read_story
from shared.events import CloseReason

router = APIRouter(prefix="/console", route_class=Page)

PAGE = 50
CHOICES = text("""
    SELECT ARRAY(SELECT name FROM sources ORDER BY name LIMIT 500) AS sources,
           ARRAY(SELECT name FROM routes ORDER BY name LIMIT 500) AS routes
""")
OUTCOMES = text("""
    SELECT returned_at AS at, converted_flag AS converted, order_number, order_value, remarks
    FROM lead_assignment_outcomes JOIN assignments ON assignments.id = lead_assignment_id
         JOIN leads ON leads.id = assignments.lead_id
    WHERE leads.lead_id = :lead_id ORDER BY lead_assignment_outcomes.id
""")
LETTERS = text("""
    SELECT id, failed_at AS at, queue, reason, status FROM dead_letters WHERE lead_id = :lead_id ORDER BY id LIMIT 50
""")

State = Annotated[api.State | None, blank, Query()]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a lead. `kind`: done, made (a sheet, a mail) or bad; `href`: where there is more."""

    at: datetime
    kind: str
    title: str
    words: str = ""
    href: str | None = None


@router.get("/leads")
async def leads_page(
    request: Request,
    person: Viewing,
    shared: SharedState,
    q: WordQuery = None,
    status: State = None,
    source: WordQuery = None,
    route: WordQuery = None,
    agent: WordQuery = None,
    cursor: Cursor = None,
) -> Response:
    """Find leads by id, name, number, and by where they stand."""
    asked = {"q": q, "status": status, "source": source, "route": route, "agent": agent}
    found = await api.list_leads(
        person, shared, q=q, status=status, source=source, route=route, agent=agent, limit=PAGE, cursor=cursor
    )
    async with shared.database.reading() as connection:
        choices = (await connection.execute(CHOICES)).mappings().one()
    return await rendering.page(
        request, "leads.html", found=found, asked=asked, choices=choices, next_url=next_url(request, found.next)
    )


@router.get("/leads/{lead_id:path}")
async def lead_page(request: Request, lead_id: LeadIdText, _: Viewing, shared: SharedState) -> Response:
    """Tell all of one lead: what happened, who got it and why, its sheets, mails and outcome."""
    with said(404):
        story = await read_story(shared.database, lead_id)
        told = await explain(shared.database, lead_id)
    async with shared.database.reading() as connection:
        outcomes = [dict(row) for row in (await connection.execute(OUTCOMES, {"lead_id": lead_id})).mappings()]
        letters = [dict(row) for row in (await connection.execute(LETTERS, {"lead_id": lead_id})).mappings()]
    return await rendering.page(
        request,
        "lead.html",
        lead=story.lead,
        told=told,
        steps=steps(story, outcomes, letters),
        documents=story.documents,
        outcomes=outcomes,
        reasons=get_args(CloseReason),
    )


@router.post("/leads/{lead_id:path}/closed")
async def close_lead(
    lead_id: LeadIdText, person: Operating, shared: SharedState, reason: Annotated[CloseReason, Form()]
) -> Response:
    """Say that the work on a lead is over."""
    await api.close_lead(lead_id, person, shared, api.Closing(reason=reason))
    return await done(shared, person, f"Closing {lead_id} as {reason} is asked for.", lead_href(lead_id))


@router.post("/leads/{lead_id:path}/reopened")
async def reopen_lead(lead_id: LeadIdText, person: Operating, shared: SharedState, agent: WordField = None) -> Response:
    """Say that a closed lead is to be worked again."""
    await api.reopen_lead(lead_id, person, shared, api.ByAgent(agent_code=agent))
    return await done(shared, person, f"Taking {lead_id} up again is asked for.", lead_href(lead_id))


def lead_href(lead_id: str) -> str:
    """Give the address of a lead's page."""
    return f"/console/leads/{quote(lead_id, safe='')}"


def next_url(request: Request, cursor: str | None) -> str:
    """Give the address of the page after this one, asked for in the same way."""
    asked = {name: value for name, value in request.query_params.items() if name != "cursor" and value}
    return f"{request.url.path}?{urlencode({**asked, 'cursor': cursor or ''})}"


def steps(story: Story, outcomes: Sequence[Mapping[str, Any]], letters: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Put all that happened to a lead into one order."""
    lead = story.lead
    found = [Step(lead["received_at"], "done", f"received from {lead['source']}", _came(lead))]
    found += [_change(each) for each in story.history]
    found += [step for each in story.documents for step in _paper(each)]
    found += [Step(each["at"], "done", "outcome came back", _outcome(each)) for each in outcomes]
    found += [
        Step(each["at"], "bad", f"dead letter {each['id']} of {each['queue']}", each["reason"], _letter(each))
        for each in letters
    ]
    return sorted(found, key=lambda step: step.at)


def _came(lead: Mapping[str, Any]) -> str:
    repeats = f"sent {lead['repeats']} more times" if lead["repeats"] else ""
    twin = f"a duplicate of {lead['duplicate_of']}" if lead["duplicate_of"] else ""
    return "; ".join(each for each in (repeats, twin, ", ".join(lead["flags"] or ())) if each)


def _change(record: Mapping[str, Any]) -> Step:
    """Tell a record of its assignment."""
    agent = f" to agent {record['agent']}" if record["agent"] else ""
    counts = ""
    if record["count_before"] is not None:
        counts = f"count {record['count_before']:,} → {record['count_after']:,}"
    words = "; ".join(each for each in (f"by {record['method']}", record["reason"] or "", counts) if each)
    return Step(record["at"], "done", record["status"].lower() + agent, words)


def _paper(document: Mapping[str, Any]) -> Iterator[Step]:
    yield Step(document["at"], "made", "sheet made", document["sheet"], f"/console/sheets/{quote(document['sheet'])}")
    if document["sent_at"] is not None:
        yield Step(document["sent_at"], "made", "mailed", document["mail"] or "")
    elif document["mail"]:
        kind = "bad" if document["mail"] == "failed" else "done"
        yield Step(document["at"], kind, f"mail {document['mail']}", document["reason"] or "")


def _outcome(outcome: Mapping[str, Any]) -> str:
    converted = {True: "converted", False: "not converted", None: ""}[outcome["converted"]]
    order = f"order {outcome['order_number']}" if outcome["order_number"] else ""
    value = f"value {outcome['order_value']:,}" if outcome["order_value"] is not None else ""
    return ", ".join(each for each in (converted, order, value, outcome["remarks"] or "") if each)


def _letter(letter: Mapping[str, Any]) -> str:
    return f"/console/deadletters/{letter['id']}"
