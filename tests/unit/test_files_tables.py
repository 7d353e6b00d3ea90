"""Every kind of file is opened as the same table, and one broken row costs itself alone."""

from __future__ import annotations

import base64
import csv
import zlib
from collections.abc import Sequence
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Literal
from zipfile import ZipFile

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest.tables import ImportFileError, Row, open_table

HEADER = ("LEADID", "Last Name", "Lead Source", "Lead Status", "Created Time")
LEADS = (
    ("7001", "Müller", "Trade Show", "Contacted", "04 May, 2024 13:30:00"),
    ("7002", "Okoye", "Trade Show", "Junk Lead", "04 May, 2024 13:30:00"),
)
ISO = "2024-05-04T13:30:00"
#: The same two leads as XLS, deflated: written once by xlwt 1.3 (pure Python), which nothing here needs.
XLS = (
    "eNrtWE9IFFEY/73ZXXfX/LNuGmkgg5CV6SG6hKCruaaFa9YK/SGo0Z3IVndjXAk7mGUeg6BT0UWwQxerS3+oQ906BEYdgiDQgi6d"
    "goIO6vS9b2Z0tQI3SjDmN7zvve977/3em/e9fzOvpktmJu5XzGIFGuHBghlEXpZNUAg6SgiUb5oy6cQBCqaLdYVggByZ58OTwpd+"
    "6UPp71kouOd9ThL4QOEEzqEzndLVNcRe7oMmZB8aSArcIksRyrlXYZa9LDeyvMsln7JsYstVlg1UdkYcx3Sks2aPPYuPKlWcVwTJ"
    "+5DrvGPLLpThhZzFF68Jq6wPzUaf1r/OMiq9BZgEObRNT+mG1DfjNo0UjhHqYrG6aFRtb6+Pxerj8RmUktcn8c1Uga/O8n6muva1"
    "tQuQ/ftyu/839gB5c6X9uuIFRmGe4tUyjkKkvTLHhw5dSwzOYQQbSM23FnlHa3N0f5R28w5tMKN2agM6ZcqCajw9ZPQuaRktMzRY"
    "ALQYupbRE2p334BO9WNz/f26QWTdhpbQ1fiZ9Hkia0mnMlovFfMBB5PpYZ1sB4ZSSVVyyZat7Sa0bLsp5GVYQDKBYk6X8GIM0WvO"
    "3fnyOtbTFTnJllE+YqyDaKt8XZi4JGtQ5SLO8cB6ZaCGa+xkeZlZt3C6gmUplaG4uqvMTuwb4zJXOLea2tnNeBPZlpXeTunxz4ce"
    "VY5/jOyg9FTb7IXSqbeRCVTRwZig+vIZQ62oFTdvSDyOOLGwN633LMt/2sACSsjuu2mftsWYZ2+BxkPC0uToiEVNscfK0jykeRY1"
    "L2lem1msYB5R8tlWgtMDVnnBzD44mmTOW9Qks3SYh8ZZEGuYicJ1n5oku/ILdoXZz9rsllcDcLRsdoXZgza7soy9UQnjgaSiTX0J"
    "+XDhwoULFy5cuHDxhxB8ibQuzl776iwvZn77v848hQX3N8l/i8NI05Ohb8lWpCg2MJzT/NkEn3C4xCrrOP8LJY5Q6waS6OF+JHOe"
    "v/RRJbLfZ9UVQ39vCeXa/kIu/fzH7f8Aemz7FQ=="
)
same_file_each_time = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def as_text(rows: Sequence[Sequence[str]], delimiter: str = ",", quoting: Literal[0, 1] = csv.QUOTE_MINIMAL) -> str:
    text = StringIO()
    csv.writer(text, delimiter=delimiter, quoting=quoting).writerows(rows)
    return text.getvalue()


