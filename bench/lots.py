"""Seconds from `lot.requested` to the last event of a lot."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from datetime import UTC, datetime

from bench.ground import Ground
from bench.leads import STORES
from bench.queues import publish, watching
from bench.stages import running
from bench.ways import Leadline
from shared.messaging.envelope import Outgoing

AGENTS = 500
WITHIN_S = 90
ROUTE = """
    UPDATE routes SET is_enabled = false;
    INSERT INTO routes (name, policy, mode) VALUES ('lot', 'even_split', 'lot');
    INSERT INTO route_members (route_id, agent_id)
    SELECT routes.id, agents.id FROM routes, agents WHERE routes.name = 'lot' AND agents.id <= {agents}
"""
WAITING = """
    INSERT INTO leads (lead_id, source_id, store_code, customer_name, mobile_number, customer_type, created_at)
    SELECT 'CRM-' || substr(md5(n::text), 1, 16), 1 + n % 5, ('{{{stores}}}'::text[])[1 + n % 5], 'Given Surname' || n,
           '+919' || lpad(n::text, 9, '0'), 'New Customer', now() - n * interval '1 second'
    FROM generate_series(1, {leads}) AS n;
    INSERT INTO assignments (lead_id, assignment_status_id, route_id)
    SELECT leads.id, 1, routes.id FROM leads, routes WHERE routes.name = 'lot' ORDER BY leads.id;
    ANALYZE
"""


async def measure(ground: Ground, leads: int) -> float:
    """Give the seconds that a lot of so many leads over 500 agents takes."""
    fill = WAITING.format(leads=leads, stores=",".join(STORES))
    setting = await Leadline(sql=[ROUTE.format(agents=AGENTS), fill]).set_up(ground)
    (assigner,) = (stage for stage in setting.stages if stage.name == "assigner")
    request = {"route": "lot", "lot_key": "bench", "occurred_at": datetime.now(UTC).isoformat()}
    with ExitStack() as stack:
        async with watching(setting.amqp_url) as watch:
            stack.enter_context(running(assigner, setting.environment, ground.logs))
            await watch.wait_for_consumers("assigner.lots", 1)
            began = time.perf_counter()
            await publish(setting.amqp_url, [Outgoing("lot.requested", json.dumps(request).encode())])
            samples = await watch.fill("documents", leads, within_s=WITHIN_S)
            await watch.fill("notifier", 1, within_s=WITHIN_S)  # lot.completed, the last
    return samples[-1].at_s - began
