"""mini-crm's own words: its curl lines as they are written, and the three ways in which it tests itself."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared.settings import Settings
from tests.api import Api, declare
from tests.waiting import eventually

OPERATORS = r"""
curl -X POST http://localhost:8000/operators \
  -H "Content-Type: application/json" \
  -d '{"name": "Alice", "is_active": true, "max_load": 5}'

curl -X POST http://localhost:8000/operators \
  -H "Content-Type: application/json" \
  -d '{"name": "Bob", "is_active": true, "max_load": 10}'
"""
SOURCE = r"""
curl -X POST http://localhost:8000/sources \
  -H "Content-Type: application/json" \
  -d '{"name": "Telegram Bot", "description": "Main support channel"}'
"""
WEIGHTS = r"""
curl -X POST http://localhost:8000/sources/1/weights \
  -H "Content-Type: application/json" \
  -d '[{"operator_id": 1, "weight": 30}, {"operator_id": 2, "weight": 70}]'
"""
REQUEST = r"""
curl -X POST http://localhost:8000/requests \
  -H "Content-Type: application/json" \
  -d '{
    "lead_external_id": "customer_001",
    "source_id": 1,
    "message": "Need help with setup",
    "lead_name": "John Customer"
  }'
"""
STATISTICS = "curl http://localhost:8000/requests/distribution/stats"


class Shell:
    """Runs lines as they are; curl's own settings send them to the API under test, with a key."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._home = folder
        settings = f"""
            silent
            header = "X-API-Key: {api.key}"
            connect-to = "localhost:8000:{urlsplit(api.url).netloc}"
            write-out = "\\n%{{http_code}}\\n"
        """
        (folder / ".curlrc").write_text("\n".join(line.strip() for line in settings.splitlines()))

    async def run(self, lines: str) -> list[tuple[int, Any]]:
        """Each command's code and JSON."""
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-ec",
            lines,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "CURL_HOME": str(self._home)},
        )
        output, _ = await shell.communicate()
        assert shell.returncode == 0
        answers = re.findall(r"(.*)\n(\d{3})\n", output.decode())
        return [(int(code), json.loads(body)) for body, code in answers]


@pytest.fixture
def shell(api: Api, tmp_path: Path) -> Shell:
    return Shell(api, tmp_path)


async def test_the_curl_lines_run_as_they_are_written(shell: Shell) -> None:
    (alice_code, alice), (_, bob) = await shell.run(OPERATORS)
    ((_, source),) = await shell.run(SOURCE)
    ((weights_code, weights),) = await shell.run(WEIGHTS)
    ((request_code, request),) = await shell.run(REQUEST)
    ((_, (statistics,)),) = await shell.run(STATISTICS)

    assert (alice_code, weights_code, request_code) == (201, 200, 201)
    assert (alice["id"], alice["name"], alice["is_active"], alice["max_load"]) == (1, "Alice", True, 5)
    assert (bob["id"], source["id"], source["name"]) == (2, 1, "Telegram Bot")
    assert [(each["operator_id"], each["weight"]) for each in weights] == [(1, 30), (2, 70)]
    assert request["operator_id"] in {1, 2}
    assert request["operator_name"] == {1: "Alice", 2: "Bob"}[request["operator_id"]]
    assert {name: request[name] for name in ("id", "lead_id", "source_id", "status", "message")} == {
        "id": 1,
        "lead_id": 1,
        "source_id": 1,
        "status": "active",
        "message": "Need help with setup",
    }
    assert statistics["total_requests"] == 1
    assert [each["operator_id"] for each in statistics["operators"]] == [request["operator_id"]]


async def operator(api: Api, name: str, **more: Any) -> int:
    return int((await api.post("/operators", {"name": name, **more}))["id"])


async def source(api: Api, name: str, weights: dict[int, int]) -> int:
    source_id = int((await api.post("/sources", {"name": name}))["id"])
    body = [{"operator_id": operator_id, "weight": weight} for operator_id, weight in weights.items()]
    await api.post(f"/sources/{source_id}/weights", body, expect=200)
    return source_id


