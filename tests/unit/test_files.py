"""Rows of each known export become valid `lead.created` bodies; what cannot be a lead says why."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest.files import (
    ImportedLead,
    ImportFileError,
    Outcome,
    ReadOptions,
    RejectedRow,
    Skipped,
    lay_out,
    open_table,
    read_leads,
)
from shared.events import LeadCreated

OPTIONS = ReadOptions()
any_cell = st.text(st.characters(exclude_characters=[chr(code) for code in range(32)]), max_size=12)


def a_csv(folder: Path, *rows: Sequence[str], name: str = "leads.csv") -> Path:
    """A row is cells, or for reading with the eye a text with bars between them."""
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [cell.strip() for cell in row.split("|")] if isinstance(row, str) else row for row in rows
        )
    return path


def read(path: Path, options: ReadOptions = OPTIONS) -> list[Outcome]:
    table = open_table(path)
    return list(read_leads(table.rows, lay_out(table, options), include_closed=options.include_closed))


def bodies(path: Path, options: ReadOptions = OPTIONS) -> list[dict[str, Any]]:
    outcomes = read(path, options)
    leads = [outcome for outcome in outcomes if isinstance(outcome, ImportedLead)]
    assert len(leads) == len(outcomes), outcomes
    assert all(LeadCreated.model_validate_json(lead.body).lead_id == lead.lead_id for lead in leads)
    return [json.loads(lead.body) for lead in leads]


def reasons(path: Path, options: ReadOptions = OPTIONS) -> list[str]:
    return [outcome.reason for outcome in read(path, options) if isinstance(outcome, RejectedRow)]


ZOHO = ("LEADID", "Last Name", "Company", "Email", "Mobile", "Lead Source", "Lead Status", "Created Time", "CONVERTED")


def a_zoho_row(**changes: str) -> list[str]:
    row = dict.fromkeys(ZOHO, "") | {
        "LEADID": "7001",
        "Last Name": "Okoye",
        "Company": "Blue Heron",
        "Email": "okoye@example.com",
        "Mobile": "555-0147",
        "Lead Source": "Trade Show",
        "Lead Status": "Contacted",
        "Created Time": "15 Apr, 2021 00:03:00",
        "CONVERTED": "No",
    }
    return list((row | {name.replace("_", " "): value for name, value in changes.items()}).values())


# Each system


def test_zoho(tmp_path: Path) -> None:
    assert bodies(a_csv(tmp_path, ZOHO, a_zoho_row())) == [
        {
            "lead_id": "zoho:7001",
            "source": "Trade Show",
            "surname": "Okoye",
            "email": "okoye@example.com",
            "mobile_number": "555-0147",
            "created_at": "2021-04-15T00:03:00",
            "attributes": {"Company": "Blue Heron", "Lead Status": "Contacted", "CONVERTED": "No"},
        }
    ]


def test_zoho_as_its_module_export_names_things(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        ("Record Id", "Lead Owner", "First Name", "Last Name", "Phone", "Lead Source", "Street", "City", "Zip Code"),
        ("zcrm_4876876000000411", "Pat Ruiz", "Mary", "Ames", "555-0148", "", "5 Hill St", "Pune", "411001"),
    )

    (body,) = bodies(path, ReadOptions(source="Old CRM"))

    assert (body["lead_id"], body["source"]) == ("zoho:4876876000000411", "Old CRM")
    assert (body["given_name"], body["mobile_number"]) == ("Mary", "555-0148")
    assert body["address"] == "5 Hill St, Pune, 411001"
    assert body["attributes"] == {"Lead Owner": "Pat Ruiz", "City": "Pune", "Zip Code": "411001"}


def test_hubspot(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        "Record ID | First Name | Last Name | Email | Phone Number | Contact owner | Lead Status | "
        "Create Date | Country/Region | Original Source",
        "101 | Camille | Durand | c@example.com | +33 1 00 00 00 00 | Ines | NEW | 2024-03-12 09:14 | "
        "France | ORGANIC_SEARCH",
    )

    (body,) = bodies(path)

    assert (body["lead_id"], body["source"]) == ("hubspot:101", "ORGANIC_SEARCH")
    assert (body["created_at"], body["address"]) == ("2024-03-12T09:14:00", "France")
    assert "country" not in body


def test_salesforce_report_with_its_footer(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        "Lead ID | Lead Owner | First Name | Last Name | Company / Account | Lead Source | "
        "Lead Status | Mobile | Create Date",
        ("00QAa00000Xy1Zz", "Ines", "Jo", "Doe", "Acme", "Web", "Open - Not Contacted", "555-0149", "3/4/2024"),
        ("00QAa00000Xy1Zw", "Ines", "Bo", "Roe", "Acme", "Web", "Closed - Not Converted", "555-0150", "3/25/2024"),
        (),
        ("Leads of March",),
        ("Copyright (c) 2000-2024 salesforce.com, inc. All rights reserved.",),
        ("Confidential Information - Do Not Distribute",),
    )

    lead, closed = read(path)

    assert isinstance(lead, ImportedLead)
    assert lead.lead_id == "salesforce:00QAa00000Xy1Zz"
    assert json.loads(lead.body)["created_at"] == "2024-03-04T00:00:00"
    assert closed == Skipped(3, "Lead Status: Closed - Not Converted")


def test_salesforce_data_loader(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        "Id | IsDeleted | LastName | FirstName | MobilePhone | Phone | LeadSource | Status | IsConverted | CreatedDate",
        ("00Q1", "false", "Doe", "Jo", "", "555-0149", "Web", "New", "false", "2024-01-15T10:00:00.000Z"),
        ("00Q2", "false", "Roe", "Bo", "", "", "Web", "Qualified", "1", "2024-01-15T10:00:00.000Z"),
        ("00Q3", "TRUE", "Poe", "Mo", "", "", "Web", "New", "false", "2024-01-15T10:00:00.000Z"),
    )

    lead, *closed = read(path)

    assert isinstance(lead, ImportedLead)
    assert json.loads(lead.body)["mobile_number"] == "555-0149"
    assert closed == [Skipped(3, "IsConverted: 1"), Skipped(4, "IsDeleted: TRUE")]


META = ("id", "created_time", "ad_id", "form_id", "is_organic", "platform", "which_model?", "full_name", "phone_number")


def test_meta(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        (*META, "zip_code", "lead_status"),
        "l:9001 | 2026-03-14T18:22:10-03:00 | ag:9 | f:6 | false | fb | A2 | Ana Lima | p:+915550100 | "
        "z:0196 | CREATED",
    )

    (body,) = bodies(path, ReadOptions(source="META"))

    assert (body["lead_id"], body["source"], body["mobile_number"]) == ("meta:9001", "META", "+915550100")
    assert (body["created_at"], body["address"]) == ("2026-03-14T18:22:10-03:00", "0196")
    assert body["attributes"]["which_model?"] == "A2"


def test_meta_with_a_form_in_another_language_and_its_test_lead(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        ("id", "created_time", "form_name", "is_organic", "platform", "nombre_completo", "número_de_teléfono"),
        ("l:1", "2026-03-14T18:22:10-03:00", "F", "false", "ig", "Ana Lima", "p:+345550100"),
        ("l:2", "2026-03-14T18:22:10-03:00", "F", "true", "", "<test lead: dummy data for nombre_completo>", "p:<test"),
    )

    lead, test = read(path)

    assert isinstance(lead, ImportedLead)
    assert json.loads(lead.body)["customer_name"] == "Ana Lima"
    assert isinstance(test, RejectedRow)
    assert test.reason == "is a test of the form, not a person"


def test_google(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        (
            "Lead ID",
            "Form ID",
            "Campaign ID",
            "GCLID",
            "Full Name",
            "Phone Number",
            "Email",
            "Lead Submit Time",
            "Is Test",
        ),
        ("TeSt_1", "12", "34", "Cj0", "Ana Lima", "+345550100", "ana@example.com", "2024-09-26T12:30:00Z", "false"),
        ("TeSt_2", "12", "34", "Cj0", "Test", "", "", "2024-09-26T12:30:00Z", "true"),
    )

    lead, test = read(path)

    assert isinstance(lead, ImportedLead)
    assert (lead.lead_id, json.loads(lead.body)["source"]) == ("google:TeSt_1", "Unknown")
    assert json.loads(lead.body)["created_at"] == "2024-09-26T12:30:00+00:00"
    assert test == Skipped(3, "Is Test: true")


def test_a_plain_file_has_our_own_names(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        (
            "lead_id",
            "source",
            "store_code",
            "business_line",
            "country",
            "customer_name",
            "mobile_number",
            "stage",
            "Car",
        ),
        ("X1", "META", "A1", "Cars", "India", "Ana Lima", "+915550100", "2", "red"),
        ("zoho:7001", "META", "A1", "Cars", "India", "Bo Roe", "", "", ""),
    )

    first, second = bodies(path)

    assert first == {
        "lead_id": "file:X1",
        "source": "META",
        "store_code": "A1",
        "business_line": "Cars",
        "country": "India",
        "customer_name": "Ana Lima",
        "mobile_number": "+915550100",
        "stage": "2",
        "attributes": {"Car": "red"},
    }
    assert second["lead_id"] == "zoho:7001", "an id that names its system is that system's"


# What is closed


@pytest.mark.parametrize(
    ("changes", "closed_by"),
    [
        ({"CONVERTED": "Yes"}, "CONVERTED: Yes"),
        ({"Lead_Status": "Junk Lead"}, "Lead Status: Junk Lead"),
        ({"Lead_Status": "LOST LEAD"}, "Lead Status: LOST LEAD"),
        ({"Lead_Status": "Not Qualified"}, "Lead Status: Not Qualified"),
        ({"Lead_Status": "Not Contacted"}, None),
        ({"Lead_Status": "Contact in Future"}, None),
        ({"Lead_Status": ""}, None),
    ],
)
def test_closed_rows_are_skipped_unless_asked_for(
    tmp_path: Path, changes: dict[str, str], closed_by: str | None
) -> None:
    path = a_csv(tmp_path, ZOHO, a_zoho_row(**changes))

    (outcome,) = read(path)

    assert (outcome.closed_by if isinstance(outcome, Skipped) else None) == closed_by
    assert len(bodies(path, ReadOptions(include_closed=True))) == 1


@pytest.mark.parametrize(
    ("column", "state", "is_closed"),
    [
        ("Lead Status", "OPEN_DEAL", True),
        ("Lead Status", "Unqualified", True),
        ("Lead Status", "IN_PROGRESS", False),
        ("Lifecycle Stage", "Customer", True),
        ("Lifecycle Stage", "Marketing Qualified Lead", False),
    ],
)
def test_hubspots_states(tmp_path: Path, column: str, state: str, is_closed: bool) -> None:
    (outcome,) = read(
        a_csv(tmp_path, ("Record ID", "Contact owner", "Email", column), ("1", "I", "a@example.com", state))
    )

    assert isinstance(outcome, Skipped) is is_closed


# Ids


def test_a_row_without_an_id_gets_one_from_its_content(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        ("Name", "Phone", "Email"),
        ("Ana Lima", "555-0100", ""),
        ("Bo Roe", "555-0101", ""),
        (" ana  LIMA ", "555-0100", ""),
    )

    ids = [body["lead_id"] for body in bodies(path)]

    assert ids[0].startswith("file:row-")
    assert ids[0] == ids[2] != ids[1]
    assert ids == [body["lead_id"] for body in bodies(path)], "the same file gives the same ids"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(order=st.permutations(range(3)), cells=st.tuples(*[st.text("abc é1", min_size=1).filter(str.strip)] * 3))
def test_the_order_of_columns_does_not_change_an_id(tmp_path: Path, order: list[int], cells: tuple[str, ...]) -> None:
    header = ("Name", "Phone", "Campaign")
    one = a_csv(tmp_path, header, cells, name="one.csv")
    other = a_csv(tmp_path, [header[i] for i in order], [cells[i] for i in order], name="other.csv")

    assert bodies(one)[0]["lead_id"] == bodies(other)[0]["lead_id"]


def test_a_rejected_row_corrected_in_our_file_keeps_its_id(tmp_path: Path) -> None:
    plain = a_csv(tmp_path, ("Name", "Phone"), ("Ana Lima", "555-0100"))
    ours = a_csv(
        tmp_path,
        ("rejected line", "rejected reason", "Name", "Phone"),
        ("2", "x", "Ana Lima", "555-0100"),
        name="r.csv",
    )

    assert bodies(ours) == bodies(plain)


# What is rejected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Created_Time": "soon"}, "created_at: 'soon' is no date"),
        ({"LEADID": "x" * 124}, "lead_id: must have 1 to 128 bytes, has 129"),
        ({"LEADID": "4.87688E+18"}, "a spreadsheet has rounded 4.87688E+18"),
        ({"LEADID": "7\x07"}, "lead_id: must not have control characters"),
        ({"Mobile": "5" * 65}, "mobile_number: must have at most 64 characters, has 65"),
        ({"Last_Name": "O\x00koye"}, "surname: must not have the character NUL"),
        ({"Company": "x" * 65_536}, "must have at most 65,536 bytes in columns without a field, has 65,"),
        ({"Company": "Blue\x00Heron"}, "must not have the character NUL"),
        ({"LEADID": "", "Last_Name": "", "Email": "", "Mobile": ""}, "has no id, and no name, phone number"),
    ],
)
def test_a_row_that_cannot_be_a_lead_says_why_and_hurts_no_other(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    path = a_csv(tmp_path, ZOHO, a_zoho_row(), a_zoho_row(**changes), a_zoho_row(LEADID="7002"))

    first, rejected, last = read(path)

    assert isinstance(first, ImportedLead)
    assert isinstance(last, ImportedLead)
    assert isinstance(rejected, RejectedRow)
    assert rejected.line == 3
    assert reason in rejected.reason


def test_a_backslash_before_u0000_is_no_nul(tmp_path: Path) -> None:
    (body,) = bodies(a_csv(tmp_path, ZOHO, a_zoho_row(Company=r"C:\u0000")))

    assert body["attributes"]["Company"] == r"C:\u0000"


def test_bytes_that_are_no_characters_reject_their_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "leads.csv"
    path.write_bytes("Name,Campaign\nZoë,é\n".encode() + b"Ana,Jos\xe9\nJos\xe9,x\n" + "Bo,ü\n".encode())

    outcomes = read(path)

    assert [type(outcome) for outcome in outcomes] == [ImportedLead, RejectedRow, RejectedRow, ImportedLead]
    assert reasons(path) == ["has bytes that are no characters in the file's encoding"] * 2


# Dates that can be read two ways


@pytest.mark.parametrize(
    ("second", "iso", "evidence"),
    [
        ("25/12/2024", "2024-05-04T00:00:00", "day first (line 3 has 25/12/2024)"),
        ("12/25/2024", "2024-04-05T00:00:00", "month first (line 3 has 12/25/2024)"),
        ("06/07/2024", "2024-05-04T00:00:00", "day first (assumed: no date of the file tells)"),
    ],
)
def test_the_file_decides_which_number_is_the_day(tmp_path: Path, second: str, iso: str, evidence: str) -> None:
    path = a_csv(tmp_path, ("lead_id", "created_at"), ("1", "04/05/2024"), ("2", second))
    table = open_table(path)

    assert str(lay_out(table, OPTIONS).date_order) == evidence
    assert bodies(path)[0]["created_at"] == iso


def test_without_a_telling_value_the_systems_own_order_counts(tmp_path: Path) -> None:
    path = a_csv(tmp_path, ("Lead ID", "Company / Account", "Create Date"), ("1", "Acme", "4/5/2024"))

    assert bodies(path)[0]["created_at"] == "2024-04-05T00:00:00"


# Mapping


def test_a_mapped_column_takes_the_place_of_the_known_one(tmp_path: Path) -> None:
    path = a_csv(tmp_path, ("Kunde", "Phone", "Handy"), ("Ana Lima", "555-0100", "555-0199"))

    (body,) = bodies(path, ReadOptions(mapping={"customer_name": "kunde", "mobile_number": "Handy"}))

    assert (body["customer_name"], body["mobile_number"]) == ("Ana Lima", "555-0199")
    assert body["attributes"] == {"Phone": "555-0100"}


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"mobil_number": "Phone"}, "no field mobil_number; did you mean mobile_number?"),
        ({"as_of": "Phone"}, "there is no field as_of"),
        ({"mobile_number": "Fone"}, "no column Fone; did you mean Phone?"),
    ],
)
def test_a_mapping_that_fits_nothing_says_what_there_is(tmp_path: Path, mapping: dict[str, str], says: str) -> None:
    table = open_table(a_csv(tmp_path, ("Name", "Phone"), ("Ana Lima", "555-0100")))

    with pytest.raises(ImportFileError) as error:
        lay_out(table, ReadOptions(mapping=mapping))

    assert says in str(error.value)


def test_a_table_without_a_known_column_needs_a_mapping(tmp_path: Path) -> None:
    path = a_csv(tmp_path, ("Kunde", "Fone"), ("Ana Lima", "555-0100"))

    with pytest.raises(ImportFileError, match="no column that is known"):
        lay_out(open_table(path), OPTIONS)
    assert bodies(path, ReadOptions(mapping={"mobile_number": "Fone"}))[0]["mobile_number"] == "555-0100"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=st.lists(st.lists(any_cell, min_size=9, max_size=9), max_size=5))
def test_whatever_stands_in_a_file_each_row_is_a_valid_lead_or_has_a_reason(
    tmp_path: Path, rows: list[list[str]]
) -> None:
    path = tmp_path / "any.csv"
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        csv.writer(file).writerows([ZOHO, *rows])

    for outcome in read(path):
        match outcome:
            case ImportedLead():
                assert LeadCreated.model_validate_json(outcome.body).lead_id == outcome.lead_id
            case RejectedRow():
                assert outcome.reason
