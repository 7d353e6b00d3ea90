"""A lead's attributes: whatever the contract has no field for. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from services.ingest.problems import path_of, shown, wrong_with_text
from shared.events import FieldError, LeadFields

ATTRIBUTES_MAX_BYTES = 64 * 1024
ATTRIBUTES_MAX_DEPTH = 20
Path = tuple[str | int, ...]


def attributes_of(event: LeadFields) -> dict[str, Any]:
    """Its `attributes` and its unknown fields; of two with one name, the attribute."""
    return {**(event.model_extra or {}), **(event.attributes or {})}


def attribute_errors(event: LeadFields) -> Iterator[FieldError]:
    """The first thing that PostgreSQL's jsonb, or a reader, could not take; else the size, if it is too much."""
    if not (event.attributes or event.model_extra):
        return
    for path, part in ((("attributes",), event.attributes or {}), ((), event.model_extra or {})):
        if wrong := _unstorable(part, path, depth=1):
            where, problem = wrong
            yield FieldError(field=path_of(where), problem=problem)
            return
    size = len(json.dumps(attributes_of(event), ensure_ascii=False, separators=(",", ":")).encode())
    if size > ATTRIBUTES_MAX_BYTES:
        problem = f"must have at most {ATTRIBUTES_MAX_BYTES:,} bytes as JSON with all unknown fields, has {size:,}"
        yield FieldError(field="attributes", problem=problem)


def _unstorable(value: object, path: Path, depth: int) -> tuple[Path, str] | None:
    """Where inside a value something cannot be stored, and what is wrong with it."""
    if wrong := _wrong_with(value, depth):
        return path, wrong
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return next(filter(None, (_unstorable(part, (*path, key), depth + 1) for key, part in parts)), None)
    return None


def _wrong_with(value: object, depth: int) -> str | None:
    match value:
        case str():
            return wrong_with_text(value)
        case float() if not math.isfinite(value):
            return "must be a finite number, not NaN or Infinity"
        case dict() | list() if depth > ATTRIBUTES_MAX_DEPTH:
            return f"must be nested at most {ATTRIBUTES_MAX_DEPTH} deep"
        case dict():
            names = (f"the name {shown(name)} {wrong}" for name in value if (wrong := wrong_with_text(name)))
            return next(names, None)
        case None | bool() | int() | float() | list():
            return None
        case _:
            return f"must be JSON, got {shown(value)}"