def a_file(folder: Path, content: bytes | str, name: str = "leads.dat") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cells(path: Path) -> list[tuple[str, ...]]:
    return [tuple(row.cells) for row in open_table(path).rows]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_text_in_any_encoding_with_any_delimiter_is_one_table(tmp_path: Path, encoding: str, delimiter: str) -> None:
    table = open_table(a_file(tmp_path, as_text((HEADER, *LEADS), delimiter).encode(encoding), name="leads.xlsx"))

    assert (table.system, table.columns) == ("zoho", HEADER)
    assert list(table.rows) == [Row(2, list(LEADS[0])), Row(3, list(LEADS[1]))]


def test_xlsx_is_told_by_its_content_and_its_best_sheet_is_read(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.worksheets[0].append(["How to read this report", "Ask Ines"])
    sheet = workbook.create_sheet("Leads")
    sheet.append(["Leads of May"])
    sheet.append([])
    sheet.append(HEADER)
    sheet.append([7001, "Müller", None, True, datetime(2024, 5, 4, 13, 30)])  # noqa: DTZ001
    sheet.append([])
    sheet.append([4876876000000411000, "Okoye", 1.5, 919876543210, date(2024, 5, 4)])
    workbook.save(tmp_path / "leads.xlsx")
    path = (tmp_path / "leads.xlsx").rename(tmp_path / "leads.csv")

    table = open_table(path)

    assert (table.kind, table.columns) == ("XLSX", HEADER)
    assert list(table.rows) == [
        Row(4, ["7001", "Müller", "", "true", ISO]),
        Row(6, ["4.87687600000041e+18", "Okoye", "1.5", "919876543210", "2024-05-04"]),
    ]
    assert list(table.rows) == list(table.rows)


def test_xls_is_read(tmp_path: Path) -> None:
    table = open_table(a_file(tmp_path, zlib.decompress(base64.b64decode("".join(XLS))), name="leads.txt"))

    assert (table.kind, table.columns) == ("XLS", HEADER)
    assert [row.cells for row in table.rows] == [[*LEADS[0][:4], ISO], [*LEADS[1][:4], ISO]]


def test_ods_is_read(tmp_path: Path) -> None:
    path = tmp_path / "leads.csv"
    rows = "".join(
        f"<table:table-row>{''.join(map(ods_cell, row))}</table:table-row>"
        for row in (HEADER, *((*lead[:4], ISO) for lead in LEADS))
    )
    with ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
        )
        archive.writestr(
            "content.xml",
            '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
            ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
            ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>'
            f'<table:table table:name="Leads">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )

    table = open_table(path)

    assert (table.kind, table.columns) == ("ODS", HEADER)
    assert [row.cells for row in table.rows] == [[*LEADS[0][:4], ISO], [*LEADS[1][:4], ISO]]


def ods_cell(value: str) -> str:
    kind = f'"float" office:value="{value}"' if value.isdigit() else '"string"'
    kind = f'"date" office:date-value="{value}"' if value == ISO else kind
    return f"<table:table-cell office:value-type={kind}><text:p>{value}</text:p></table:table-cell>"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 \x00\x01\x02\x03\x04\x05", "neither text nor a workbook"),
        (b"<html><table><tr><td>LEADID</td></tr></table>", "web page"),
        (b'[{"lead_id": "X1"}]', "is JSON"),
        (b"PK\x03\x04 and so on", "damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and so on", "cannot be read as XLS"),
    ],
)
def test_what_is_no_table_is_refused_in_words(tmp_path: Path, content: bytes, says: str) -> None:
    path = a_file(tmp_path, content)

    with pytest.raises(ImportFileError, match=says):
        open_table(path)


def test_an_archive_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("leads.csv", "LEADID")

    for name, says in (("export.zip", "an archive"), ("", "a folder"), ("none.csv", "No such file")):
        with pytest.raises(ImportFileError, match=says):
            open_table(tmp_path / name)


