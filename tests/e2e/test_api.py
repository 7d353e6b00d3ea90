"""The API as a process among the others: a key by the command line, a request in, its operator out, a webhook told."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from standardwebhooks import Webhook

from services.cli.local.ports import free_port
from tests.endpoints import listening
from tests.stack import Stack
from tests.waiting import eventually


async def ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.timeout(180)
async def test_a_request_is_given_and_told_of(stack: Stack) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    stack.extra = {"LEADLINE_API_PORT": str(port), "LEADLINE_WEBHOOKS_ALLOW_HTTP": "true"}
    await stack.start("ingest", "assigner", "webhooks", "api")
    await eventually(lambda: ready(url), within=30)
    key = (await stack.run("key", "create", "--role", "admin", "--name", "e2e", "--json")).json["key"]

    async with (
        listening() as endpoint,
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": key}, timeout=40) as client,
    ):
        hook = {"url": endpoint.url, "events": ["lead.assigned"]}
        secret = (await client.post("/webhooks", json=hook)).json()["secret"]
        operator = (await client.post("/operators", json={"name": "Ann Example"})).json()
        source = (await client.post("/sources", json={"name": "Shop"})).json()
        weights = [{"operator_id": operator["id"], "weight": 1}]
        assert (await client.post(f"/sources/{source['id']}/weights", json=weights)).status_code == 200

        body = {"lead_external_id": "customer_1", "source_id": source["id"]}
        made = await client.post("/requests?wait=30", json=body)

        assert (made.status_code, made.json()["operator_name"]) == (201, "Ann Example")
        await eventually(lambda: endpoint.heard, within=30)
        headers, told = endpoint.heard[0]
        assert Webhook(secret).verify(told, headers)["data"]["agent_code"] == operator["code"]

        listed = (await stack.run("key", "list", "--json")).json["keys"]
        assert [(each["name"], each["role"], key.startswith(each["hint"])) for each in listed] == [
            ("e2e", "admin", True)
        ]
        await stack.run("key", "revoke", "e2e")
        assert (await client.get("/operators")).status_code == 401

    replica = stack.one("api")
    with stack.unattended(replica):
        assert await asyncio.to_thread(replica.stop) == 0
