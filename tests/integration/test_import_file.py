"""`leadline import`: what is published, counted, and written beside the input; and the command as a person calls it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import aio_pika
import pytest
import typer
from typer.testing import CliRunner

from services.cli.importing import CHUNK, import_command, import_file
from services.ingest.files import ImportFileError, ReadOptions
from shared.messaging import topology
from shared.messaging.publisher import Outgoing, PublishError, open_publisher

HEADER = "LEADID,Last Name,Email,Lead Source,Lead Status,Created Time,CONVERTED"
OPEN = '7001,Okoye,o@example.com,Trade Show,Contacted,"15 Apr, 2021 00:03:00",No'
CLOSED = '7002,Roe,r@example.com,,Junk Lead,"15 Apr, 2021 00:03:00",No'
BAD_DATE = "7003,Poe,p@example.com,,Contacted,soon,No"
TOO_WIDE = "7004,Doe,d@example.com,,Contacted,,No,what is this"
NO_SOURCE = "7005,Ames,a@example.com,,Contacted,,No"

OPTIONS = ReadOptions()


class Sent(list[Outgoing]):
    """Takes what is published, and remembers in which pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[int] = []

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.pieces.append(len(messages))
        self.extend(messages)


def a_file(folder: Path, *lines: str) -> Path:
    path = folder / "leads.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("import")(import_command)
    return app


async def test_open_leads_are_sent_closed_ones_counted_and_bad_ones_written_beside_the_file(tmp_path: Path) -> None:
    sent = Sent()

    summary = await import_file(
        a_file(tmp_path, HEADER, OPEN, CLOSED, BAD_DATE, TOO_WIDE, NO_SOURCE), OPTIONS, publish=sent.publish
    )

    assert [(message.routing_key, message.key) for message in sent] == [
        ("lead.created", "zoho:7001"),
        ("lead.created", "zoho:7005"),
    ]
    assert [json.loads(message.body)["source"] for message in sent] == ["Trade Show", "Unknown"]
    assert (summary.rows, summary.sent, summary.skipped_closed, summary.rejected) == (5, 2, 1, 2)
    assert summary.closed_by == {"Lead Status: Junk Lead": 1}
    assert summary.rejected_file == tmp_path / "leads.rejected.csv"
    with summary.rejected_file.open(encoding="utf-8-sig", newline="") as file:
        header, bad_date, too_wide = csv.reader(file)
    assert header == ["rejected line", "rejected reason", *HEADER.split(",")]
    assert (bad_date[0], bad_date[2], too_wide[0]) == ("4", "7003", "5")
    assert "created_at: 'soon' is no date" in bad_date[1]
    assert too_wide[1] == "has 8 cells where the header has 7"


async def test_the_same_file_twice_sends_the_same_messages(tmp_path: Path) -> None:
    path = a_file(tmp_path, "Name,Phone", "Ana Lima,555-0100", "Bo Roe,555-0101", "Ana Lima,555-0100")
    once, twice = Sent(), Sent()

    await import_file(path, OPTIONS, publish=once.publish)
    await import_file(path, OPTIONS, publish=twice.publish)

    assert once == twice
    assert len({message.key for message in once}) == 2


async def test_the_corrected_file_of_rejected_rows_is_imported_as_what_it_was(tmp_path: Path) -> None:
    summary = await import_file(a_file(tmp_path, HEADER, OPEN, BAD_DATE), OPTIONS, publish=None)
    assert summary.rejected_file
    corrected = summary.rejected_file.read_text("utf-8-sig").replace(",soon,", ',"15 Apr, 2021 00:03:00",')
    summary.rejected_file.write_text(corrected, "utf-8")
    sent = Sent()

    again = await import_file(summary.rejected_file, OPTIONS, publish=sent.publish)

    assert (again.system, again.rejected_file, [message.key for message in sent]) == ("zoho", None, ["zoho:7003"])
    assert "rejected line" not in json.loads(sent[0].body)["attributes"]


async def test_a_large_file_is_sent_in_chunks(tmp_path: Path) -> None:
    sent = Sent()

    await import_file(
        a_file(tmp_path, "id,Name", *(f"{number},Ana" for number in range(2 * CHUNK + 1))),
        OPTIONS,
        publish=sent.publish,
    )

    assert sent.pieces == [CHUNK, CHUNK, 1]


