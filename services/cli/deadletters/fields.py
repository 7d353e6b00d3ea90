"""`--set FIELD=VALUE`: one field of a JSON body, however deep, with a value of the right type. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

from services.cli.failures import CommandError

HINT = "write FIELD=VALUE, for example attributes.utm.source=meta or items.0.name=x"


def with_fields(body: Any, assignments: Iterable[str]) -> Any:
    """Give a copy of the body with each `FIELD=VALUE` set; objects on the way are made.

    A value is what it is as JSON (`3`, `true`, `null`, `{"a": 1}`), else text; a field that holds text keeps holding
    text. `"3"` is text in any case.

    Raises:
        CommandError: a pair that is none, or a path that leads into something that has no fields.
    """
    changed = copy.deepcopy(body)
    for pair in assignments:
        path, equals, written = pair.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise CommandError(f"--set {pair}: {HINT}")
        holder = changed
        for name in names[:-1]:
            holder = _step(holder, name, pair)
        _put(holder, names[-1], written, pair)
    return changed


def _step(holder: Any, name: str, pair: str) -> Any:
    match holder:
        case dict():
            if holder.get(name) is None:
                holder[name] = {}
            return holder[name]
        case list():
            return holder[_index(holder, name, pair)]
        case _:
            raise CommandError(f"--set {pair}: there is no {name!r} in what is no object")


def _put(holder: Any, name: str, written: str, pair: str) -> None:
    match holder:
        case dict():
            holder[name] = _value(written, holder.get(name))
        case list():
            index = _index(holder, name, pair)
            holder[index] = _value(written, holder[index])
        case _:
            raise CommandError(f"--set {pair}: there is no {name!r} in what is no object")


def _index(items: list[Any], name: str, pair: str) -> int:
    if not name.isdecimal() or int(name) >= len(items):
        raise CommandError(f"--set {pair}: the list has {len(items)} items, counted from 0; {name!r} is none of them")
    return int(name)


def _value(written: str, current: Any) -> Any:
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        return written
    is_text_kept = isinstance(current, str) and not isinstance(value, str | None)
    return written if is_text_kept else value
