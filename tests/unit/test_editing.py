"""How a dead letter's body is changed: in an editor, from a file, by fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.deadletters.editing import by_content, by_fields, in_editor
from services.cli.failures import CommandError

BODY = b'{"name":"May","no":1.0}'


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    return tmp_path / "draft.json"


@pytest.mark.parametrize(
    ("editor", "body", "after"),
    [
        ("sed -i s/May/June/", BODY, b'{"name": "June", "no": 1.0}'),
        ("true", BODY, BODY),
        ("sed -i s/no/text/", b"no JSON\xff", b"text JSON\xff"),
        ("sed -i s/.*/{/", BODY, b"{\n{\n{\n{\n"),
    ],
)
def test_what_the_editor_leaves_is_the_body(
    monkeypatch: pytest.MonkeyPatch, draft: Path, editor: str, body: bytes, after: bytes
) -> None:
    """Left as it was, it is byte for byte what it was; what is no JSON stays as written, to be refused."""
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", editor)
    assert in_editor(draft)(body) == after
    assert draft.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("editor", ["false", "no-such-editor --wait", "'unclosed"])
def test_an_editor_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, draft: Path, editor: str) -> None:
    monkeypatch.setenv("VISUAL", editor)
    with pytest.raises(CommandError) as refused:
        in_editor(draft)(BODY)
    assert editor in str(refused.value).replace("\\", "").replace('"', "'")


def test_a_file_goes_on_one_line_and_fields_keep_the_others() -> None:
    assert by_content(b'{\n "a": "\xc3\xa9"\n}\n')(b"") == '{"a": "é"}'.encode()
    assert by_fields(["no=2"])(BODY) == b'{"name": "May", "no": 2}'


@pytest.mark.parametrize("body", [b"\xff", b"no JSON", b""])
def test_fields_of_what_is_no_json_cannot_be_set(body: bytes) -> None:
    with pytest.raises(CommandError):
        by_fields(["a=1"])(body)


def test_what_is_no_json_value_is_not_saved() -> None:
    with pytest.raises(CommandError):
        by_fields(["a=NaN"])(BODY)
