"""What mini-crm does not have: leads and their stories, lots, sheets, imports, dead letters, exports."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import openpyxl
import pytest
from pydantic_core import to_json

from services.cli.keys import Role
from shared.events import OutcomeRecorded
from shared.messaging.envelope import Outgoing
from shared.messaging.publisher import open_publisher
from shared.settings import Settings
from shared.sheetkeys import read_keys
from shared.sheetlinks import sign_link
from tests import filling
from tests.api import Api, consuming, declare, serving
from tests.driving import execute, rows
from tests.integration.core import drain
from tests.waiting import eventually

EVIL = '=HYPERLINK("https://evil.example.com")'


async def operator(api: Api, name: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await api.post("/operators", {"name": name, **more})
    return made


async def shop(api: Api, *operators: dict[str, Any], name: str = "Shop") -> dict[str, Any]:
    source: dict[str, Any] = await api.post("/sources", {"name": name})
    weights = [{"operator_id": each["id"], "weight": 1} for each in operators]
    await api.post(f"/sources/{source['id']}/weights", weights, expect=200)
    return source


async def lead(api: Api, lead_id: str, source: str = "Shop", **more: Any) -> dict[str, Any]:
    """A lead, sent and looked at by the assigner."""
    await api.post("/leads", {"lead_id": lead_id, "source": source, **more}, expect=202)

    async def decided() -> Any:
        response = await api.client.get(f"/leads/{lead_id}")
        story = response.json()
        is_decided = response.status_code == 200 and (story["lead"]["agent"] or story["lead"]["reason"])
        return story if is_decided else None

    found: dict[str, Any] = await eventually(decided, within=20)
    return found


async def test_a_lead_is_found_told_and_explained(api: Api) -> None:
    ann, ben = await operator(api, "Ann Example"), await operator(api, "Ben Example", is_active=False)
    await shop(api, ann, ben)

    story = await lead(api, "CRM/1", customer_name="Ira Example 50%", mobile_number="98200 12345")

    assert (story["lead"]["agent"], story["history"][-1]["status"]) == (ann["code"], "Assigned")
    explained = await api.get("/leads/CRM/1/explain")
    assert explained["agent"] == ann["code"]
    assert [each["agent"] for each in explained["candidates"]] == [ben["code"]]
    for q in ("CRM/1", "ira", "50%", "200123"):
        assert [each["lead_id"] for each in (await api.get("/leads", q=q))["items"]] == ["CRM/1"], q
    assert (await api.get("/leads", q="5_%"))["items"] == [], "no wildcards of the caller's"
    assert (await api.get("/leads", status="closed"))["items"] == []

    await api.post("/leads/CRM/1/closed", {"reason": "won"}, expect=202)

    async def is_closed() -> bool:
        return bool((await api.get("/leads/CRM/1"))["lead"]["status"] == "Closed")

    await eventually(is_closed, within=20)


async def test_leads_that_wait_are_given_by_hand(api: Api) -> None:
    """What waits for a person is listed with its reason, and goes to whom a person says."""
    ann = await operator(api, "Ann Example")
    await shop(api)
    await lead(api, "L1")

    (waiting,) = (await api.get("/unassigned"))["items"]
    given = await api.post("/assignments?wait=20", {"lead_ids": ["L1"], "to_agent_code": ann["code"]}, expect=200)

    assert (waiting["lead_id"], waiting["reason"]) == ("L1", "route has no members")
    assert (given["assigned"], given["agents"]) == (1, {ann["code"]: 1})
    assert (await api.get("/unassigned"))["items"] == []
    wrong = await api.client.post("/assignments", json={"lead_ids": ["L2"]})
    assert (wrong.status_code, wrong.json()["detail"]) == (409, "there is no lead 'L2'; ids are the CRM's")


async def test_run_now_twice_is_one_lot(api: Api) -> None:
    """agent-funnel's: the only lot route, without its name; the second within a minute is the same."""
    await shop(api, await operator(api, "Ann Example"))
    etag = (await api.client.get("/routes/Shop")).headers["etag"]
    change = {"policy": "even_split", "mode": "lot"}
    changed = await api.client.patch("/routes/Shop", json=change, headers={"If-Match": etag})
    assert changed.status_code == 200, changed.text
    await lead(api, "L1")

    first = await api.post("/run-now?wait=20", expect=200)
    second = await api.post("/run-now?route=Shop&wait=20", expect=200)

    assert (first["lot"]["assigned"], first["is_same"], second["is_same"]) == (1, False, True)
    assert second["lot"]["id"] == first["lot"]["id"]
    assert [each["id"] for each in (await api.get("/lots"))["items"]] == [first["lot"]["id"]]
    assert (await api.get(f"/lots/{first['lot']['id']}"))["triggered_by"] == "api:test"


