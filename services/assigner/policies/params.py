"""What a route may set for its policy, and how it is read from the route's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Least:
    """The smallest number allowed."""

    value: int


Days = Annotated[int, Least(0)]
Positive = Annotated[int, Least(1)]


class ParamsError(ValueError):
    """One line for people: which parameter, what is wrong with it, what is allowed."""


@dataclass(frozen=True, slots=True)
class Params:
    """What every route may set; a policy's own class adds to it, or has other defaults."""

    #: Leads of this stage or a higher one are not for this route.
    stage_below: Positive | None = None
    #: Leads that are older, by their date, are not for this route.
    max_age_days: Days | None = None
    #: Assigning a lead raises its stage by one.
    raise_stage: bool = False
    #: A new lot ends the route's earlier assignments that nobody has begun.
    ends_unbegun: bool = False
    #: With which count a member joins: the others' lowest, their average, or none.
    newcomers: Literal["lowest", "average", "zero"] = "lowest"


P = TypeVar("P", bound=Params)


def read_params(kind: type[P], given: Mapping[str, Any]) -> P:
    """Make a policy's parameters; ParamsError if a name is unknown or a value is not allowed."""
    allowed = _parameters(kind)  # type: ignore[arg-type]  # mypy looks at the hash of instances, not of the class
    for name, value in given.items():
        if name not in allowed:
            raise ParamsError(f"{name}: no such parameter; there are: {', '.join(allowed)}")
        if not any(choice.admits(value) for choice in allowed[name]):
            words = " or ".join(choice.words for choice in allowed[name])
            raise ParamsError(f"{name}: must be {words}, not {value!r}")
    return kind(**given)


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of a parameter's types: which JSON values it admits."""

    words: str
    type: type
    values: tuple[Any, ...] = ()
    least: int | None = None

    def admits(self, value: object) -> bool:
        if type(value) is not self.type:  # True is an int to isinstance, but no number to people
            return False
        if self.least is not None:
            return isinstance(value, int) and value >= self.least
        return not self.values or value in self.values


@cache  # a stream decides many times a second
def _parameters(kind: type[Params]) -> Mapping[str, Sequence[_Choice]]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _choices(hints[field.name]) for field in fields(kind)}


def _choices(hint: Any) -> list[_Choice]:
    if hint is NoneType:
        return [_Choice("null", NoneType)]
    if hint is bool:
        return [_Choice("true or false", bool)]
    if get_origin(hint) is Annotated:
        least = hint.__metadata__[0].value
        return [_Choice(f"a whole number from {least}", int, least=least)]
    if get_origin(hint) is Literal:
        return [_Choice(f"one of {', '.join(get_args(hint))}", str, values=get_args(hint))]
    return [choice for option in get_args(hint) for choice in _choices(option)]
