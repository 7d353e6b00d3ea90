"""What is wrong with a body that cannot be read: a sentence that says what and where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from shared.messaging.bodies import HALF_CHARACTER, why_unreadable

SENTENCES: dict[str, tuple[str | bytes, str]] = {
    "nothing": (b"", "must be one JSON object, is empty"),
    "blanks": (b" \n", "must be one JSON object, is empty"),
    "not JSON": ("hello", "must be one JSON object, is no JSON from line 1, column 1 on"),
    "XML": ("<lead/>", "must be one JSON object, is no JSON from line 1, column 1 on"),
    "more than one": ("{}\n{}", "must be one JSON object, is no JSON from line 2, column 1 on"),
    "a control character": ('{"a": "\x01"}', "must be one JSON object, is no JSON from line 1, column 8 on"),
    "cut off in a text": (
        '{"lead_id": "L',
        "must be whole JSON: it ends too early, in what begins at line 1, column 13",
    ),
    "cut off": ('{"lead_id":\n', "must be whole JSON: it ends too early, in what begins at line 2, column 1"),
    "half a character": (r'{"name": "a\ud800"}', f"{HALF_CHARACTER}: name has one"),
    "the other half": (r'{"attributes": {"utm": [1, "\udc00"]}}', f"{HALF_CHARACTER}: attributes.utm[1] has one"),
    "in a name": (r'{"a\ud800": 1}', rf"{HALF_CHARACTER}: 'a\ud800' has one"),
    "the text alone": (r'"\ud800"', f"{HALF_CHARACTER}: its text has one"),
    "Windows-1252": (b'{"lead_id": "caf\xe9"}', "must be text in UTF-8: byte 17 is not"),
    "half a character as bytes": (b'{"a": "\xed\xa0\x80"}', "must be text in UTF-8: byte 8 is not"),
    "a ZIP file": (b"PK\x03\x04\xff\xfe", "must be text in UTF-8: byte 5 is not"),
    "deep": ("[" * 300 + "]" * 300, "must not be nested that deep"),
    "deeper": ('{"a":' * 100_000, "must not be nested that deep"),
    "a long number": (f'{{"n": {"9" * 5000}}}', "must not have a number that long"),
}


@pytest.mark.parametrize(("body", "problem"), SENTENCES.values(), ids=SENTENCES.keys())
def test_a_sentence_says_what_is_wrong_and_where(body: str | bytes, problem: str) -> None:
    """In the words of a person, not of the parser."""
    assert why_unreadable(body if isinstance(body, bytes) else body.encode()) == f"the body {problem}"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=[]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_whatever_the_parser_refuses_has_a_reason(body: bytes) -> None:
    """One line, of a bounded length."""
    try:
        from_json(body)
    except ValueError:
        why = why_unreadable(body)
        assert why != "the body must be one JSON object"
        assert why.isprintable()
        assert len(why) < 600
