"""Files: sheets down and up, imports with their rejected rows, exports."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import openpyxl
from playwright.sync_api import expect

from services.documents.sheet import field_name
from tests.browser.conftest import Opened
from tests.browser.world import World
from tests.filling import by_pypdf

DROP = """([selector, name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    document.querySelector(selector).dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
}"""


def test_a_filled_in_sheet_comes_back(opened: Opened, world: World, tmp_path: Path) -> None:
    page = opened("sheets")
    ((sheet, row),) = world.rows(
        "SELECT sheet_key, lead_assignment_code"
        " FROM assignments JOIN leads ON leads.id = assignments.lead_id WHERE leads.lead_id = 'L2'"
    )
    with page.expect_download() as download:
        page.get_by_role("link", name=f"Download {sheet}", exact=True).click()
    filled = tmp_path / "filled.pdf"
    filled.write_bytes(
        by_pypdf(download.value.path().read_bytes(), {field_name(row, "remarks"): "calls back on Monday"})
    )
    page.get_by_label("Drop sheets that were filled in").set_input_files(filled)
    page.get_by_role("button", name="Bring back").click()

    expect(page.get_by_role("status").first).to_contain_text("filled.pdf was taken in")
    world.until("SELECT count(*) FROM lead_assignment_outcomes WHERE remarks = 'calls back on Monday'")
    page.reload()
    expect(page.get_by_role("table", name="Newest outcomes")).to_contain_text("calls back on Monday")


def test_what_is_no_sheet_is_refused_in_words(opened: Opened) -> None:
    page = opened("sheets")
    page.evaluate(DROP, ["form[data-files]", "holiday.pdf", "%PDF-1.4 nothing"])

    expect(page.locator("[data-told]")).to_contain_text("holiday.pdf: ")


def test_a_dropped_export_is_imported_and_its_bad_rows_can_be_had(opened: Opened, world: World) -> None:
    page = opened("imports")
    rows = "lead_id,source,customer_name,created_at\nI1,META,Uma Import,2026-01-31 10:00\nI2,META,Nobody,soon\n"
    page.evaluate(DROP, ["form[data-files]", "crm.csv", rows])

    row = page.get_by_role("row", name="crm.csv")
    expect(row).to_contain_text("done")
    with page.expect_download() as download:
        row.get_by_role("link").click()
    assert "Nobody" in download.value.path().read_text()
    world.until("SELECT count(*) FROM leads WHERE customer_name = 'Uma Import'")


def test_no_cell_of_an_export_is_a_formula(opened: Opened, world: World) -> None:
    name = '=HYPERLINK("http://evil.example.com")'
    world.leads("F1", customer_name=name)
    page = opened("exports")
    files = {}
    for kind in ("CSV", "XLSX"):
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Leads as they stand, as {kind}").click()
        files[kind] = download.value.path().read_bytes()

    (row,) = [row for row in csv.DictReader(io.StringIO(files["CSV"].decode())) if row["lead_id"] == "F1"]
    assert row["customer_name"] == "'" + name
    sheet = openpyxl.load_workbook(io.BytesIO(files["XLSX"])).worksheets[0]
    cells = [cell for line in sheet.iter_rows() for cell in line]
    assert [cell.data_type for cell in cells if cell.value == name] == ["s"]
