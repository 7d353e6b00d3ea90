"""The generated contract under docs/ is up to date and tells what the code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.cli.schema import ASYNCAPI_FILE, FLOWS, OUTSIDERS, SCHEMA_FOLDER, asyncapi, contract_files, schema_command
from shared.events import BY_TYPE, EVENTS
from shared.messaging.topology import WORK_QUEUES, queues_for

DOCS = Path(__file__).parents[2] / "docs"
RENEW = ".venv/bin/leadline schema --out docs"


@pytest.mark.parametrize("name", contract_files())
def test_a_file_is_up_to_date(name: str) -> None:
    path = DOCS / name
    assert path.is_file(), f"docs/{name} is missing; run: {RENEW}"
    is_same = path.read_text(encoding="utf-8") == contract_files()[name]
    assert is_same, f"docs/{name} is out of date; run: {RENEW}"


def test_no_file_is_left_over() -> None:
    known = {DOCS / name for name in contract_files()}
    left_over = sorted(path.name for path in (DOCS / SCHEMA_FOLDER).iterdir() if path not in known)
    assert not left_over, f"no event has these: delete them from docs/{SCHEMA_FOLDER}/"


def test_every_event_has_a_flow_and_the_queues_agree_with_it() -> None:
    """A receiver is a service of ours exactly where the topology has a queue of its for the event."""
    assert set(FLOWS) == set(BY_TYPE)
    for event_type, flow in FLOWS.items():
        takers = {queue.partition(".")[0] for queue in queues_for(event_type)}
        assert set(flow.receivers) - OUTSIDERS == takers, event_type
        assert BY_TYPE[event_type].is_ours == bool(takers), event_type


def test_every_queue_and_event_is_in_the_document() -> None:
    document = asyncapi()
    assert list(document["channels"]) == [event.type for event in EVENTS]
    received = {
        (operation["x-queue"], operation["channel"]["$ref"].removeprefix("#/channels/"))
        for operation in document["operations"].values()
        if operation["action"] == "receive"
    }
    assert received == {(queue.name, event_type) for queue in WORK_QUEUES for event_type in queue.event_types}


def test_every_reference_leads_somewhere() -> None:
    document = json.loads(contract_files()[ASYNCAPI_FILE])

    def follow(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                target = document
                for part in value["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for inner in value.values():
                follow(inner)
        elif isinstance(value, list):
            for inner in value:
                follow(inner)

    follow(document)


def test_a_schema_says_what_a_client_must_send() -> None:
    schema = json.loads(contract_files()[f"{SCHEMA_FOLDER}/lead.created.json"])
    assert schema["required"] == ["lead_id", "source"]
    assert schema["additionalProperties"] is True
    lead_id = schema["properties"]["lead_id"]
    assert (lead_id["type"], lead_id["minLength"], lead_id["maxLength"]) == (["string", "integer"], 1, 128)


def test_the_command_writes_all_files_or_prints_asyncapi(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema_command(tmp_path / "new")
    written = {str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*.json")}
    assert written == set(contract_files())
    assert f"{len(written)} files" in capsys.readouterr().out
    schema_command()
    assert json.loads(capsys.readouterr().out)["asyncapi"] == "3.0.0"
