"""The five systems of examples/five-systems.yaml: leads that suit each, and what became of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.simulator.leads import Vocabulary

FILE = "examples/five-systems.yaml"
#: In the ids of all leads that this demo has ever sent.
MARK = "-five-"


@dataclass(frozen=True, slots=True)
class System:
    """One of the five: its route, its rule in words, and the leads that come to it."""

    route: str
    rule: str
    leads: Vocabulary
    has_lots: bool = False

    def run_id(self) -> str:
        """Goes into the ids of its leads, between the seed and the number."""
        return f"{MARK.strip('-')}-{self.route}"

    def prefix(self, seed: int) -> str:
        """What the ids of its leads of one run begin with."""
        return f"SIM-{seed}-{self.run_id()}-"


SYSTEMS = (
    System(
        "auto-assign",
        "whoever has received least gets the next lead, from any source",
        Vocabulary(sources=("META", "GOOGLE", "WEBSITE"), stores=(), business_lines=("Cars",)),
    ),
    System(
        "leads-assignment",
        "in lots: each agent takes its stores' newest leads, up to its caps there",
        Vocabulary(sources=("MISSED-PICKUP",), stores=("KOL01", "KOL02", "KOL03", "KOL04"), store_share=1),
        has_lots=True,
    ),
    System(
        "lead-assignment",
        "the first with the lead's business line and a free place",
        Vocabulary(sources=("PARTNER",), stores=(), business_lines=("Insurance", "Mortgages", "Solar")),
    ),
    System(
        "agent-funnel",
        "every evening in equal parts, at most 450 each, below stage 4",
        Vocabulary(sources=("WA-FUNNEL",), stores=()),
        has_lots=True,
    ),
    System(
        "mini-crm",
        "by chance in proportion to weights; when all are full, a person assigns",
        Vocabulary(sources=("TELEGRAM-BOT",), stores=()),
    ),
)

COUNTS = text("""
    SELECT systems.route, count(leads.id) AS accepted, count(leads.id) FILTER (WHERE state IN (2, 3)) AS assigned,
           count(leads.id) FILTER (WHERE state = 1 AND theirs.reason IS NULL) AS undecided,
           count(DISTINCT sheet_key) FILTER (WHERE routes.sheets AND state IN (2, 3)) AS sheets_due,
           count(DISTINCT documents.id) AS sheets,
           (SELECT count(*)
            FROM notification_sheets AS theirs JOIN notifications ON notifications.id = theirs.notification_id
                 JOIN notification_profiles AS profiles ON profiles.id = notifications.profile_id
            WHERE profiles.scope = 'agent' AND notifications.status = 'sent'
              AND theirs.document_id = ANY(array_agg(documents.id))) AS mails,
           (SELECT count(DISTINCT notifications.id)
            FROM notification_sheets AS theirs JOIN notifications ON notifications.id = theirs.notification_id
                 JOIN notification_profiles AS profiles ON profiles.id = notifications.profile_id
            WHERE profiles.scope = 'store' AND notifications.status = 'sent'
              AND theirs.document_id = ANY(array_agg(documents.id))) AS store_mails,
           (SELECT count(DISTINCT (profiles.id, recipients.store_code))
            FROM notification_recipients AS recipients JOIN notification_profiles AS profiles
                     ON profiles.id = recipients.profile_id AND profiles.scope = 'store' AND profiles.is_active
            WHERE recipients.is_active AND recipients.env = 'any'
              AND recipients.store_code = ANY(array_agg(theirs.store_code) FILTER (WHERE documents.lot_id IS NOT NULL))
           ) AS store_mails_due
    FROM unnest(CAST(:routes AS text[]), CAST(:prefixes AS text[])) AS systems (route, prefix)
         LEFT JOIN leads ON starts_with(leads.lead_id, systems.prefix)
         LEFT JOIN (
             SELECT lead_id, route_id, sheet_key, store_code, reason, assignment_status_id AS state FROM assignments
             WHERE is_current
         ) AS theirs ON theirs.lead_id = leads.id
         LEFT JOIN routes ON routes.id = theirs.route_id
         LEFT JOIN documents USING (sheet_key)
    GROUP BY systems.route
""")
REASONS = text("""
    SELECT systems.route, reason, count(*) AS leads
    FROM unnest(CAST(:routes AS text[]), CAST(:prefixes AS text[])) AS systems (route, prefix)
         JOIN leads ON starts_with(leads.lead_id, systems.prefix)
         JOIN assignments ON assignments.lead_id = leads.id AND is_current AND assignment_status_id = 1
    GROUP BY systems.route, reason ORDER BY leads DESC, reason
""")
SHARES = text("""
    SELECT systems.route, agents.agent_code AS agent, agents.agent_name AS name, members.store_code AS store,
           business_lines.name AS business_line, members.weight, agents.max_load, members.max_existing_per_lot,
           members.max_new_per_lot, members.max_daily_leads,
           (SELECT count(*) FROM assignments JOIN leads ON leads.id = assignments.lead_id
            WHERE is_current AND assignment_status_id IN (2, 3) AND starts_with(leads.lead_id, systems.prefix)
              AND assignments.agent_id = agents.id
              AND coalesce(members.store_code = assignments.store_code, members.store_code IS NULL)) AS assigned
    FROM unnest(CAST(:routes AS text[]), CAST(:prefixes AS text[])) AS systems (route, prefix)
         JOIN routes ON routes.name = systems.route JOIN route_members AS members ON members.route_id = routes.id
         JOIN agents ON agents.id = members.agent_id
         LEFT JOIN business_lines ON business_lines.id = agents.business_line_id
    ORDER BY systems.route, members.store_code NULLS FIRST, members.priority, agents.id
