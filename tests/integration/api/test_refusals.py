"""Who may not, and what may not: each answered by a problem, and by nothing that tells more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from services.api.app import create_app
from services.api.tables import safe
from services.cli.keys import Role, create_key, revoke_key
from shared.db.session import open_database
from shared.messaging.publisher import open_publisher
from shared.settings import Settings
from tests.api import Api, declare, serving
from tests.driving import execute

PROBLEM = "application/problem+json"

EVERYTHING = [
    ("GET", "/operators"),
    ("GET", "/requests"),
    ("POST", "/requests"),
    ("GET", "/sheets/S1/pdf"),
    ("POST", "/sheets/returned"),
    ("POST", "/imports"),
    ("GET", "/imports/1/rejected"),
    ("GET", "/exports/leads.csv"),
    ("GET", "/deadletters/groups"),
    ("POST", "/deadletters/replays"),
    ("GET", "/keys"),
    ("GET", "/no/such/thing"),
]


def is_problem(response: httpx.Response, status: int) -> bool:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    assert response.json()["status"] == status
    assert "Traceback" not in response.text
    return True


async def test_without_a_key_nothing(alone: Api) -> None:
    """No key, a forged one, one that is revoked or expired: 401 everywhere, documents and uploads too."""
    revoked = (await create_key(alone.database, name="gone", role=Role.ADMIN, actor="test")).key
    await revoke_key(alone.database, "gone")
    expired = (await create_key(alone.database, name="old", role=Role.ADMIN, actor="test", days=1)).key
    await execute(alone.database, "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE name = 'old'")
    forged = alone.key[:-4] + "AAAA"
    strangers: list[dict[str, str]] = [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": forged},
        {"Authorization": f"Bearer {revoked}"},
        {"Authorization": f"Bearer {expired}"},
        {"Authorization": "Basic YTpi"},
    ]
    async with httpx.AsyncClient(base_url=alone.url) as client:
        for method, path in EVERYTHING:
            assert is_problem(await client.request(method, path), 401)
        for headers in strangers:
            assert is_problem(await client.get("/operators", headers=headers), 401)


async def test_who_guesses_keys_is_slowed_down(alone: Api) -> None:
    async with httpx.AsyncClient(base_url=alone.url) as client:
        answers = [(await client.get("/operators", headers={"X-API-Key": f"ll_{n}"})).status_code for n in range(60)]

    assert set(answers) == {401, 429}


async def test_health_and_documents_are_open(alone: Api) -> None:
    async with httpx.AsyncClient(base_url=alone.url) as client:
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/redoc", "/metrics"):
            assert (await client.get(path)).status_code == 200, path
        page = (await client.get("/docs")).text + (await client.get("/redoc")).text
        assert "https://" not in page.replace("https://fastapi.tiangolo.com", ""), "all assets are ours"
        for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png"):
            assert f"/docs-assets/{asset}" in page
            assert (await client.get(f"/docs-assets/{asset}")).status_code == 200
        assert is_problem(await client.get("/docs-assets/../../etc/passwd"), 401)
        assert is_problem(await client.get("/docs-assets/%2e%2e/%2e%2e/core.py"), 404)
        assert (await client.get("/openapi.json")).json()["openapi"] == "3.1.0"
        metrics = (await client.get("/metrics")).text.splitlines()
        assert 'leadline_api_requests_total{method="GET",status="401"} 1.0' in metrics
        assert any(line.startswith("leadline_build_info{") and 'service="api"' in line for line in metrics)


async def test_a_role_does_what_it_may(alone: Api, settings: Settings) -> None:
    """A viewer sees, an operator changes, an admin says who and where to: anything else is 403."""
    await declare(settings)
    hook = {"url": "https://crm.example.com/hook", "events": ["lead.assigned"]}
    viewer, operator = await alone.client_of(Role.VIEWER), await alone.client_of(Role.OPERATOR)
    async with viewer, operator:
        assert (await viewer.get("/operators")).status_code == 200
        assert is_problem(await viewer.post("/operators", json={"name": "Ann Example"}), 403)
        assert is_problem(await viewer.post("/run-now"), 403)
        assert is_problem(await viewer.post("/deadletters/discard", json={"all": True, "reason": "none"}), 403)
        assert is_problem(await viewer.post("/imports", files={"file": b"a,b"}), 403)
        assert (await operator.post("/operators", json={"name": "Ann Example"})).status_code == 201
        assert is_problem(await operator.post("/webhooks", json=hook), 403)
        assert is_problem(await operator.get("/webhooks"), 403)
        assert is_problem(await operator.post("/keys", json={"name": "mine", "role": "admin"}), 403)
    assert (await alone.client.post("/webhooks", json=hook)).status_code == 201


async def test_who_did_it_stands_in_the_audit_log(alone: Api) -> None:
    await alone.post("/operators", {"name": "Ann Example"})

    async with alone.database.reading() as connection:
        rows = await connection.exec_driver_sql("SELECT actor FROM audit_logs WHERE table_name = 'agents'")
        assert [row.actor for row in rows] == ["api:test"]


async def test_every_error_is_a_problem(alone: Api) -> None:
    client = alone.client
    assert is_problem(await client.get("/no/such/thing"), 404)
    assert is_problem(await client.put("/operators"), 405)
    assert is_problem(await client.get("/operators/0"), 422)
    assert is_problem(await client.get(f"/operators/{2**63}"), 422)
    assert is_problem(await client.get("/operators?cursor=never"), 422)
    assert is_problem(await client.post("/operators", content=b"{"), 422)
    assert is_problem(await client.post("/operators", json={"name": " "}), 422)
    assert is_problem(await client.post("/requests", json={"lead_external_id": "c", "source_id": 99}), 404)
    assert is_problem(await client.get("/leads/unknown/explain"), 404)
    assert is_problem(await client.post("/run-now"), 409)
    assert is_problem(await client.post("/run-now?route=unknown"), 409)
    missing = await client.post("/requests", json={})
    assert is_problem(missing, 422)
    assert {each["field"] for each in missing.json()["errors"]} == {"body.lead_external_id", "body.source_id"}


async def test_what_is_written_in_a_filter_is_looked_for_and_not_run(alone: Api) -> None:
    places = (
        ("/leads", "q"),
        ("/leads", "route"),
        ("/unassigned", "reason"),
        ("/sheets", "agent"),
        ("/deadletters", "group"),
        ("/requests", "crm_lead_id"),
    )
    for written in ("' OR 1=1 --", "'; DROP TABLE leads; --", "%", "_", "\\", "\U0001f600", "a" * 100):
        for path, name in places:
            assert await alone.get(path, **{name: written}) in ([], {"items": [], "next": None}), path
    for path, name in places:
        assert is_problem(await alone.client.get(path, params={name: "a\x00b"}), 422)


async def test_no_path_leads_out_of_the_store(alone: Api, tmp_path: Path) -> None:
    """A sheet is found by its row: what a caller writes is a key, and never a path."""
    secret = tmp_path / "secret.pdf"
    secret.write_bytes(b"%PDF secret")
    for key in ("../secret.pdf", "..%2Fsecret.pdf", "%2e%2e/secret.pdf", str(secret), "....//secret.pdf"):
        response = await alone.client.get(f"/sheets/{key}/pdf")
        assert response.status_code == 404, key
        assert "secret" not in response.text or "there is no sheet" in response.text or "Not Found" in response.text
        assert b"%PDF" not in response.content


async def test_too_much_is_refused(settings: Settings) -> None:
    """A body that says that it is too large, and one that does not say it: 413. More requests than the rate: 429."""
    small = settings.model_copy(update={"api_body_bytes": 2_000, "api_upload_bytes": 5_000, "api_rate": 5.0})
    async with serving(small) as api:

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b" " * 1_000

        said = await api.client.post("/operators", json={"name": "x" * 3_000})
        unsaid = await api.client.post("/operators", content=endless())
        upload = await api.client.post("/imports", files={"file": b"x" * 6_000})
        answers = await asyncio.gather(*(api.client.get("/operators") for _ in range(40)))
        late = [each for each in answers if each.status_code == 429]

    assert all(is_problem(each, 413) for each in (said, unsaid, upload))
    assert late
    assert is_problem(late[0], 429)
    assert int(late[0].headers["retry-after"]) >= 1


async def test_a_version_that_is_gone_is_not_overwritten(alone: Api) -> None:
    """If-Match: 412 where somebody else was first, 428 where it has to be said and is not."""
    made = await alone.post("/operators", {"name": "Ann Example", "max_load": 5})
    url = f"/operators/{made['id']}"
    first = (await alone.client.get(url)).headers["etag"]

    changed = await alone.client.patch(url, json={"max_load": 6}, headers={"If-Match": first})
    late = await alone.client.patch(url, json={"max_load": 7}, headers={"If-Match": first})
    source = await alone.post("/sources", {"name": "Shop"})
    unsaid = await alone.client.patch(f"/routes/{source['route']}", json={"priority": 1})
    etag = (await alone.client.get(f"/routes/{source['route']}")).headers["etag"]
    said = await alone.client.patch(f"/routes/{source['route']}", json={"priority": 1}, headers={"If-Match": etag})

    assert (changed.status_code, changed.json()["max_load"]) == (200, 6)
    assert is_problem(late, 412)
    assert is_problem(unsaid, 428)
    assert (said.status_code, said.json()["priority"]) == (200, 1)


async def test_a_create_that_is_sent_again_is_the_same(alone: Api) -> None:
    """Sent at the same time, too: one operator, one answer."""
    body = {"name": "Ann Example"}

    answers = await asyncio.gather(*(alone.post("/operators", body, key="once") for _ in range(4)))
    other = await alone.client.post("/operators", json={"name": "Ben"}, headers={"Idempotency-Key": "once"})

    assert len({each["id"] for each in answers}) == 1
    assert len(await alone.get("/operators")) == 1
    assert is_problem(other, 422)


async def test_pages_follow_each_other(alone: Api) -> None:
    for number in range(5):
        await alone.post("/operators", {"name": f"Operator {number}"})

    names, url = [], "/operators?limit=2"
    while url:
        page = await alone.client.get(url)
        names += [each["name"] for each in page.json()]
        url = page.links.get("next", {}).get("url", "")

    assert names == [f"Operator {number}" for number in range(5)]


async def test_without_a_broker_reads_go_on(settings: Settings) -> None:
    """What needs the broker is 503 with Retry-After; what does not is answered, and ready says so."""
    broken = settings.model_copy(update={"amqp_url": "amqp://guest:guest@127.0.0.1:1/"})
    async with serving(broken) as api:
        source = await api.post("/sources", {"name": "Shop"})
        refused = await api.client.post("/requests", json={"lead_external_id": "c", "source_id": source["id"]})
        ready = await api.get("/readyz")

        assert is_problem(refused, 503)
        assert refused.headers["retry-after"] == "5"
        assert (ready["broker"], ready["database"]) == ("away", "answers")
        assert await api.get("/requests") == []
        assert await api.get("/routes/standings")


async def test_without_a_database_nothing_is_answered_but_health(settings: Settings) -> None:
    nowhere = settings.database.rpartition("/")[0] + "/no_such_database"
    async with open_database(nowhere) as database, open_publisher(settings.amqp_url, "test") as publisher:
        transport = httpx.ASGITransport(create_app(settings, database, publisher))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert is_problem(await client.get("/operators", headers={"X-API-Key": "ll_key"}), 503)
            assert is_problem(await client.get("/readyz"), 503)
            assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("content", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\uff1d1", "'\uff1d1"),
        ("+919820012345", "+919820012345"),
        ("Ann", "Ann"),
        (-5, -5),
        (timedelta(0), "0:00:00"),
        (None, None),
    ],
)
def test_no_cell_is_a_formula(content: object, cell: object) -> None:
    assert safe(content) == cell
