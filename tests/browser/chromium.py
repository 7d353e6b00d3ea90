"""Chromium, as the machine has it: named by LEADLINE_CHROMIUM, or installed."""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = "no Chromium on this machine: apt-get install chromium, or name one by LEADLINE_CHROMIUM"


def found() -> str | None:
    """The program, or None."""
    return os.environ.get("LEADLINE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