def test_a_title_above_the_header_and_excels_own_delimiter_line_are_passed_over(tmp_path: Path) -> None:
    path = a_file(tmp_path, "sep=;\nLead report; May 2024\n\n" + as_text((HEADER, *LEADS), ";"))

    assert open_table(path).columns == HEADER
    assert [row.line for row in open_table(path).rows] == [5, 6]


def test_columns_without_a_name_or_with_the_same_name_are_told_apart(tmp_path: Path) -> None:
    path = a_file(tmp_path, "Email,,email,Phone,,\n a@example.com ,x,b@example.com,1,,\n")

    assert open_table(path).columns == ("Email", "column 2", "email (2)", "Phone")
    assert cells(path) == [("a@example.com", "x", "b@example.com", "1")]


def test_rows_of_the_wrong_width_are_named_and_short_ones_filled(tmp_path: Path) -> None:
    path = a_file(tmp_path, "Email,Phone\na@example.com\n\n ,\nb@example.com,1,,\nc@example.com,1,oops\n")

    assert list(open_table(path).rows) == [
        Row(2, ["a@example.com", ""]),
        Row(5, ["b@example.com", "1"]),
        Row(6, ["c@example.com", "1", "oops"], "has 3 cells where the header has 2"),
    ]


def test_a_cell_may_span_lines_and_the_line_is_where_its_row_begins(tmp_path: Path) -> None:
    path = a_file(tmp_path, 'Email,Message\na@example.com,"one\ntwo, ""three"""\nb@example.com,four\n')

    assert list(open_table(path).rows) == [
        Row(2, ["a@example.com", 'one\ntwo, "three"']),
        Row(4, ["b@example.com", "four"]),
    ]


def test_sloppy_quotes_are_read_where_the_row_still_fits(tmp_path: Path) -> None:
    path = a_file(tmp_path, 'Email,Message\na@example.com,"she said "yes" twice"\nb@example.com,four\n')

    rows = list(open_table(path).rows)

    assert [row.problem for row in rows] == [None, None]
    assert [row.cells[0] for row in rows] == ["a@example.com", "b@example.com"]


def test_bytes_that_are_no_characters_do_not_change_the_encoding_of_the_others(tmp_path: Path) -> None:
    path = a_file(tmp_path, "Name,Email\nZoë,z@example.com\n".encode() + b"Jos\xe9,j@example.com\nAda,a@example.com\n")

    assert [row.cells[0] for row in open_table(path).rows] == ["Zoë", "Jos\udce9", "Ada"]


@same_file_each_time
@given(
    before=st.integers(0, 8),
    after=st.integers(0, 8),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    broken=st.sampled_from(['9,"never closed,x\n', '9,x,"never closed\n', '"9,x,y\n', '9,"a"b",c,d\n']),
)
def test_a_broken_row_costs_itself_alone(
    tmp_path: Path, before: int, after: int, quoting: Literal[0, 1], broken: str
) -> None:
    """Whatever stands around it, and however that is quoted."""
    good = [[str(number), "Doe, J.", "04 May, 2024 13:30:00"] for number in range(before + after)]
    text = as_text([["LEADID", "Last Name", "Created Time"], *good[:before]], quoting=quoting) + broken
    path = a_file(tmp_path, text + as_text(good[before:], quoting=quoting))

    rows = list(open_table(path).rows)

    assert [row.cells for row in rows if not row.problem] == good
    assert [row.line for row in rows if row.problem] == [before + 2]


@same_file_each_time
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), max_size=8)] * 3),
        max_size=6,
    ),
    delimiter=st.sampled_from(",;\t|"),
)
def test_what_was_written_is_read(tmp_path: Path, rows: list[tuple[str, ...]], delimiter: str) -> None:
    path = a_file(tmp_path, as_text([("LEADID", "Last Name", "Email"), *rows], delimiter))

    assert cells(path) == [row for row in rows if any(row)]
