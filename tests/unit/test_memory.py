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


@pytest.fixture
def within(tmp_path: Path) -> Path:
    """What stands for the memory."""
    folder = tmp_path / "memory"
    folder.mkdir()
    return folder


def test_one_folder_an_owner_gone_at_the_end(tmp_path: Path, within: Path) -> None:
    """What a killed run has left there is found by the next."""
    owners = tmp_path / "mine", tmp_path / "yours"
    with folder_in_memory(owners[0], within=within) as mine, folder_in_memory(owners[1], within=within) as yours:
        assert mine is not None
        assert yours not in {None, mine}
        (mine / "left").write_text("")
    assert list(within.iterdir()) == []
    with folder_in_memory(owners[0], within=within) as again:
        assert again == mine


def test_it_stays_while_another_run_has_it(tmp_path: Path, within: Path) -> None:
    """Of the same working copy: what is in it are servers that run."""
    with folder_in_memory(tmp_path, within=within) as first:
        with folder_in_memory(tmp_path, within=within) as second:
            assert second == first
        assert first is not None
        assert first.is_dir()
    assert not first.exists()


def test_none_without_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, within: Path) -> None:
    """Where there is no memory to spare, or no such place."""
    with folder_in_memory(tmp_path, within=tmp_path / "nowhere") as folder:
        assert folder is None
    monkeypatch.setattr(memory, "NEEDED_BYTES", 1 << 60)
    with folder_in_memory(tmp_path, within=within) as folder:
        assert folder is None
    assert list(within.iterdir()) == []


def test_what_a_stranger_has_put_there_is_left_alone(tmp_path: Path, within: Path) -> None:
    """Anybody may write there: a link of our name would have us fill, and remove, whatever it leads to."""
    with folder_in_memory(tmp_path, within=within) as mine:
        assert mine is not None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mine.symlink_to(elsewhere)
    with folder_in_memory(tmp_path, within=within) as folder:
        assert folder is None
    assert mine.is_symlink()
    assert elsewhere.is_dir()
