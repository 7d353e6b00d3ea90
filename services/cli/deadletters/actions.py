"""Who does something to dead letters, and the statements that record it."""

from __future__ import annotations

import getpass


def operator() -> str:
    """Give the name of the user at the terminal."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user has no name
        return "cli"
