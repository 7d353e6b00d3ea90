"""What is wrong with a body that cannot be read, in a sentence for a person, and whose it is all the same. Pure.

The sentence says what and where, and repeats nothing of the body but the names of its fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.events import LeadId

NAME_SHOWN_LENGTH = 80
#: As deep as pydantic's parser goes.
DEPTH_MAX = 200
HALF_CHARACTER = "must not have half a character (a lone surrogate, U+D800 to U+DFFF)"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_LEAD_ID = TypeAdapter[str](LeadId)
Path = tuple[str | int, ...]


def why_unreadable(body: bytes) -> str:
    """Say why a body that the parser has refused is no JSON object."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        return f"the body must be text in UTF-8: byte {error.start + 1:,} is not"
    try:
        return f"the body {_wrong_with(json.loads(text))}"
    except json.JSONDecodeError as error:
        return f"the body {_wrong_with_text(error)}"
    except RecursionError:
        return "the body must not be nested that deep"
    except ValueError:  # the parser's only other one
        return "the body must not have a number that long"


def lead_id_in(body: bytes) -> str | None:
    """Find the lead that a body is about; None if it names none, or none that can be."""
    try:
        value = json.loads(body.decode(errors="replace"))
        return next(
            (_LEAD_ID.validate_python(found) for found in _lead_ids(value) if REPLACEMENT not in str(found)), None
        )
    except (ValidationError, ValueError, RecursionError):
        return None


def _lead_ids(value: object) -> Iterator[object]:
    """The event's own, or that of the one in a CloudEvent."""
    for event in (value, value.get("data") if isinstance(value, dict) else None):
        if isinstance(event, dict) and "lead_id" in event:
            yield event["lead_id"]


def _wrong_with_text(error: json.JSONDecodeError) -> str:
    place = f"line {error.lineno}, column {error.colno}"
    if not error.doc.strip():
        return "must be one JSON object, is empty"
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
        return f"must be whole JSON: it ends too early, in what begins at {place}"
    return f"must be one JSON object, is no JSON from {place} on"


def _wrong_with(value: object) -> str:
    """What our parser takes and pydantic's does not."""
    for path, text in _texts(value):
        if len(path) > DEPTH_MAX:
            return "must not be nested that deep"
        if any("\ud800" <= character <= "\udfff" for character in text):
            return f"{HALF_CHARACTER}: {_shown(path)} has one"
    return "must be one JSON object"


def _texts(value: Any) -> Iterator[tuple[Path, str]]:
    """Every name and text with its path; of what holds others, the path alone."""
    left: list[tuple[Path, Any]] = [((), value)]
    while left:
        path, value = left.pop()
        yield path, value if isinstance(value, str) else ""
        match value:
            case dict() if len(path) <= DEPTH_MAX:
                yield from (((*path, name), name) for name in value)
                left += [((*path, name), item) for name, item in value.items()]
            case list() if len(path) <= DEPTH_MAX:
                left += [((*path, number), item) for number, item in enumerate(value)]


def _shown(path: Path) -> str:
    """attributes.utm[2].name; a name that cannot be printed is quoted."""
    steps = (f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in path[-5:])
    return "".join(steps).removeprefix(".") or "its text"


def _printable(name: str) -> str:
    return name if name.isprintable() and 0 < len(name) <= NAME_SHOWN_LENGTH else ascii(name[:NAME_SHOWN_LENGTH])