async def test_numbers_and_routes(api: Api) -> None:
    ann = await operator(api, "Ann Example")
    await shop(api, ann)
    await lead(api, "L1")

    assert (await api.get("/stats"))["assigned"] == 1
    (fair,) = await api.get("/fairness", route="Shop")
    assert [(each["agent"], each["received"]) for each in fair["members"]] == [(ann["code"], 1)]
    assert (await api.get("/routes/standings"))[0]["next"] == ann["code"]
    assert [each["name"] for each in await api.get("/routes")] == ["Shop"]
    assert (await api.get("/routes/lint"))["routes"] == 1


async def test_a_sheet_goes_out_and_comes_back(api: Api, settings: Settings) -> None:
    """Downloaded as it was made, uploaded filled in, and what the agent wrote is an outcome."""
    await shop(api, await operator(api, "Ann Example"))
    etag = (await api.client.get("/routes/Shop")).headers["etag"]
    await api.client.patch("/routes/Shop", json={"sheets": True}, headers={"If-Match": etag})
    async with consuming(settings, "documents"):
        await lead(api, "L1")

        async def made() -> Any:
            return (await api.get("/sheets"))["items"]

        (sheet,) = await eventually(made, within=30)
        pdf = await api.client.get(f"/sheets/{sheet['sheet']}/pdf")
        assert (pdf.status_code, pdf.headers["content-type"]) == (200, "application/pdf")
        assert pdf.headers["content-disposition"].startswith("attachment; filename*=UTF-8''leads_assignment_")
        assert pdf.content.startswith(b"%PDF")

        await _opens_by_its_signed_link_alone(api, sheet["sheet"])
        code = (await api.get(f"/sheets/{sheet['sheet']}"))["rows"][0]["row"]
        filled = filling.by_pypdf(pdf.content, {f"{code}.remarks": "calls back", f"{code}.converted": "No"})
        returned = await api.client.post("/sheets/returned", files={"file": ("../../back.pdf", filled)})
        assert (returned.status_code, returned.json()["file"]) == (202, "back.pdf"), returned.text
        refused = await api.client.post("/sheets/returned", files={"file": ("x.pdf", b"no PDF")})
        assert refused.status_code == 422

        async def outcome() -> Any:
            return (await api.get("/outcomes"))["items"] or (await api.get("/reviews"))["items"]

        (written,) = await eventually(outcome, within=30)
        assert written["lead_id"] == "L1"
        assert (await api.get("/reviews"))["items"] == []


async def _opens_by_its_signed_link_alone(api: Api, sheet: str) -> None:
    """As a mail has it that could not carry the sheet; no key is needed, and no other link opens it."""
    async with api.database.reading() as connection:
        key = (await read_keys(connection)).signing
    now = datetime.now(UTC)
    link = sign_link(api.url, sheet, now + timedelta(hours=1), key)
    expired = sign_link(api.url, sheet, now - timedelta(seconds=1), key)
    forged = sign_link(api.url, sheet, now + timedelta(hours=1), b"another installation's key")
    async with httpx.AsyncClient() as stranger:
        opened = await stranger.get(link)
        assert (opened.status_code, opened.content[:4]) == (200, b"%PDF"), opened.text
        assert (await stranger.get(expired)).status_code == 410
        assert (await stranger.get(forged)).status_code == 404
        assert (await stranger.get(link.partition("?")[0])).status_code == 404
        await execute(api.database, "UPDATE documents SET status = 'superseded' WHERE sheet_key = :sheet", sheet=sheet)
        assert (await stranger.get(link)).status_code == 410
        await execute(api.database, "UPDATE documents SET status = 'ok' WHERE sheet_key = :sheet", sheet=sheet)


