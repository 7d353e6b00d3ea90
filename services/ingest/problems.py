"""What is wrong with a message, in words for the person who will repair it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.events import FieldError
from shared.messaging.bodies import HALF_CHARACTER

VALUE_SHOWN_LENGTH = 80
A_TIME = "must be a date or time such as 2025-01-31T10:00:00+05:30"
A_DAY = "must be a date such as 2025-01-31"
#: What pydantic's types of errors ask for.
EXPECTED = {
    "bool": "must be true or false",
    "date_": A_DAY,
    "datetime_": A_TIME,
    "dict_type": "must be an object",
    "greater_than_equal": "must be at least {ge}",
    "int_": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "model_": "must be one JSON object",
    "string_type": "must be text",
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that cannot be taken, and why, field by field and as one line."""

    errors: tuple[FieldError, ...]

    @property
    def reason(self) -> str:
        return "; ".join(f"{error.field}: {error.problem}" for error in self.errors)


def as_error(error: ValidationError) -> Rejected:
    """What the contract's models refuse, field by field, in words for people."""
    return Rejected(tuple(_in_words(item) for item in error.errors(include_url=False)))


def shown(value: object) -> str:
    """A value for a message: as Python writes it, no longer than a line."""
    text = repr(value[:VALUE_SHOWN_LENGTH] if isinstance(value, str) else value)
    return text if len(text) <= VALUE_SHOWN_LENGTH else f"{text[: VALUE_SHOWN_LENGTH - 3]}..."


def path_of(parts: Iterable[str | int]) -> str:
    """attributes.utm[2].name; a name that cannot be printed is quoted, the whole message is the body."""
    steps = (f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in parts)
    return "".join(steps).removeprefix(".") or "body"


def wrong_with_text(text: str) -> str | None:
    """Why PostgreSQL could not store the text; None when it can."""
    if "\x00" in text:
        return "must not have the character NUL (U+0000)"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return HALF_CHARACTER
    return None


def _in_words(item: ErrorDetails) -> FieldError:
    problem = _problem(item["type"], item["input"], item.get("ctx", {}), item["msg"])
    return FieldError(field=path_of(item["loc"]), problem=problem)


def _problem(kind: str, value: object, context: Mapping[str, Any], message: str) -> str:
    """One error of pydantic's; `message` is its own, taken for the errors that our models word themselves."""
    if kind == "missing" or value is None or (isinstance(value, str) and not value.strip()):
        return "is required"
    if kind in {"too_long", "string_too_long"}:
        return f"must have at most {context['max_length']} characters, has {len(str(value).strip())}"
    if kind == "string_unicode":
        return HALF_CHARACTER
    for prefix, expected in EXPECTED.items():
        if kind.startswith(prefix):
            return f"{expected.format_map(context)}, got {shown(value)}"
    return message.replace("Input should be", "must be")


def _printable(name: str) -> str:
    return name if name.isprintable() and 0 < len(name) <= VALUE_SHOWN_LENGTH else shown(name)
