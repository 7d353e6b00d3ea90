"""Fairness, routes and agents: seen, and changed with a look at what is odd about it."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Opened
from tests.browser.world import World


def test_fairness_shows_received_against_entitled(opened: Opened) -> None:
    page = opened("fairness?route=everyone")

    expect(page.get_by_text("keeps its promise")).to_be_visible()
    expect(page.get_by_role("row", name="Asha Verma")).to_contain_text("0001")


def test_a_weight_is_changed(opened: Opened, world: World) -> None:
    page = opened("routes/everyone")
    page.get_by_label("0002: weight").fill("3")
    page.get_by_role("button", name="Check and apply").click()

    expect(page.get_by_role("status")).to_have_text("Changed: route everyone.")
    expect(page.get_by_label("0002: weight")).to_have_value("3")
    assert world.rows("SELECT actor FROM audit_logs WHERE table_name = 'route_members' ORDER BY id DESC LIMIT 1") == [
        ("console:the admin",)
    ]


def test_what_is_odd_is_shown_before_it_is_applied(opened: Opened, world: World) -> None:
    page = opened("routes/everyone")
    page.get_by_label("0001: max daily leads").fill("0")
    page.get_by_role("button", name="Check and apply").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Apply this to route everyone?")
    expect(page.locator("main")).to_contain_text("max_daily_leads: 0")
    assert world.rows("SELECT count(*) FROM route_members WHERE max_daily_leads = 0") == [(0,)]
    page.get_by_role("button", name="Apply it all the same").click()
    expect(page.get_by_role("status")).to_have_text("Changed: route everyone.")
    page.get_by_label("0001: max daily leads").fill("")
    page.get_by_role("button", name="Check and apply").click()
    expect(page.get_by_role("status")).to_have_text("Changed: route everyone.")
    assert world.rows("SELECT count(*) FROM route_members WHERE max_daily_leads = 0") == [(0,)]


def test_what_somebody_else_has_changed_is_not_overwritten(opened: Opened, world: World) -> None:
    page, other = opened("routes/everyone"), opened("routes/everyone")
    for each, weight in ((page, "4"), (other, "5")):
        each.get_by_label("0002: weight").fill(weight)
        each.get_by_role("button", name="Check and apply").click()

    expect(page.get_by_role("status")).to_have_text("Changed: route everyone.")
    expect(other.get_by_role("alert")).to_contain_text("somebody else has changed it")


def test_an_agent_is_switched_off_and_on(opened: Opened, world: World) -> None:
    page = opened("agents")
    row = page.get_by_role("row", name="Bruno Keller")
    row.get_by_role("checkbox").uncheck()
    row.get_by_role("button").click()
    expect(page.get_by_role("status")).to_have_text("Bruno Keller (0002) is off, no limit.")
    row.get_by_role("checkbox").check()
    row.get_by_label("Bruno Keller: at most open").fill("50")
    row.get_by_role("button").click()

    expect(page.get_by_role("status")).to_have_text("Bruno Keller (0002) is on, at most 50 open.")
    world.until("SELECT is_active AND max_load = 50 FROM agents WHERE agent_code = '0002'")


def test_what_if_is_a_plot_and_a_table(opened: Opened) -> None:
    page = opened("routes/everyone/whatif")
    page.get_by_label("Policy").select_option("weighted_random")
    page.get_by_role("button", name="Compare").click()

    expect(page.locator("svg.plot rect.would").first).to_be_attached()
    expect(page.get_by_role("table", name="Measures")).to_contain_text("Jain's index")
