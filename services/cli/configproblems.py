"""What is wrong with a configuration: where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_PATTERNS: Final = {
    r"^[0-9A-Z]{4}$": "must be four digits or capital letters",
    r"^[^@\s]+@[^@\s]+$": "must be an e-mail address",
    r"^[A-Z]{2}$": "must be a country's two capital letters",
    r"^[A-Z]{2,3}$": "must be two or three capital letters",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in the file: where (`routes[2].members[0].agent`), what, and what to do."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class ConfigError(ValueError):
    """The configuration cannot be applied, and nothing of it is. Its text has one line for each problem."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{file}: {problem}" for problem in problems))
        self.problems = tuple(problems)


def explained(error: ErrorDetails, models: Mapping[str, type[BaseModel]]) -> Problem:
    """What pydantic has found, in words. `models`: what the entries of each section are; "" is the whole file."""
    where = error["loc"]
    return Problem(_path(where), _in_words(error, _model_at(where, models)))


def _path(where: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).lstrip(".")


def _model_at(where: Sequence[str | int], models: Mapping[str, type[BaseModel]]) -> type[BaseModel]:
    """The model in which the last step of a path stands."""
    return next(models[step] for step in (*reversed(where[:-1]), "") if isinstance(step, str) and step in models)


def _in_words(error: ErrorDetails, model: type[BaseModel]) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return f"is not known here{known(model)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must have fields, as in {name: …}"
        case "list_type":
            return "must be a list"
        case "string_pattern_mismatch":
            return f"{_PATTERNS[error['ctx']['pattern']]}, not {error['input']!r}"
        case _:
            message = error["msg"].replace("Input should be", "must be").replace("String should", "must")
            return f"{message}, not {error['input']!r}"


def known(model: type[BaseModel]) -> str:
    """The fields that a model has, to be put after what is wrong."""
    return f" (known: {', '.join(model.model_fields)})"