async def test_a_file_is_imported_with_its_progress(api: Api) -> None:
    """Rows that are right are sent, the others downloaded with their reason; a file that is none says so."""
    await shop(api, await operator(api, "Ann Example"))
    content = "lead_id,source,customer_name,stage\n" + "\n".join(f"I{n},Shop,Ann {n},1" for n in range(700))
    content += "\nI999,Shop,Ann,much"

    begun = await api.client.post("/imports", files={"file": ("leads.csv", content.encode())})
    assert begun.status_code == 202, begun.text

    async def over(url: str) -> Any:
        found = await api.get(url)
        return found if found["state"] != "running" else None

    done = await eventually(lambda: over(begun.headers["location"]), within=30)
    assert (done["state"], done["share"], done["rows"], done["sent"]) == ("done", 1.0, 701, 700)
    assert (done["rejected"], done["file_name"], done["created_by"]) == (1, "leads.csv", "api:test")
    rejected = await api.client.get(f"/imports/{done['id']}/rejected")
    assert "I999" in rejected.text

    bad = await api.client.post("/imports", files={"file": ("../x.xlsx", b"PK\x03\x04broken")})
    failed = await eventually(lambda: over(bad.headers["location"]), within=30)
    assert (failed["state"], failed["file_name"]) == ("failed", "x.xlsx")
    assert failed["problem"]
    assert "/tmp" not in failed["problem"]


async def test_dead_letters_are_worked(api: Api, settings: Settings) -> None:
    """Seen in groups, edited, previewed, replayed to their end; discarded and brought back; and who did it."""
    await shop(api, await operator(api, "Ann Example"))
    async with consuming(settings, "deadletters"):
        bad = [{"lead_id": f"D{n}", "source": "Shop", "stage": 9} for n in range(2)]
        await publish(settings, *bad)

        async def letters() -> Any:
            items = (await api.get("/deadletters", status="new"))["items"]
            return items if len(items) == 2 else None

        first, second = await eventually(letters, within=30)
        (group,) = (await api.get("/deadletters/groups"))["groups"]
        assert (group["messages"], group["queue"]) == (2, "ingest")

        many = await api.post("/deadletters/edit", {"all": True, "set": ["stage=8"]}, expect=200)
        assert (many["changed"], many["refused"], many["reasons"][0]["letters"]) == (0, 2, 2)
        many = await api.post("/deadletters/edit", {"all": True, "set": ["customer_name=Ira"]}, expect=200)
        assert (many["changed"], many["refused"]) == (0, 2), "the stage is wrong still"
        first_version = (await api.client.get(f"/deadletters/{first['id']}")).headers["etag"]
        refused = await api.client.patch(f"/deadletters/{first['id']}", json={"set": ["stage=8"]})
        edited = await api.client.patch(f"/deadletters/{first['id']}", json={"set": ["stage=2"]})
        assert (refused.status_code, edited.status_code) == (409, 200), refused.text
        stale = await api.client.patch(
            f"/deadletters/{first['id']}", json={"set": ["stage=1"]}, headers={"If-Match": first_version}
        )
        assert stale.status_code == 412, "it is not as it was read"
        preview = await api.post("/deadletters/preview", {"ids": [first["id"], second["id"]]}, expect=200)
        assert (preview["groups"][0]["would_go_through"], preview["groups"][0]["would_fail_again"]) == (1, 1)

        everything = await api.client.post("/deadletters/replays", json={})
        assert everything.status_code == 422, "not by mistake"
        many = await api.post("/deadletters/edit", {"ids": [first["id"]], "set": ["stage=3"]}, expect=200)
        assert (many["changed"], many["refused"]) == (1, 0)
        begun = await api.post("/deadletters/replays", {"ids": [first["id"]]}, expect=202)

        async def done() -> Any:
            replay = await api.get(f"/deadletters/replays/{begun['id']}")
            return replay if replay["state"] == "done" and not replay["is_running"] else None

        replay = await eventually(done, within=30)
        assert (replay["through"], replay["failed_again"], replay["actor"]) == (1, 0, "api:test")
        assert (await api.client.post(f"/deadletters/replays/{begun['id']}/pause")).status_code == 409

        discarded = await api.post("/deadletters/discard", {"ids": [second["id"]], "reason": "a test"}, expect=200)
        undone = await api.post("/deadletters/undo", {"ids": [second["id"]]}, expect=200)
        assert (discarded["changed"], undone["changed"]) == (1, 1)
        whole = await api.get(f"/deadletters/{second['id']}")
        assert [(each["action"], each["actor"]) for each in whole["actions"]] == [
            ("discard", "api:test"),
            ("undo", "api:test"),
        ]


