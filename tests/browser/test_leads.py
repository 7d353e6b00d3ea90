"""Leads: found, and one's whole story."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opened
from tests.browser.world import EVIL, World


@pytest.mark.parametrize(("asked", "lead"), [("L1", "L1"), ("nila", "L1"), ("9820000002", "L2")])
def test_a_lead_is_found_by_id_name_and_phone(opened: Opened, asked: str, lead: str) -> None:
    page = opened("leads")
    page.get_by_label("An id, or part of").fill(asked)
    page.keyboard.press("Enter")

    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name=lead, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(lead)


def test_a_filter_applies_as_it_is_chosen(opened: Opened) -> None:
    page = opened("leads")
    page.get_by_label("Source").select_option("WALK-IN")

    expect(page.locator("tbody")).to_contain_text("Sven Walker")
    expect(page.get_by_role("link", name="L1", exact=True)).to_have_count(0)


def test_a_story_tells_what_happened_and_why_not_the_others(opened: Opened) -> None:
    page = opened("leads/L1")

    expect(page.locator(".story")).to_contain_text("received from META")
    expect(page.locator(".story")).to_contain_text("assigned to agent")
    expect(page.locator(".story")).to_contain_text("sheet made")
    expect(page.get_by_role("table", name="Why not the others")).to_contain_text("000")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.path().read_bytes().startswith(b"%PDF")


def test_a_script_in_a_name_is_text(opened: Opened) -> None:
    page = opened("leads/L3")

    expect(page.get_by_text(EVIL, exact=True)).to_be_visible()
    for path in ("leads", "agents", "routes/everyone", "fairness", ""):
        page.goto(path or "./")
        assert page.evaluate("window.hacked") is None, path
        assert page.locator("main img").count() == 0, path


def test_a_lead_is_closed_and_taken_up_again(opened: Opened, world: World) -> None:
    world.leads("CLOSE-1")
    of_it = "FROM assignments JOIN leads ON leads.id = assignments.lead_id WHERE leads.lead_id = 'CLOSE-1'"
    world.until(f"SELECT agent_id {of_it}")
    page = opened("leads/CLOSE-1")
    page.get_by_label("Close it as").select_option("lost")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("status")).to_contain_text("is asked for")
    world.until(f"SELECT closed_at {of_it}")
    page.reload()

    expect(page.locator(".headline .state")).to_have_text("Closed")
    expect(page.get_by_role("button", name="Take it up again")).to_be_visible()
