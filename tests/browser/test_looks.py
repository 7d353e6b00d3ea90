"""How every page looks: at both widths, in both themes, to a screen reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import DESK, PHONE, Opened
from tests.browser.world import World

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
def test_no_page_is_wider_than_its_screen_or_shuts_anybody_out(
    opened: Opened, world: World, size: dict[str, int], theme: str, screenshots: Path | None
) -> None:
    """axe-core finds nothing: names, contrast, landmarks, order of headings, tables."""
    page = opened(size=size, theme=theme)
    axe = Axe()
    for path in PAGES:
        page.goto(path)
        page.wait_for_load_state("load")
        if screenshots is not None:
            name = path.strip("./").replace("/", "-").partition("?")[0] or "now"
            page.screenshot(path=screenshots / f"{name}-{size['width']}-{theme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        found = axe.run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