async def test_a_replay_is_paused_and_gone_on_with(api: Api, settings: Settings) -> None:
    """Nobody consumes what is replayed: it waits for its first outcome, rests when told to, and is gone on with.

    Told by whichever replica of the API: here by one that does not run it, then by the one that does.
    """
    await execute(
        api.database,
        """INSERT INTO dead_letters (content_key, service, queue, event_type, lead_id, body, headers, reason, group_key,
                                     attempts, first_failed_at, failed_at)
           SELECT 'k' || n, 'notifier', 'notifier', 'document.ready', NULL,
                  convert_to('{"document_id": 1, "sheet_key": "s", "agent_code": "0001", "lead_ids": []}', 'UTF8'),
                  '{}', 'a test', 'group', 0, now(), now() FROM generate_series(1, 10) AS n""",
    )
    begun = await api.post("/deadletters/replays", {"all": True}, expect=202)
    url = f"/deadletters/replays/{begun['id']}"

    async def is_under_way() -> bool:
        return bool((await api.get(url))["under_way"])

    async def rests() -> bool:
        return not (await api.get(url))["is_running"]

    async def runs() -> bool:
        return bool((await api.get(url))["is_running"])

    await eventually(is_under_way, within=20)
    assert (await api.client.post(f"{url}/resume")).status_code == 409, "it runs"
    async with serving(settings, name="other") as other:
        await other.post(f"{url}/pause", expect=202)
        await eventually(rests, within=20)
        assert (await other.client.post(f"{url}/pause")).status_code == 409, "it rests"
        await other.post(f"{url}/resume", expect=202)
        await eventually(runs, within=20)
        await api.post(f"{url}/pause", expect=202)
        await eventually(rests, within=20)
    paused = await api.get(url)
    assert (paused["state"], paused["under_way"], paused["waiting"]) == ("open", 1, 9)

    resumed = await api.post(f"{url}/resume", {"rate": 10}, expect=202)
    assert resumed["under_way"] == 1
    await eventually(lambda: api.client.post(f"{url}/pause"), within=5)


@pytest.mark.parametrize("what", ["leads", "assignments", "outcomes", "unassigned", "fairness"])
async def test_exports_hold_no_formula(alone: Api, what: str) -> None:
    """As CSV and as XLSX: what would be a formula is text, in both."""
    await execute(alone.database, "INSERT INTO sources (name) VALUES ('Shop')")
    await execute(
        alone.database,
        """INSERT INTO leads (lead_id, source_id, customer_name, created_at)
           SELECT 'X' || n, 1, :name, now() FROM generate_series(1, 3) AS n""",
        name=EVIL,
    )
    await execute(alone.database, "INSERT INTO assignments (lead_id, reason) SELECT id, :name FROM leads", name=EVIL)
    viewer = await alone.client_of(Role.VIEWER)
    async with viewer:
        as_csv = await viewer.get(f"/exports/{what}.csv")
        as_xlsx = await viewer.get(f"/exports/{what}.xlsx")

    assert (as_csv.status_code, as_xlsx.status_code) == (200, 200)
    table = list(csv.reader(io.StringIO(as_csv.text)))
    sheet = openpyxl.load_workbook(io.BytesIO(as_xlsx.content)).active
    assert sheet is not None
    cells = [[cell for cell in row] for row in sheet.iter_rows()]  # noqa: C416
    assert [cell.value for cell in cells[0]] == table[0]
    assert len(table) == len(cells) == (4 if what in {"leads", "assignments", "unassigned"} else 1)
    assert all(cell.data_type != "f" for row in cells for cell in row)
    assert not any(cell.startswith("=") for row in table for cell in row)


