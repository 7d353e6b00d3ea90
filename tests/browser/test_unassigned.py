"""Unassigned: why, and by hand."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Opened
from tests.browser.world import World


def test_a_lead_that_waits_is_given_to_an_agent_and_its_decision_shown(opened: Opened, world: World) -> None:
    world.leads("HAND-1", source="WALK-IN")
    world.until(
        "SELECT reason FROM assignments JOIN leads ON leads.id = assignments.lead_id WHERE leads.lead_id = 'HAND-1'"
    )
    page = opened("unassigned")
    expect(page.get_by_role("row", name="HAND-1")).to_contain_text("by hand")
    page.get_by_label("HAND-1").check()
    page.get_by_label("Those that are ticked go to").select_option("0002")
    page.get_by_role("button", name="Assign").click()

    expect(page.get_by_role("status")).to_contain_text("1 lead assigned (1 to agent 0002)")
    expect(page.get_by_role("heading", level=1)).to_have_text("HAND-1")
    expect(page.get_by_text("by hand, whatever others had received")).to_contain_text("console:the admin")


def test_nothing_ticked_is_said(opened: Opened) -> None:
    page = opened("unassigned")
    page.get_by_role("button", name="Assign").click()

    expect(page.get_by_role("alert")).to_contain_text("no lead is ticked")
