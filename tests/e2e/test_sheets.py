"""The paper loop with real processes: lead in, sheet out, filled in, back by command line and by folder, lead won."""

from __future__ import annotations

import json

import pytest

from services.documents.sheet import field_name
from tests.feeding import a_lead
from tests.filling import by_pdfium, by_pypdf
from tests.stack import CONSUMERS, Stack
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)


async def test_a_sheet_comes_back_and_wins_its_lead(stack: Stack) -> None:
    """What the agent typed is stored and told, the lead is closed as won; a wrong row waits and is put right."""
    drop = stack.folder / "drop"
    stack.extra = {"LEADLINE_DROP_DIR": str(drop), "LEADLINE_DROP_EVERY_S": "0.2"}
    await stack.listen("crm", ("leads", "outcome.recorded"))
    await stack.start(*CONSUMERS, "receiver")
    await stack.publish("lead.created", a_lead(1), a_lead(2))
    await eventually(lambda: sheets_are_ready(stack, 2), within=40)
    first, second = await stack.rows("SELECT sheet_key, file_path FROM documents ORDER BY id")
    sheets = {row["sheet_key"]: (stack.sheets / row["file_path"]).read_bytes() for row in (first, second)}

    won = {"conv": "Y", "order_no": "SO-1", "order_date": "31-Jan-25", "value": "₹1,250.50"}
    filled = stack.folder / "filled.pdf"
    filled.write_bytes(by_pypdf(sheets[first["sheet_key"]], named(first["sheet_key"], won)))
    sent = await stack.run("sheets", "return", str(filled), "--json")
    assert [each["status"] for each in sent.json["returned"]] == ["sent"]
    await eventually(lambda: has_outcomes(stack, 1), within=20)
    await eventually(lambda: is_won(stack, first["sheet_key"]), within=20)
    (told,) = [json.loads(message.body) for message in await stack.heard("crm")]
    assert (told["order_number"], told["order_value"], told["is_converted"]) == ("SO-1", "1250.50", True)

    wrong = by_pdfium(sheets[second["sheet_key"]], named(second["sheet_key"], {"order_no": "SO-2"}))
    (drop / "wrong.pdf").write_bytes(wrong)
    await eventually(lambda: has_reviews(stack, "open"), within=20)
    (review,) = (await stack.run("sheets", "reviews", "--json")).json["reviews"]
    assert (review["row"], review["reason"]) == (second["sheet_key"], "Conv is empty, but there is Order No")
    (drop / "right.pdf").write_bytes(by_pypdf(wrong, named(second["sheet_key"], {"conv": "Y"})))
    await eventually(lambda: is_won(stack, second["sheet_key"]), within=20)
    assert (await stack.run("sheets", "reviews", "--json")).json == {"reviews": []}

    story = (await stack.run("sheets", "show", second["sheet_key"], "--json")).json
    assert [row["order_number"] for row in story["rows"]] == ["SO-2"]
    assert [each["received_from"] for each in story["returned"]] == ["drop folder: wrong.pdf", "drop folder: right.pdf"]
    assert [each["status"] for each in story["reviews"]] == ["resolved"]


async def test_what_is_no_sheet_is_refused_at_once(stack: Stack) -> None:
    """Each in words, exit code 1; the good ones of a folder are sent all the same."""
    folder = stack.folder / "back"
    folder.mkdir()
    (folder / "notes.pdf").write_bytes(b"no PDF at all")
    ran = await stack.run("sheets", "return", str(folder), str(stack.folder / "missing.pdf"), "--json")
    assert ran.code == 1
    assert [each["reason"] for each in json.loads(ran.output)["returned"]] == [
        "it is no PDF",
        "it cannot be opened: No such file or directory",
    ]
    unknown = await stack.run("sheets", "show", "lot-0-S1-0001")
    assert (unknown.code, "there is no sheet 'lot-0-S1-0001'" in unknown.errors) == (1, True)


def named(code: str, values: dict[str, str]) -> dict[str, str]:
    """A stream's sheet has one lead, whose code is its key."""
    return {field_name(code, name): value for name, value in values.items()}


async def sheets_are_ready(stack: Stack, count: int) -> bool:
    return await stack.count("documents WHERE status = 'ok'") == count


async def has_outcomes(stack: Stack, count: int) -> bool:
    return await stack.count("lead_assignment_outcomes") == count


async def has_reviews(stack: Stack, status: str) -> bool:
    return await stack.count(f"sheet_reviews WHERE status = '{status}'") == 1


async def is_won(stack: Stack, code: str) -> bool:
    won = f"lead_assignment_code = '{code}' AND assignment_status_id = 4 AND reason = 'won'"
    return await stack.count(f"assignments WHERE {won}") == 1
