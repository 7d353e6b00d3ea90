"""Now: what comes while one looks."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from services.api.console import live
from services.api.console.pages import now
from tests.browser.conftest import Opened
from tests.browser.world import World
from tests.endpoints import take_events


def test_a_lead_that_is_published_appears_within_two_seconds(opened: Opened, world: World) -> None:
    page = opened()
    expect(page.locator("#live-state")).to_have_text("live")
    world.publish("lead.created", {"lead_id": "NEW-1", "source": "META", "customer_name": "Tara New"})
    began = time.monotonic()
    expect(page.get_by_role("link", name="NEW-1")).to_be_visible()

    print(f"seen {time.monotonic() - began:.2f} s after it was published")
    took = world.until(
        "SELECT extract(epoch FROM now() - assignment_records.updated_at)"
        " FROM assignment_records JOIN leads ON leads.id = assignment_records.lead_id"
        " WHERE leads.lead_id = 'NEW-1'"
    )
    assert took < 2


def test_the_pipeline_says_in_words_how_each_service_is(opened: Opened, world: World) -> None:
    """The notifier does not run here, nor does who tells webhooks: which matters once something waits for it."""
    page = opened()
    stations = page.locator(".station")

    expect(stations).to_have_count(4)
    expect(stations.nth(0)).to_contain_text("replicas")
    expect(stations.nth(3)).to_contain_text("nobody consumes: not running")
    expect(page.locator("#outages")).to_contain_text("notifier: nobody consumes")
    expect(page.locator("#outages")).not_to_contain_text("webhooks: ")
    world.run(take_events(world.amqp_url))
    world.publish("outcome.recorded", {})
    expect(page.locator("#outages")).to_contain_text("webhooks: ")
    expect(page.locator("#count-waiting")).not_to_be_empty()


def test_each_replica_says_what_keeps_it_from_working(opened: Opened, world: World) -> None:
    """In its service's picture, among the outages, and in the list of all; and no more as soon as it works."""
    page = opened()
    assigner, outages = page.locator(".station").nth(1), page.locator("#outages")
    row = page.locator("#replicas").get_by_role("row", name="104")

    expect(assigner).to_contain_text("1 of 2 replicas: waiting for database to answer")
    expect(outages).to_contain_text("assigner, app-2 (104): waiting for database to answer")
    expect(outages).to_contain_text("scheduler, app-1 (106): broker does not answer")
    expect(row).to_contain_text("waiting for database to answer")
    world.execute("UPDATE replicas SET problems = '{}' WHERE pid = 104")
    expect(row).to_contain_text("ready")
    expect(outages).not_to_contain_text("assigner")


def test_a_page_too_many_says_so_and_goes_on_by_itself(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers are as they stood; when another page is closed it asks again."""
    monkeypatch.setattr(live, "STREAMS_MOST", 1)
    monkeypatch.setattr(now, "STREAMS_MOST", 1)
    monkeypatch.setattr(now, "FULL_RETRY_S", 1)
    first = opened()
    expect(first.locator("#live-state")).to_have_text("live")
    second = first.context.new_page()
    second.goto(first.url)

    expect(second.locator("#live-problem")).to_contain_text("1 page live already: close some")
    expect(second.locator("#live-state")).to_have_text("not live")
    first.close()
    expect(second.locator("#live-state")).to_have_text("live")
    expect(second.locator("#live-problem")).to_be_hidden()


def test_names_are_text(opened: Opened, world: World) -> None:
    """Also in what comes by the stream."""
    page = opened()
    world.leads("EVIL-1", customer_name="<img src=x onerror='window.hacked=1'>")
    row = page.get_by_role("row", name="EVIL-1")

    expect(row).to_contain_text("<img src=x onerror='window.hacked=1'>")
    assert page.evaluate("window.hacked") is None
