"""What a person asked for and cannot have, in one line."""

from __future__ import annotations


class CommandError(Exception):
    """The message says what is wrong, where, and what to do."""
