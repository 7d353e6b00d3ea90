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
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from bench.peers.tables import Accepted, AgentRow, Assigned, AssignmentRow, LeadIn, LeadRow
from shared.process import spare_the_collector

PREFETCH = int(os.environ.get("BENCH_PREFETCH", "20"))
POOL = int(os.environ.get("BENCH_POOL", "10"))

broker = RabbitBroker(
    os.environ["BENCH_AMQP_URL"], default_channel=Channel(prefetch_count=PREFETCH), logger=None, log_level=logging.ERROR
)
engine = create_async_engine(os.environ["BENCH_DATABASE_URL"], pool_size=POOL, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)


def durable(name: str) -> RabbitQueue:
    return RabbitQueue(name, durable=True, queue_type=QueueType.QUORUM, declare=False)


async def store(lead: LeadIn) -> None:
    """Store a lead; the same again changes nothing."""
    async with sessions.begin() as session:
        await session.execute(insert(LeadRow).values(lead.model_dump()).on_conflict_do_nothing())
    await broker.publish(Accepted(lead_id=lead.lead_id), "accepted", persist=True, mandatory=True)


async def assign(accepted: Accepted) -> None:
    """Give a lead to the agent with the lowest count; those being counted right now are passed over."""
    async with sessions.begin() as session:
        lowest = select(AgentRow).order_by(AgentRow.assigned_count, AgentRow.id).limit(1)
        agent = (await session.execute(lowest.with_for_update(skip_locked=True))).scalar_one_or_none()
        if agent is None:  # all are being counted: wait for one
            agent = (await session.execute(lowest.with_for_update())).scalar_one()
        await session.execute(
            update(AgentRow).where(AgentRow.id == agent.id).values(assigned_count=AgentRow.assigned_count + 1)
        )
        added = insert(AssignmentRow).values(lead_id=accepted.lead_id, agent_id=agent.id).on_conflict_do_nothing()
        assignment_id = (await session.execute(added.returning(AssignmentRow.id))).scalar_one()
    assigned = Assigned(lead_id=accepted.lead_id, agent_code=agent.agent_code, assignment_id=assignment_id)
    await broker.publish(assigned, "assigned", persist=True, mandatory=True)


if __name__ == "__main__":
    spare_the_collector()
    stage = sys.argv[1]
    broker.subscriber(durable("created" if stage == "store" else "accepted"))(store if stage == "store" else assign)
    uvloop.run(FastStream(broker, logger=None).run())