async def request(api: Api, source_id: int, customer: str = "customer_1", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await api.post(
        "/requests?wait=10", {"lead_external_id": customer, "source_id": source_id, **more}
    )
    return made


async def test_weighted_distribution(api: Api) -> None:
    """Weights of 20 and 80: of 100 requests about a fifth go to the first."""
    first, second = await operator(api, "Ann Example"), await operator(api, "Ben Example")
    source_id = await source(api, "Shop", {first: 20, second: 80})

    await asyncio.gather(*(request(api, source_id, f"customer_{number}") for number in range(100)))

    (shares,) = await api.get("/requests/distribution/stats")
    counts = {each["operator_id"]: each["requests"] for each in shares["operators"]}
    assert counts[first] + counts[second] == 100
    assert 8 <= counts[first] <= 34  # three standard deviations around 20


async def test_load_limits(api: Api) -> None:
    """Who has two of two gets no third; one closed, the next request finds the place."""
    only = await operator(api, "Ann Example", max_load=2)
    source_id = await source(api, "Shop", {only: 1})

    first = await request(api, source_id)
    second = await request(api, source_id)
    third = await request(api, source_id)
    closed = await api.client.patch(f"/requests/{first['id']}/status?status=closed")
    fourth = await request(api, source_id)

    assert [each["operator_id"] for each in (first, second, third, fourth)] == [only, only, None, only]
    assert third["reason"]
    assert closed.status_code == 200
    assert closed.json()["status"] == "closed"
    assert (await api.get(f"/operators/{only}"))["current_load"] == 2
    assert (await api.get(f"/requests/{third['id']}"))["operator_id"] is None, "it waits for a person"


async def test_multiple_sources(api: Api) -> None:
    """A weight of 0 is never chosen, one of 100 for another source is."""
    only = await operator(api, "Ann Example")
    a, b = await source(api, "A", {only: 100}), await source(api, "B", {only: 0})

    assert (await request(api, a))["operator_id"] == only
    assert (await request(api, b))["operator_id"] is None

    (customer,) = await api.get("/requests/leads/all")
    assert customer["external_id"] == "customer_1"
    assert [each["source_id"] for each in customer["requests"]] == [a, b]


async def test_a_source_without_anybody_keeps_its_requests(api: Api) -> None:
    source_id = (await api.post("/sources", {"name": "Quiet"}))["id"]

    made = await request(api, source_id)

    assert (made["operator_id"], made["state"]) == (None, "pending")
    assert made["reason"] == "route has no members"


async def test_requests_are_filtered(api: Api) -> None:
    one, two = await operator(api, "Ann Example"), await operator(api, "Ben Example")
    a, b = await source(api, "A", {one: 1}), await source(api, "B", {two: 1})
    of_a, of_b = await request(api, a), await request(api, b)

    assert [each["id"] for each in await api.get("/requests")] == [of_b["id"], of_a["id"]]
    assert [each["id"] for each in await api.get("/requests", source_id=a)] == [of_a["id"]]
    assert [each["id"] for each in await api.get("/requests", operator_id=two)] == [of_b["id"]]
    assert await api.get("/requests", status="closed") == []


async def test_a_closed_request_takes_a_place_again_or_not(api: Api) -> None:
    """status=active on a closed request: 200 with its operator while there is a place, else 409 with the reason."""
    only = await operator(api, "Ann Example", max_load=1)
    source_id = await source(api, "Shop", {only: 1})
    first = await request(api, source_id)
    url = f"/requests/{first['id']}/status"

    await api.client.patch(url, params={"status": "closed"})
    again = await api.client.patch(url, params={"status": "active"})
    await api.client.patch(url, params={"status": "closed"})
    await request(api, source_id)
    refused = await api.client.patch(url, params={"status": "active"})

    assert (again.status_code, again.json()["operator_id"]) == (200, only)
    assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
    assert "no place with its agent" in refused.json()["detail"]


async def test_a_call_is_a_new_request_unless_it_says_otherwise(api: Api) -> None:
    """Twice is two; under one Idempotency-Key, or one lead_id, it is one; another body under the key is refused."""
    source_id = await source(api, "Shop", {await operator(api, "Ann Example"): 1})
    body = {"lead_external_id": "customer_1", "source_id": source_id}

    first, second = await api.post("/requests", body), await api.post("/requests", body)
    keyed = [await api.post("/requests", body, key="order-1") for _ in range(2)]
    named = [await api.post("/requests", {**body, "lead_id": "X1"}) for _ in range(2)]
    other = await api.client.post(
        "/requests", json={**body, "message": "other"}, headers={"Idempotency-Key": "order-1"}
    )

    assert first["id"] != second["id"]
    assert keyed[0] == keyed[1]
    assert named[0]["id"] == named[1]["id"]
    assert other.status_code == 422
    assert await api.get("/requests") == [named[0], keyed[0], second, first]


async def test_nobody_answers_in_time(alone: Api, settings: Settings) -> None:
    """Without ingest a request is sent all the same: 202, with what is known, and no id yet."""
    await declare(settings)
    source_id = (await alone.post("/sources", {"name": "Shop"}))["id"]

    made = await alone.post("/requests?wait=0.1", {"lead_external_id": "c", "source_id": source_id}, expect=202)

    assert (made["id"], made["operator_id"], made["state"]) == (None, None, "pending")
    assert "ingest has not stored it" in made["reason"]


async def test_many_wait_at_once_by_one_look(api: Api) -> None:
    """However many wait, whoever is answered first goes first, and nobody looks when nobody waits any more."""
    source_id = await source(api, "Shop", {await operator(api, "Ann Example"): 1})

    made = await asyncio.gather(*(request(api, source_id, f"customer_{number}") for number in range(30)))

    assert len({each["id"] for each in made}) == 30
    assert all(each["operator_id"] for each in made)


async def test_weights_are_replaced_as_a_whole(api: Api) -> None:
    one, two = await operator(api, "Ann Example"), await operator(api, "Ben Example")
    source_id = await source(api, "Shop", {one: 10, two: 20})

    await api.post(f"/sources/{source_id}/weights", [{"operator_id": two, "weight": 5}], expect=200)

    weights = await api.get(f"/sources/{source_id}/weights")
    assert [(each["operator_id"], each["weight"]) for each in weights] == [(two, 5)]
    assert (await request(api, source_id))["operator_id"] == two

    async def is_told() -> bool:
        return bool(await api.get("/requests", operator_id=two))

    await eventually(is_told)
