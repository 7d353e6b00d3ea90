"""What has happened so far, counted from the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from services.cli.standings import Next, read_lines
from shared.db.session import Database

COUNTS = text("""
    SELECT (SELECT count(*) FROM leads) AS leads,
           (SELECT count(*) FROM leads WHERE duplicate_of IS NULL) AS accepted,
           (SELECT coalesce(sum(repeats), 0) FROM leads)
               + (SELECT count(*) FROM leads WHERE duplicate_of IS NOT NULL) AS duplicates,
           (SELECT count(*) FROM dead_letters WHERE status = 'new') AS dead,
           (SELECT count(*) FROM assignments WHERE is_current AND assignment_status_id = 1) AS waiting,
           (SELECT count(*) FROM assignments WHERE is_current AND assignment_status_id IN (2, 3)) AS assigned,
           (SELECT count(*) FROM assignments WHERE is_current AND assignment_status_id = 4) AS closed,
           (SELECT count(*) FROM documents WHERE status = 'ok') AS documents,
           (SELECT count(*) FROM notification_deliveries WHERE status = 'sent') AS emails,
           (SELECT count(*) FROM notifications WHERE status = 'waiting') AS mails_waiting,
           (SELECT count(*) FROM outbox) AS outbox
""")
AGENTS = text("""
    SELECT routes.name AS route, agents.agent_code AS agent, agents.agent_name AS name,
           coalesce(member_counters.assigned_count, 0) AS assigned, coalesce(agent_counters.open_load, 0) AS open,
           agents.max_load AS most
    FROM route_members JOIN routes ON routes.id = route_members.route_id
         JOIN agents ON agents.id = route_members.agent_id
         LEFT JOIN member_counters USING (route_id, agent_id)
         LEFT JOIN agent_counters ON agent_counters.agent_id = agents.id
    WHERE route_members.is_enabled AND agents.is_active
    GROUP BY routes.id, agents.id, member_counters.assigned_count, agent_counters.open_load
    ORDER BY routes.name, assigned, agents.id
""")
REASONS = text("""
    SELECT routes.name AS route, coalesce(assignments.reason, 'just come in') AS reason, count(*) AS leads,
           min(assignments.retry_at) AS next_try
    FROM assignments LEFT JOIN routes ON routes.id = assignments.route_id
    WHERE assignments.is_current AND assignments.assignment_status_id = 1
    GROUP BY 1, 2 ORDER BY 3 DESC
""")
MAILS = text("""
    SELECT profiles.code AS profile, notifications.status, notifications.reason, count(*) AS mails
    FROM notifications JOIN notification_profiles AS profiles ON profiles.id = notifications.profile_id
    WHERE notifications.status IN ('waiting', 'failed', 'partial')
    GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT 20
""")
DEAD = text("""
    SELECT group_key AS what, count(*) AS messages, min(reason) AS example
    FROM dead_letters WHERE status = 'new' GROUP BY group_key ORDER BY count(*) DESC
""")


@dataclass(frozen=True, slots=True)
class AgentStanding:
    """An agent on a route: those who are next come first."""

    route: str
    agent: str
    name: str
    assigned: int
    open: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts over all time, and who stands where. `spread`: most minus least assigned among the active of a route."""

    leads: int
    accepted: int
    duplicates: int
    dead: int
    waiting: int
    assigned: int
    closed: int
    documents: int
    emails: int
    mails_waiting: int
    outbox: int
    spread: int
    next: Sequence[Next]
    agents: Sequence[AgentStanding]
    unassigned: Sequence[dict[str, object]]
    #: Mails that have not reached everybody, by reason.
    mails: Sequence[dict[str, object]]
    dead_letters: Sequence[dict[str, object]]


async def read_statistics(database: Database) -> Statistics:
    async with database.reading() as connection:
        counts = (await connection.execute(COUNTS)).mappings().one()
        agents = [AgentStanding(**row) for row in (await connection.execute(AGENTS)).mappings()]
        reasons = [dict(row) for row in (await connection.execute(REASONS)).mappings()]
        mails = [dict(row) for row in (await connection.execute(MAILS)).mappings()]
        dead = [dict(row) for row in (await connection.execute(DEAD)).mappings()]
    following = [line.head for line in await read_lines(database)]
    whole = {name: int(count) for name, count in counts.items()}
    return Statistics(
        **whole,
        spread=spread(agents),
        next=following,
        agents=agents,
        unassigned=reasons,
        mails=mails,
        dead_letters=dead,
    )


def spread(agents: Sequence[AgentStanding]) -> int:
    """Give the greatest difference between two agents of one route."""
    by_route: dict[str, list[int]] = {}
    for agent in agents:
        by_route.setdefault(agent.route, []).append(agent.assigned)
    return max((max(counts) - min(counts) for counts in by_route.values()), default=0)
