"""One Chromium for all of these tests, and one running system: each test uses leads of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from services.cli.keys import Role
from services.cli.local.nodes import Nodes
from tests.browser import chromium
from tests.browser.world import World, running
from tests.conftest import VirtualHosts, clone, named, sql

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}
WITHIN_MS = 10_000

Opened = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = chromium.found()
    if program is None:
        pytest.skip(chromium.MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*chromium.ARGUMENTS])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def world(
    browser: Browser,
    nodes: Nodes,
    template: str,
    database_names: Iterator[str],
    vhosts: VirtualHosts,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    name = next(database_names)
    clone(nodes, template, name)
    amqp_url = named(nodes.amqp_url, vhosts.take()) if nodes.broker.is_ours else nodes.amqp_url
    with running(named(nodes.database_url, name), amqp_url, tmp_path_factory.mktemp("world")) as world:
        yield world
    sql(nodes.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def opened(browser: Browser, world: World) -> Iterator[Opened]:
    """Open a page of the console for somebody who is logged in. What its script or its policy complains of, fails."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(
        path: str = "", *, role: Role = Role.ADMIN, size: dict[str, int] = DESK, theme: str = "light"
    ) -> Page:
        context = browser.new_context(
            base_url=f"{world.url}/console/",
            viewport={"width": size["width"], "height": size["height"]},
            color_scheme="dark" if theme == "dark" else "light",
        )
        contexts.append(context)
        context.set_default_timeout(WITHIN_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if _is_complaint(said.text, said.type) else None)
        page.goto("login")
        page.get_by_label("Your key").fill(world.keys[role])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/console/")
        if path:
            page.goto(path)
        return page

    expect.set_options(timeout=WITHIN_MS)
    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _is_complaint(text: str, kind: str) -> bool:
    """An answer that refuses something is what a test may be about."""
    return kind == "error" and "the server responded with a status of 4" not in text


@pytest.fixture(scope="session")
def screenshots() -> Path | None:
    """Where screenshots are put, for who wants to look at them: LEADLINE_SCREENSHOTS."""
    folder = os.environ.get("LEADLINE_SCREENSHOTS")
    return Path(folder) if folder else None