""")
SUMMARIES = text("""
    SELECT routes.name AS route, count(*) AS mails
    FROM lots JOIN routes ON routes.id = lots.route_id JOIN notifications ON notifications.lot_id = lots.id
         JOIN notification_profiles AS profiles ON profiles.id = notifications.profile_id AND profiles.scope = 'global'
    WHERE lots.lot_key = :key AND routes.name = ANY(CAST(:routes AS text[])) AND notifications.status = 'sent'
    GROUP BY routes.name
""")
#: Summaries of lots that gave leads away, and have an operator to go to.
SUMMARIES_DUE = text("""
    SELECT count(*) FROM lots JOIN routes ON routes.id = lots.route_id
         JOIN pipelines ON pipelines.code = routes.pipeline
         JOIN notification_profiles AS profiles ON profiles.pipeline_id = pipelines.id AND profiles.scope = 'global'
              AND profiles.is_active AND EXISTS (
                  SELECT 1 FROM notification_recipients
                  WHERE profile_id = profiles.id AND is_active AND env = 'any' AND store_code IS NULL)
    WHERE lots.lot_key = :key AND lots.assigned > 0
""")
LOTS = text("SELECT count(*) FROM lots WHERE lot_key = :key")
HELD = text("""
    SELECT leads.lead_id, agents.agent_code
    FROM assignments JOIN leads ON leads.id = assignments.lead_id JOIN agents ON agents.id = assignments.agent_id
    WHERE is_current AND assignment_status_id IN (2, 3) AND leads.lead_id LIKE 'SIM-%' || :mark || '%'
    ORDER BY leads.id
""")


@dataclass(frozen=True, slots=True)
class Share:
    """What one member received: of a store where it is a member for one; with its weight and limits."""

    agent: str
    name: str
    store: str | None
    business_line: str | None
    assigned: int
    weight: int
    max_load: int | None
    max_existing_per_lot: int | None
    max_new_per_lot: int | None
    max_daily_leads: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How far one system's leads have come. `undecided`: nobody has looked at them yet."""

    accepted: int = 0
    assigned: int = 0
    undecided: int = 0
    sheets_due: int = 0
    sheets: int = 0
    mails: int = 0
    store_mails: int = 0
    store_mails_due: int = 0

    @property
    def is_done(self) -> bool:
        """Every lead is assigned or waits for a reason, every sheet is made, and mailed to its agent and its store."""
        is_mailed = self.sheets <= self.mails and self.store_mails_due <= self.store_mails
        return not self.undecided and self.sheets_due == self.sheets and is_mailed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one system's leads."""

    system: str
    rule: str
    sent: int
    accepted: int
    assigned: int
    waiting: Mapping[str, int]
    sheets: int
    mails: int
    #: To stores, each with all that a lot has made for it; and to operators, about a lot.
    store_mails: int
    summaries: int
    agents: Sequence[Share]


async def count(connection: AsyncConnection, seed: int) -> dict[str, Counts]:
    """How far the leads of one run have come, by route."""
    rows = (await connection.execute(COUNTS, _run(seed))).mappings()
    return {row["route"]: Counts(**{name: row[name] for name in row if name != "route"}) for row in rows}


async def lots_run(connection: AsyncConnection, key: str) -> int:
    """How many routes have had the lot of this key."""
    return int((await connection.execute(LOTS, {"key": key})).scalar_one())


def lot_key(seed: int) -> str:
    """The key of the lots of one run."""
    return f"demo {seed}"


async def summaries_left(connection: AsyncConnection, seed: int) -> int:
    """How many summaries of the lots of one run are still to be mailed."""
    values = {"routes": [system.route for system in SYSTEMS], "key": lot_key(seed)}
    sent = sum(row.mails for row in await connection.execute(SUMMARIES, values))
    due = int((await connection.execute(SUMMARIES_DUE, {"key": lot_key(seed)})).scalar_one())
    return due - int(sent)


async def held(connection: AsyncConnection) -> list[tuple[str, str]]:
    """The leads of all runs that agents hold, and who."""
    return [(row.lead_id, row.agent_code) for row in await connection.execute(HELD, {"mark": MARK})]


async def outcomes(connection: AsyncConnection, seed: int, sent: int) -> list[Outcome]:
    """What became of the leads of one run, of which each system was sent so many."""
    counts = await count(connection, seed)
    reasons: dict[str, dict[str, int]] = defaultdict(dict)
    for row in await connection.execute(REASONS, _run(seed)):
        reasons[row.route][row.reason] = row.leads
    found = await connection.execute(SUMMARIES, {"routes": [system.route for system in SYSTEMS], "key": lot_key(seed)})
    summaries = {row.route: row.mails for row in found}
    shares: dict[str, list[Share]] = defaultdict(list)
    for route, fields in _by_route((await connection.execute(SHARES, _run(seed))).mappings()):
        shares[route].append(Share(**fields))
    return [
        Outcome(
            system.route,
            system.rule,
            sent,
            counts[system.route].accepted,
            counts[system.route].assigned,
            reasons[system.route],
            counts[system.route].sheets,
            counts[system.route].mails,
            counts[system.route].store_mails,
            summaries.get(system.route, 0),
            shares[system.route],
        )
        for system in SYSTEMS
    ]


def _run(seed: int) -> dict[str, Any]:
    return {
        "routes": [system.route for system in SYSTEMS],
        "prefixes": [system.prefix(seed) for system in SYSTEMS],
    }


def _by_route(rows: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in rows:
        yield row["route"], {name: row[name] for name in row if name != "route"}
