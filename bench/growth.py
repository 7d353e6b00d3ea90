"""Throughput as things grow: agents on the route, stored leads, the size of batches, replicas of the assigner."""

from __future__ import annotations

from collections.abc import Sequence

from bench.ground import Ground, connect
from bench.leads import ROUTES, Lead, leads
from bench.queues import publish, watching
from bench.stages import running
from bench.stored import add_stored, long_after_a_checkpoint
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
BATCHES_A_RUN = 1_000


async def with_agents(ground: Ground, some: Sequence[Lead]) -> dict[int, Run]:
    """By agents on the route that takes all leads."""
    return {
        size: await measure(ground, Leadline(sql=[f"UPDATE routes SET is_enabled = (name = '{name}')"]), some)  # noqa: S608
        for name, size in ROUTES.items()
    }


async def with_stored(ground: Ground, count: int, stored: Sequence[int]) -> dict[int, Run]:
    """By leads that are stored already, long after a checkpoint. One database, to which what is missing is added."""
    way, found, there = Leadline(), {}, 0
    database_url = await ground.database(way.name)
    admin = await connect(database_url)
    for number, wanted in enumerate(sorted(stored)):
        if wanted > there:
            await add_stored(admin, there + 1, wanted)
            there = wanted
        setting = await way.setting(ground.corner(way.name), database_url)
        await publish(setting.amqp_url, way.messages(leads(count, seed=200 + number)))
        async with long_after_a_checkpoint(admin):
            found[wanted] = await drain(ground, setting, count)
    await admin.close()
    return found


async def with_batches(ground: Ground, some: Sequence[Lead], sizes: Sequence[int]) -> dict[int, Run]:
    """By the most messages that a consumer takes at once; small batches, which are slow, get fewer leads."""
    return {
        size: await measure(
            ground, Leadline(environment={"LEADLINE_BATCH_SIZE": str(size)}), some[: BATCHES_A_RUN * size]
        )
        for size in sizes
    }


async def with_replicas(ground: Ground, count: int, replicas: Sequence[int]) -> dict[int, Run]:
    """By replicas of the assigner, on two routes that get as many leads; ingest is done before."""
    halves = leads(count // 2, source="META"), leads(count // 2, source="GOOGLE", seed=8)
    some = [lead for pair in zip(*halves, strict=True) for lead in pair]
    found = {}
    for assigners in replicas:
        way = Leadline(assigners=assigners, sql=[TWO_ROUTES])
        setting = await way.set_up(ground)
        await publish(setting.amqp_url, way.messages(some))
        assigner, ingest = setting.stages
        async with watching(setting.amqp_url) as watch:
            with running(ingest, setting.environment, ground.logs):
                await watch.fill("assigner", len(some), within_s=WITHIN_S)
        alone = Setting(setting.amqp_url, setting.environment, [assigner], setting.last_queue)
        found[assigners] = await drain(ground, alone, len(some))
    return found
