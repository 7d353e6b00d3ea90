"""A FastStream service with SQLAlchemy, one transaction a message: store, then assign, each its own process.

python -m bench.peers.faststream_peer store|assign
"""

from __future__ import annotations

import logging
import os
import sys

import uvloop
from faststream import FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from sqlalchemy import Select, Update, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import create_async_engine

from bench.peers.tables import Accepted, AgentRow, Assigned, AssignmentRow, LeadIn, LeadRow
from shared.process import spare_the_collector

PREFETCH = int(os.environ.get("BENCH_PREFETCH", "20"))
POOL = int(os.environ.get("BENCH_POOL", "10"))

broker = RabbitBroker(
    os.environ["BENCH_AMQP_URL"], default_channel=Channel(prefetch_count=PREFETCH), logger=None, log_level=logging.ERROR
)
engine = create_async_engine(os.environ["BENCH_DATABASE_URL"], pool_size=POOL, max_overflow=0)


def durable(name: str) -> RabbitQueue:
    return RabbitQueue(name, durable=True, queue_type=QueueType.QUORUM, declare=False)


#: Made once: SQLAlchemy then compiles them once.
STORE = insert(LeadRow).on_conflict_do_nothing()
LOWEST = select(AgentRow.id).order_by(AgentRow.assigned_count, AgentRow.id).limit(1)


def count(lowest: Select[tuple[int]]) -> Update:
    """Count a lead for this agent, and tell who it is."""
    return (
        update(AgentRow)
        .where(AgentRow.id == lowest.scalar_subquery())
        .values(assigned_count=AgentRow.assigned_count + 1)
        .returning(AgentRow.id, AgentRow.agent_code)
    )


#: Those who are being counted by another are passed over; if all are, one is waited for.
COUNT_FREE, COUNT = count(LOWEST.with_for_update(skip_locked=True)), count(LOWEST.with_for_update())
ASSIGN = insert(AssignmentRow).on_conflict_do_nothing().returning(AssignmentRow.id)


async def store(lead: LeadIn) -> None:
    """Store a lead; the same again changes nothing."""
    async with engine.begin() as tx:
        await tx.execute(STORE, lead.model_dump())
    await broker.publish(Accepted(lead_id=lead.lead_id), "accepted", persist=True, mandatory=True)


async def assign(accepted: Accepted) -> None:
    """Give a lead to the agent with the lowest count."""
    async with engine.begin() as tx:
        agent = (await tx.execute(COUNT_FREE)).one_or_none() or (await tx.execute(COUNT)).one()
        values = {"lead_id": accepted.lead_id, "agent_id": agent.id}
        assignment_id = (await tx.execute(ASSIGN, values)).scalar_one()
    assigned = Assigned(lead_id=accepted.lead_id, agent_code=agent.agent_code, assignment_id=assignment_id)
    await broker.publish(assigned, "assigned", persist=True, mandatory=True)


if __name__ == "__main__":
    spare_the_collector()
    stage = sys.argv[1]
    broker.subscriber(durable("created" if stage == "store" else "accepted"))(store if stage == "store" else assign)
    uvloop.run(FastStream(broker, logger=None).run())
