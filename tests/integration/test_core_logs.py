"""What a service's log says of an error: enough to find the cause, and nothing of anybody's data."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from shared.events import LeadCreated
from shared.messaging.envelope import Outgoing
from shared.messaging.publisher import open_publisher
from tests.conftest import sql
from tests.integration.core import drain, lay_out
from tests.waiting import eventually

PHONE = "9812345678"
PEOPLE = [("L1", "Asha Example"), ("L2", "Ravi Example")]


@asynccontextmanager
async def ingest(database_url: str, amqp_url: str, log: Path) -> AsyncIterator[None]:
    """The service as a process, telling all that it has to tell."""
    variables = {"LEADLINE_DATABASE_URL": database_url, "LEADLINE_AMQP_URL": amqp_url, "LEADLINE_LOG_LEVEL": "DEBUG"}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ingest", env={**os.environ, **variables}, stdout=output, stderr=output
        )
    try:
        yield
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def entries(log: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "ALTER TABLE leads ADD CONSTRAINT one_phone UNIQUE (mobile_number)",
            {
                "error": "UniqueViolationError, SQLSTATE 23505",
                "table": "leads",
                "constraint": "one_phone",
            },
        ),
        (
            "ALTER TABLE leads ADD CONSTRAINT no_phones CHECK (mobile_number IS NULL)",
            {
                "error": "CheckViolationError, SQLSTATE 23514",
                "table": "leads",
                "constraint": "no_phones",
            },
        ),
        (
            "ALTER TABLE leads DROP COLUMN mobile_number",
            {
                "error": "UndefinedColumnError, SQLSTATE 42703",
                "problem": 'column "mobile_number" of relation "leads" does not exist',
            },
        ),
    ],
)
async def test_an_error_is_told_without_the_row_that_met_it(
    database_url: str, amqp_url: str, tmp_path: Path, change: str, said: dict[str, str]
) -> None:
    """PostgreSQL names the row in the error's detail, which does not go into the log."""
    await lay_out(amqp_url, database_url)
    await asyncio.to_thread(sql, database_url, change)
    log = tmp_path / "ingest.log"
    async with ingest(database_url, amqp_url, log), open_publisher(amqp_url, "test") as publisher:
        leads = [
            LeadCreated(lead_id=lead_id, source="META", customer_name=name, mobile_number=PHONE)
            for lead_id, name in PEOPLE
        ]
        await publisher.publish([Outgoing(lead.type, lead.to_json().encode(), lead.lead_id) for lead in leads])
        failed = await eventually(lambda: entries(log, "message.failed"), within=30)

    text = log.read_text()
    assert not [word for word in (PHONE, "98123", *(name for _, name in PEOPLE)) if word in text]
    told = failed[0]["exception"]
    assert {name: told.get(name) for name in said} == said
    assert any("services/ingest/queries.py:" in place for place in told["where"]), told
    copies = [copy for queue in ("retry.5s", "retry.30s", "dead") for copy in await drain(amqp_url, queue)]
    assert failed[0]["key"] in {copy.correlation_id for copy in copies}
