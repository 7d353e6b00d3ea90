"""How every page looks: at both widths, in both themes, to a screen reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import DESK, PHONE, Opened

#: What sticks out at the right, where the page itself can be moved sideways.
TOO_WIDE = """
    document.documentElement.scrollWidth <= innerWidth ? [] : [
        `${document.documentElement.scrollWidth} pixels`,
        ...[...document.querySelectorAll("main *")]
            .filter((each) => !each.closest(".scroll, .slide") && each.getBoundingClientRect().right > innerWidth)
            .map((each) => each.outerHTML.slice(0, 120)),
    ]
"""
PAGES = (
    "./",
    "leads",
    "leads/L3",
    "unassigned",
    "fairness",
    "routes",
    "routes/everyone",
    "routes/everyone/whatif?policy=fair",
    "agents",
    "sheets",
    "deadletters",
    "deadletters/letters?status=new",
    "deadletters/2",
    "imports",
    "exports",
    "keys",
    "login",
    "leads/none",
)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_page_is_wider_than_its_screen(
    opened: Opened, size: dict[str, int], theme: str, screenshots: Path | None
) -> None:
    page, wider = opened(size=size, theme=theme), dict[str, object]()
    for path in PAGES:
        page.goto(path)
        if screenshots is not None:
            name = path.strip("./").replace("/", "-").partition("?")[0] or "now"
            page.screenshot(path=screenshots / f"{name}-{size['width']}-{theme}.png", full_page=True)
        if too_wide := page.evaluate(TOO_WIDE):
            wider[path] = too_wide
    assert wider == {}


@pytest.mark.parametrize(("size", "theme"), [(PHONE, "light"), (DESK, "dark")], ids=["phone light", "desk dark"])
def test_axe_finds_nothing(opened: Opened, size: dict[str, int], theme: str) -> None:
    """Names, contrast, landmarks, order of headings, tables."""
    page = opened(size=size, theme=theme)
    axe, reports = Axe(), dict[str, str]()
    for path in PAGES:
        page.goto(path)
        found = axe.run(page)
        if found.violations_count:
            reports[path] = found.generate_report()
    assert reports == {}
