"""A Celery application with SQLAlchemy, one transaction a task: store, then assign, each its own worker.

python -m bench.peers.celery_peer QUEUE
"""

from __future__ import annotations

import json
import os
import sys
from uuid import uuid4

from celery import Celery
from celery.signals import worker_process_init
from kombu import Queue
from sqlalchemy import create_engine, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from bench.peers.tables import AgentRow, AssignmentRow, LeadIn, LeadRow

CHILDREN = os.environ.get("BENCH_CHILDREN", "2")
PREFETCH = int(os.environ.get("BENCH_PREFETCH", "50"))

app = Celery("bench.peers.celery_peer", broker=os.environ.get("BENCH_AMQP_URL", "memory://"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_queues=[
        Queue(name, routing_key=name, no_declare=True, queue_arguments={"x-queue-type": "quorum"})
        for name in ("created", "accepted", "assigned")
    ],
    task_default_exchange="",
    task_default_delivery_mode="persistent",
    task_routes={"store": "created", "assign": "accepted", "assigned": "assigned"},
    broker_transport_options={"confirm_publish": True},
    worker_prefetch_multiplier=PREFETCH,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
engine = create_engine(os.environ.get("BENCH_DATABASE_URL", "sqlite://").replace("+asyncpg", "+psycopg"))
sessions: sessionmaker[Session] = sessionmaker(engine)


@worker_process_init.connect
def _connect_anew(**_: object) -> None:
    engine.dispose(close=False)


@app.task(name="store")
def store(**fields: object) -> None:
    """Store a lead; the same again changes nothing."""
    lead = LeadIn.model_validate(fields)
    with sessions.begin() as session:
        session.execute(insert(LeadRow).values(lead.model_dump()).on_conflict_do_nothing())
    assign.delay(lead_id=lead.lead_id)


@app.task(name="assign")
def assign(lead_id: str) -> None:
    """Give a lead to the agent with the lowest count."""
    with sessions.begin() as session:
        lowest = select(AgentRow).order_by(AgentRow.assigned_count, AgentRow.id).limit(1)
        agent = session.execute(lowest.with_for_update()).scalar_one()
        agent_id, code = agent.id, agent.agent_code
        session.execute(
            update(AgentRow).where(AgentRow.id == agent_id).values(assigned_count=AgentRow.assigned_count + 1)
        )
        added = insert(AssignmentRow).values(lead_id=lead_id, agent_id=agent_id).on_conflict_do_nothing()
        assignment_id = session.execute(added.returning(AssignmentRow.id)).scalar_one()
    assigned.delay(lead_id=lead_id, agent_code=code, assignment_id=assignment_id)


@app.task(name="assigned")
def assigned(**_: object) -> None:
    """The last event: nobody works on it here."""


def message_of(task: str, fields: bytes) -> tuple[bytes, dict[str, object]]:
    """Body and headers of a task as Celery's protocol 2 has them."""
    task_id = str(uuid4())
    headers = {"lang": "py", "task": task, "id": task_id, "root_id": task_id, "retries": 0, "ignore_result": True}
    embed = json.dumps({"callbacks": None, "errbacks": None, "chain": None, "chord": None})
    return b"[[], " + fields + b", " + embed.encode() + b"]", headers


if __name__ == "__main__":
    queue = sys.argv[1]
    quiet = ["--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(["worker", f"--queues={queue}", f"--concurrency={CHILDREN}", f"--hostname={queue}@%h", *quiet])
