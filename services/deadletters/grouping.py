"""Which dead letters have one cause: what and where, with ids and numbers taken out. Pure.

An error of ours is known by its fingerprint, whatever its text says. A message that was refused in words is known by
the words that are the same for all: what is quoted, what holds a digit, addresses and lists of what there is are left
out, so that neither another value nor another configuration makes another group.
"""

from __future__ import annotations

import re

GROUP_MAX_LENGTH = 300
GAP = "…"

_LISTED = re.compile(r"\b(?:known are: [^;]*|none are configured yet)")
_QUOTED = re.compile(
    r"""
    (?<!\w)'(?:[^'\\]|\\.)*(?:'(?!\w)|$)   # as Python writes a text; one that is cut off goes to the end
    | (?<!\w)"(?:[^"\\]|\\.)*(?:"(?!\w)|$)
    | [\[{].*                              # JSON, or a value of Python's: whatever follows may belong to it
    """,
    re.VERBOSE | re.DOTALL,
)
_INDEX = re.compile(r"(?<=\w)\[\d+\]")
_ADDRESS = re.compile(r"[^\s@,;:]+@[^\s@,;:]+")
_NUMBERED = re.compile(r"[\w+./-]*\d[\w+./-]*")
_GAPS = re.compile(rf"{GAP}(?:[\s,]*{GAP})+")


def group_key(queue: str, event_type: str | None, error_type: str, reason: str, *, is_error: bool) -> str:
    """Name the group. `is_error`: something was raised, and `error_type` is its fingerprint."""
    what = error_type if is_error else skeleton(reason)
    return f"{queue} · {event_type} · {what}"[:GROUP_MAX_LENGTH]


def skeleton(reason: str) -> str:
    """Give the words of a reason that do not change from message to message."""
    for pattern in (_INDEX, _LISTED, _QUOTED, _ADDRESS, _NUMBERED, _GAPS):
        reason = pattern.sub(GAP, reason)
    return " ".join(reason.split())
