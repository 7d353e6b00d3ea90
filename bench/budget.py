"""What the steps of Python cost per lead: processor time of each alone, the best of a few runs. No servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pamqp import commands, frame

from bench.leads import SOURCES, leads
from services.ingest import consumer, queries
from services.ingest.intake import Lead, Names, Reference
from services.ingest.reference import Known
from shared.events import LeadAccepted, LeadAssigned
from shared.messaging import frames, outbox
from shared.messaging.envelope import Delivery, Message, Outgoing, new_message_id, read
from shared.messaging.wire import Tap, Wire

COUNT, RUNS = 2_000, 7
NOW = datetime.now(UTC)


def measure() -> dict[str, float]:
    """Give microseconds a lead by step."""
    sent = [
        Outgoing("lead.created", lead.body, lead.lead_id, headers={"traceparent": outbox.follow(None)})
        for lead in leads(COUNT)
    ]
    found = {"publish: frames of an event": best(lambda: _frames(sent))}
    found["take off the wire: a delivery"], deliveries = asyncio.run(_received(sent))
    types = ("lead.created", "lead.updated")
    found["decode: lead.created"] = best(lambda: [read(each, types) for each in deliveries])
    batch = [message for each in deliveries if isinstance(message := read(each, types), Message)]
    known = _known()
    found["ingest: read a lead"] = best(lambda: consumer.read(batch, known, NOW))
    stored = [lead for _, lead in consumer.read(batch, known, NOW).created.values()]
    found["ingest: rows as arrays"] = best(lambda: _arrays(stored, known))
    accepted = [LeadAccepted(lead_id=lead.lead_id, revision=1) for lead in stored]
    bodies = [event.to_json() for event in accepted]
    found["decode: lead.accepted"] = best(lambda: [LeadAccepted.model_validate_json(body) for body in bodies])
    found["event: lead.accepted made, as JSON"] = best(
        lambda: [LeadAccepted(lead_id=lead.lead_id, revision=1).to_json() for lead in stored]
    )
    found["event: lead.assigned made, as JSON"] = best(lambda: [_assigned(lead.lead_id).to_json() for lead in stored])
    texts = ["lead.assigned"] * COUNT, ["key"] * COUNT, ["{}" * 200] * COUNT, ["00-ab-cd-01"] * COUNT
    found["outbox: rows of messages"] = best(lambda: outbox._row(1, *texts))  # noqa: SLF001  # a step of its own
    return found


def best(work: Callable[[], object], count: int = COUNT) -> float:
    """Give the microseconds each of `count` takes in the best of a few runs."""

    def once() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return min(once() for _ in range(RUNS)) * 1e6 / count


def _frames(messages: Sequence[Outgoing]) -> bytes:
    made = [frames.published(each, "bench", new_message_id(), channel=1, frame_max=131_072) for each in messages]
    return b"".join(made)


async def _received(messages: Sequence[Outgoing]) -> tuple[float, list[Delivery]]:
    """Have a wire sort the messages as a broker delivers them."""
    loop = asyncio.get_running_loop()
    wire, tap = Wire(asyncio.StreamReader(loop=loop), loop), Tap()
    wire.tap(1, tap)
    stream = b"".join(_delivered(tag, each) for tag, each in enumerate(messages, 1))
    got: list[Delivery] = []
    tap.on_delivery = got.append
    cost = best(lambda: wire.data_received(stream))
    return cost, got[:COUNT]


def _delivered(tag: int, message: Outgoing) -> bytes:
    """A message as it is published, with the broker's method in the place of ours."""
    published = _frames([message])
    size, _, _ = frame.unmarshal(published)
    deliver = commands.Basic.Deliver("ctag1.bench", tag, exchange="leads", routing_key=message.routing_key)
    return frame.marshal(deliver, 1) + published[size:]


def _known() -> Known:
    rules = frozenset({"document", "store_mobile"})
    sources = {name.casefold(): queries.Source(n, name, None, None, rules, 30) for n, name in enumerate(SOURCES, 1)}
    reference = Reference(Names.of([]), Names.of([(1, "India", "IN")]), Names.of([(1, "Passport")]))
    return Known(reference, sources, frozenset(), "IN", ZoneInfo("Asia/Kolkata"))


def _arrays(stored: Sequence[Lead], known: Known) -> object:
    ids = [consumer._ids(lead.source, lead.external_id, known, {}) for lead in stored]  # noqa: SLF001
    return queries.columns_of(stored, ids), [consumer._claims(lead, known, {}) for lead in stored]  # noqa: SLF001


def _assigned(lead_id: str) -> LeadAssigned:
    code = "L2511210001-0001"
    return LeadAssigned(
        lead_id=lead_id,
        revision=1,
        occurred_at=NOW,
        agent_code="0001",
        agent_name="Agent 1",
        agent_email="agent1@example.com",
        source="META",
        store_code="BLR01",
        route="10 agents",
        assignment_id=1,
        decision_id=1,
        assigned_at=NOW,
        sheet_key=code,
        page_group_code="L2511210001",
        rowid=1,
        lead_assignment_code=code,
    )
