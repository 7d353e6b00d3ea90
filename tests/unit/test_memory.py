"""The folder in memory for a run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.local import memory
from services.cli.local.memory import folder_in_memory


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However full the machine is that runs these tests."""
    monkeypatch.setattr(memory, "NEEDED_BYTES", 1)


def test_one_folder_an_owner_gone_at_the_end(tmp_path: Path) -> None:
    """What a killed run has left there is found by the next."""
    with (
        folder_in_memory(Path("/mine"), within=tmp_path) as mine,
        folder_in_memory(Path("/yours"), within=tmp_path) as yours,
    ):
        assert mine is not None
        assert yours not in {None, mine}
        (mine / "left").write_text("")
    assert list(tmp_path.iterdir()) == []
    with folder_in_memory(Path("/mine"), within=tmp_path) as again:
        assert again == mine


def test_none_without_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no memory to spare, or no such place."""
    with folder_in_memory(Path("/mine"), within=tmp_path / "nowhere") as folder:
        assert folder is None
    monkeypatch.setattr(memory, "NEEDED_BYTES", 1 << 60)
    with folder_in_memory(Path("/mine"), within=tmp_path) as folder:
        assert folder is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_stranger_has_put_there_is_left_alone(tmp_path: Path) -> None:
    """Anybody may write there: a link of our name would have us fill, and remove, whatever it leads to."""
    with folder_in_memory(Path("/mine"), within=tmp_path) as mine:
        assert mine is not None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mine.symlink_to(elsewhere)
    with folder_in_memory(Path("/mine"), within=tmp_path) as folder:
        assert folder is None
    assert mine.is_symlink()
    assert elsewhere.is_dir()