async def test_a_webhook_is_refused_while_nobody_could_be_told(alone: Api, settings: Settings) -> None:
    """Without its queue it would be told of nothing; with it, of all that happens after the answer."""
    hook = {"url": "https://crm.example.com/", "events": ["outcome.recorded"]}
    event = OutcomeRecorded(lead_id="L1", revision=1, lead_assignment_code="L2601010001-1")
    outcome = Outgoing(event.type, event.to_json().encode(), is_mandatory=False)

    refused = await alone.client.post("/webhooks", json=hook)
    assert (refused.status_code, refused.json()["detail"]) == (
        503,
        "the queue 'webhooks' is missing: run `leadline setup`",
    )
    assert await alone.get("/webhooks") == []
    await declare(settings)
    async with open_publisher(settings.amqp_url, "test") as publisher:
        await publisher.publish([outcome])
        await alone.post("/webhooks", hook)
        await publisher.publish([outcome])
    assert len(await drain(settings.amqp_url, "webhooks")) == 1


async def test_keys_and_webhooks(alone: Api, settings: Settings) -> None:
    """A key is shown once and is gone when taken back; a webhook's secret likewise, and it changes by version only."""
    await declare(settings)
    made = await alone.post("/keys", {"name": "partner", "role": "viewer"})
    again = await alone.client.post("/keys", json={"name": "partner"})
    listed = await alone.get("/keys")
    hook = await alone.post("/webhooks", {"url": "https://crm.example.com/", "events": ["lead.assigned"]}, key="h")
    same = await alone.post("/webhooks", {"url": "https://crm.example.com/", "events": ["lead.assigned"]}, key="h")
    inside = await alone.client.post("/webhooks", json={"url": "http://127.0.0.1/", "events": ["lead.assigned"]})
    unsaid = await alone.client.patch(f"/webhooks/{hook['id']}", json={"is_active": False})
    etag = (await alone.client.get(f"/webhooks/{hook['id']}")).headers["etag"]
    off = await alone.client.patch(f"/webhooks/{hook['id']}", json={"is_active": False}, headers={"If-Match": etag})

    assert made["key"].startswith("ll_")
    assert again.status_code == 409
    assert {each["name"] for each in listed} == {"test", "partner"}
    assert "key" not in listed[0]
    assert (await alone.client.delete("/keys/partner")).status_code == 200
    assert (await alone.client.get("/keys", headers={"Authorization": f"Bearer {made['key']}"})).status_code == 401
    assert hook["secret"].startswith("whsec_")
    assert same == hook
    assert "secret" not in (await alone.get("/webhooks"))[0]
    assert (inside.status_code, unsaid.status_code) == (422, 428)
    assert (off.status_code, off.json()["is_active"], off.json()["version"]) == (200, False, 2)
    assert (await alone.get(f"/webhooks/{hook['id']}/deliveries")) == []
    assert (await alone.client.delete(f"/webhooks/{hook['id']}")).status_code == 204
    assert await rows(alone.database, "SELECT * FROM webhooks") == []


async def publish(settings: Settings, *leads: dict[str, Any]) -> None:
    """As a client does that knows nothing of the API, or of what is right."""
    async with open_publisher(settings.amqp_url, "a client") as publisher:
        await publisher.publish([Outgoing("lead.created", to_json(each)) for each in leads])
