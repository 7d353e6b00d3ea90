"""Dead letters: seen, edited, previewed, replayed, put aside, brought back."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Opened
from tests.browser.world import World


def test_a_letter_is_edited_and_replayed_to_its_end(opened: Opened, world: World) -> None:
    page = opened("deadletters")
    page.get_by_role("link", name="source: is required").click()
    page.get_by_role("row", name="D1").get_by_role("link").click()
    expect(page.locator(".alarm").filter(has_text="source")).to_be_visible()
    body = page.get_by_label("It is saved if")
    body.fill('{"lead_id": "D1"')
    page.get_by_role("button", name="Check and save").click()
    expect(page.get_by_role("alert")).to_contain_text("not saved")
    page.go_back()
    body.fill('{"lead_id": "D1", "source": "META"}')
    other = page.context.new_page()
    other.goto(page.url)
    page.get_by_role("button", name="Check and save").click()
    expect(page.get_by_role("status")).to_contain_text("its service would take it")
    other.get_by_role("button", name="Check and save").click()
    expect(other.get_by_role("alert")).to_contain_text("somebody else has changed it")
    page.get_by_role("button", name="Replay it").click()

    expect(page.locator("#replay")).to_contain_text("done")
    expect(page.locator("#replay")).to_contain_text("1 of 1")
    world.until("SELECT count(*) FROM leads WHERE lead_id = 'D1'")


def test_a_group_is_previewed(opened: Opened) -> None:
    page = opened("deadletters/letters?status=new")
    page.get_by_label("All on this page").check()
    page.get_by_role("button", name="Preview").click()

    expect(page.get_by_role("region", name="What a replay would do now")).to_contain_text("would fail again")


def test_a_letter_is_put_aside_and_brought_back(opened: Opened, world: World) -> None:
    ((letter_id,),) = world.rows("SELECT id FROM dead_letters WHERE body = 'no json'::bytea")
    page = opened(f"deadletters/{letter_id}")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.go_back()
    page.get_by_label("Nobody needs it, because").fill("a test of the sender")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_role("status")).to_have_text("1 dead letter put aside.")
    page.goto(f"deadletters/{letter_id}")
    expect(page.locator(".story")).to_contain_text("a test of the sender")
    page.get_by_role("button", name="Bring back").click()

    expect(page.get_by_role("status")).to_have_text("1 dead letter brought back.")
