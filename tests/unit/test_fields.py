"""`--set FIELD=VALUE` on a JSON body."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.deadletters.fields import with_fields
from services.cli.failures import CommandError

BODY: dict[str, Any] = {"lead_id": "A", "stage": 1, "attributes": {"utm": {"source": "x"}}, "tags": ["a", {"b": 1}]}


@pytest.mark.parametrize(
    ("pair", "path", "value"),
    [
        ("stage=3", ["stage"], 3),
        ("lead_id=0012", ["lead_id"], "0012"),
        ("lead_id=12", ["lead_id"], "12"),
        ("lead_id=null", ["lead_id"], None),
        ('stage="3"', ["stage"], "3"),
        ("email=ann@example.com", ["email"], "ann@example.com"),
        ("note=a=b, c", ["note"], "a=b, c"),
        ("note=", ["note"], ""),
        ("is_order_placed=true", ["is_order_placed"], True),
        ('attributes={"a": [1]}', ["attributes"], {"a": [1]}),
        ("attributes.utm.source=meta", ["attributes", "utm", "source"], "meta"),
        ("attributes.new.deep=1.5", ["attributes", "new", "deep"], 1.5),
        ("tags.0=b", ["tags", 0], "b"),
        ("tags.1.b=2", ["tags", 1, "b"], 2),
    ],
)
def test_a_field_is_set_with_its_type(pair: str, path: list[Any], value: object) -> None:
    changed: Any = with_fields(BODY, [pair])
    for name in path:
        changed = changed[name]
    assert changed == value
    assert type(changed) is type(value)


@pytest.mark.parametrize(
    "pair", ["stage", "=1", "a..b=1", "stage.x=1", "tags.2=x", "tags.x=1", "tags.-1=1", "lead_id.a.b=1"]
)
def test_what_leads_nowhere_is_refused_with_the_pair(pair: str) -> None:
    with pytest.raises(CommandError) as refused:
        with_fields(BODY, [pair])
    assert f"--set {pair}" in str(refused.value)


@given(st.lists(st.from_regex(r"[a-z]{1,3}(\.[a-z0-9]{1,3}){0,2}=.*", fullmatch=True)))
def test_the_original_is_left_as_it_was(pairs: list[str]) -> None:
    body = {"a": {"b": [1]}}
    with suppress(CommandError):
        with_fields(body, pairs)
    assert body == {"a": {"b": [1]}}
