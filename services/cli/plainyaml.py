"""YAML as people mean it: `0010` and `NO` are text, not 8 and false, and a key that comes twice is an error."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, Final

import yaml


class YamlError(ValueError):
    """The text is not YAML, or not as people mean it."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.place = place
        self.problem = problem


class Line(dict[str, Any]):
    """A mapping that is written on one line."""


def load(text: str) -> Any:
    """The content of `text`: mappings, lists, text, whole and decimal numbers, true, false, null.

    Raises YamlError with line and column.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise YamlError(
            f"line {mark.line + 1}, column {mark.column + 1}" if mark else "", error.problem or "is not YAML"
        ) from None
    except yaml.YAMLError as error:
        raise YamlError("", f"is not YAML: {str(error).splitlines()[0]}") from None


def dump(content: object) -> str:
    """YAML that `load`, and any other reader, takes for the same content."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_NEVER_WRAPPED)


_NEVER_WRAPPED: Final = 1_000_000
_TYPES: Final = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^-?[0-9]+\.[0-9]+$", "-0123456789"),
    ("merge", r"^<<$", "<"),
)
_LIKE_A_NUMBER: Final = re.compile(r"^[-+.]?[0-9][-+._0-9a-fA-FxXoO]*$")
# What PostgreSQL cannot store.
_NOT_TEXT: Final = re.compile("[\x00\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                _refuse(key, f"{key.value!r} comes twice: remove one of them")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if _NOT_TEXT.search(str(node.value)):
            _refuse(node, "text must not have the character NUL or half of a surrogate pair")
        return super().construct_scalar(node)


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _TYPES:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list(_first))


class _Dumper(yaml.SafeDumper):
    """Lists are indented, and nothing is written once and referred to afterwards."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    """Text; what another reader could take for a number (0008 is one in YAML 1.2, and text in 1.1) is quoted."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="'" if _LIKE_A_NUMBER.match(data) else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    Line, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)
)


def _refuse(node: yaml.Node, problem: str) -> None:
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
