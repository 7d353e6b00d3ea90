"""Logging in, and out."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from services.cli.keys import Role
from tests.browser.conftest import Opened
from tests.browser.world import World


def test_a_wrong_key_is_told_and_the_right_one_leads_to_where_one_wanted(browser: Browser, world: World) -> None:
    with browser.new_context(base_url=world.url) as context:
        page = context.new_page()
        page.goto("/console/leads?q=L1")
        page.get_by_label("Your key").fill("ll_wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("not known")
        page.get_by_label("Your key").fill(world.keys[Role.VIEWER])
        page.keyboard.press("Enter")

        expect(page).to_have_url(f"{world.url}/console/leads?q=L1")
        page.get_by_role("button", name="Log out").click()
        page.goto("/console/leads")
        expect(page.get_by_label("Your key")).to_be_visible()


def test_a_viewer_sees_no_button_that_changes_anything(opened: Opened) -> None:
    page = opened(role=Role.VIEWER)
    for path in ("unassigned", "agents", "routes/everyone", "sheets", "imports", "leads/L1", "deadletters/1"):
        page.goto(path)
        buttons = page.locator("main button").all_text_contents()
        assert set(buttons) <= {"Find", "Show"}, path


def test_the_theme_is_chosen_and_kept(opened: Opened) -> None:
    page = opened("exports")
    page.get_by_role("button", name="Change between light and dark").click()
    page.reload()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_keyboard_comes_everywhere(opened: Opened) -> None:
    """First the way past the navigation; what has the focus shows it."""
    page = opened("leads")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    expect(page.get_by_label("An id, or part of")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_key_is_made_shown_once_and_revoked(opened: Opened) -> None:
    page = opened("keys")
    page.get_by_label("Whose it is").fill("a visitor")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_role("status").locator("code")).to_contain_text("ll_")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke the key of a visitor").click()

    expect(page.get_by_role("status")).to_have_text("The key of a visitor is revoked.")
    expect(page.get_by_role("row", name="a visitor")).to_have_count(0)
