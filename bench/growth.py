"""Throughput as things grow: agents on the route, stored leads, the size of batches, replicas of the assigner."""

from __future__ import annotations

from collections.abc import Sequence

from bench.ground import Ground
from bench.leads import ROUTES, Lead
from bench.queues import publish, watching
from bench.schema_cost import FILL
from bench.stages import running
from bench.throughput import Run, drain, measure
from bench.ways import Leadline, Setting

#: Leads of one source go to one route, all others to the other.
TWO_ROUTES = """
    UPDATE routes SET is_enabled = false;
    INSERT INTO routes (name, policy, source_id) SELECT 'first', 'fair', id FROM sources WHERE name = 'META';
    INSERT INTO routes (name, policy) VALUES ('second', 'fair');
    INSERT INTO route_members (route_id, agent_id)
    SELECT routes.id, agents.id FROM routes, agents
    WHERE (routes.name = 'first' AND agents.id <= 10) OR (routes.name = 'second' AND agents.id BETWEEN 11 AND 20)
"""
WITHIN_S = 90


async def with_agents(ground: Ground, leads: Sequence[Lead]) -> dict[int, Run]:
    """By agents on the route that takes all leads."""
    return {
        size: await measure(ground, Leadline(sql=[f"UPDATE routes SET is_enabled = (name = '{name}')"]), leads)  # noqa: S608
        for name, size in ROUTES.items()
    }


async def with_stored(ground: Ground, leads: Sequence[Lead], stored: Sequence[int]) -> dict[int, Run]:
    """By leads that are stored already, with their assignments, records, keys and decisions."""
    found = {}
    for count in stored:
        fill = ["SET session_replication_role = replica", *FILL.format(leads=count).split(";\n")] if count else []
        after = ["SET session_replication_role = origin", "VACUUM (FREEZE, ANALYZE)", "CHECKPOINT"] if count else []
        found[count] = await measure(ground, Leadline(sql=[*fill, *after]), leads)
    return found


async def with_batches(ground: Ground, leads: Sequence[Lead], sizes: Sequence[int]) -> dict[int, Run]:
    """By the most messages that a consumer takes at once."""
    return {
        size: await measure(ground, Leadline(environment={"LEADLINE_BATCH_SIZE": str(size)}), leads) for size in sizes
    }


async def with_replicas(ground: Ground, leads: Sequence[Lead], replicas: Sequence[int]) -> dict[int, Run]:
    """By replicas of the assigner, on two routes that get as many leads; ingest is done before."""
    found = {}
    for count in replicas:
        way = Leadline(assigners=count, sql=[TWO_ROUTES])
        setting = await way.set_up(ground)
        await publish(setting.amqp_url, way.messages(leads))
        assigner, ingest = setting.stages
        async with watching(setting.amqp_url) as watch:
            with running(ingest, setting.environment, ground.logs):
                await watch.fill("assigner", len(leads), within_s=WITHIN_S)
        alone = Setting(setting.amqp_url, setting.environment, [assigner], setting.last_queue)
        found[count] = await drain(ground, alone, len(leads))
    return found