async def test_rejected_rows_go_to_the_working_directory_where_the_folder_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leads.rejected.csv").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    summary = await import_file(a_file(tmp_path, HEADER, BAD_DATE), OPTIONS, publish=None)

    assert summary.rejected_file == tmp_path / "here" / "leads.rejected.csv"
    assert summary.rejected_file.exists()


async def test_a_broker_that_goes_away_stops_the_import_with_what_was_sent(tmp_path: Path) -> None:
    async def publish(messages: Sequence[Outgoing]) -> None:
        if b'"file:500"' in messages[0].body:
            raise PublishError("the broker does not answer")

    path = a_file(tmp_path, "id,Name", *(f"{number},Ana" for number in range(2 * CHUNK)))

    with pytest.raises(ImportFileError) as stopped:
        await import_file(path, OPTIONS, publish=publish)
    assert str(stopped.value) == (
        "stopped after 500 leads were sent: the broker does not answer, see LEADLINE_AMQP_URL; "
        "import the file again, what has arrived is not doubled"
    )


async def test_a_broker_that_is_away_from_the_start_is_told_with_its_setting(tmp_path: Path) -> None:
    async with open_publisher("amqp://guest:guest@127.0.0.1:1/", "leadline-import") as publisher:
        with pytest.raises(ImportFileError, match=r"^no lead was confirmed: the broker does not answer: ") as stopped:
            await import_file(a_file(tmp_path, HEADER, OPEN), OPTIONS, publish=publisher.publish)
    assert str(stopped.value).endswith(", see LEADLINE_AMQP_URL")
    assert "again" not in str(stopped.value)


async def test_each_lead_arrives_at_ingests_queue(tmp_path: Path, amqp_url: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel, open_publisher(amqp_url, "leadline-import") as publisher:
        await topology.declare(channel)

        await import_file(a_file(tmp_path, HEADER, OPEN, CLOSED, NO_SOURCE), OPTIONS, publish=publisher.publish)

        queue = await channel.declare_queue("ingest", passive=True)
        arrived = [await queue.get(timeout=5), await queue.get(timeout=5)]
    assert [message.correlation_id for message in arrived] == ["zoho:7001", "zoho:7005"]
    assert json.loads(arrived[0].body)["lead_id"] == "zoho:7001"


def test_a_dry_run_needs_no_broker_and_says_what_would_be_sent(tmp_path: Path, app: typer.Typer) -> None:
    path = a_file(tmp_path, "id,Name,created_at", "1,Ana,04/05/2024", "2,Bo,25/12/2024", "3,Jo,12/31/2024")

    result = CliRunner().invoke(app, [str(path), "--dry-run"])

    assert result.exit_code == 0, result.output
    assert "2  would be sent (dry run)" in result.output
    assert "1  rejected, see" in result.output
    assert "dates like 04/05/2024 were read day first (line 3 has 25/12/2024)" in result.output


def test_the_summary_is_also_one_json_object(tmp_path: Path, app: typer.Typer) -> None:
    path = a_file(tmp_path, "Kunde,Fone", "Ana Lima,555-0100")

    result = CliRunner().invoke(app, [str(path), "--dry-run", "--json", "--map", "mobile_number=Fone"])

    summary = json.loads(result.output)
    assert summary.pop("seconds") >= 0
    assert summary == {
        "file": str(path),
        "kind": "CSV, UTF-8",
        "system": "file",
        "is_dry_run": True,
        "rows": 1,
        "sent": 1,
        "skipped_closed": 0,
        "closed_by": {},
        "rejected": 0,
        "rejected_file": None,
        "date_order": None,
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--map", "customer_name"], "write FIELD=COLUMN"),
        (["--map", "custumer_name=Kunde"], "did you mean customer_name"),
        ([], "no column that is known"),
    ],
)
def test_what_cannot_be_imported_is_one_error_in_words(
    tmp_path: Path, app: typer.Typer, arguments: list[str], says: str
) -> None:
    path = a_file(tmp_path, "Kunde,Fone", "Ana Lima,555-0100")

    result = CliRunner().invoke(app, [str(path), "--dry-run", *arguments])

    assert isinstance(result.exception, ImportFileError)
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)
