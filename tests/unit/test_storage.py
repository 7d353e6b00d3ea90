"""Where sheets are kept: names that cannot collide or lead elsewhere, and files that are whole or not there."""

from __future__ import annotations

import os
import threading
import time
from datetime import date
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import example, given
from hypothesis import strategies as st

from services.documents.filenames import lot_suffix, sheet_path, slug, stream_suffix
from shared import sheetstore as storage
from shared.outage import DependencyGoneError
from shared.sheetstore import DamagedFileError, SheetStore

DAY = date(2025, 11, 21)
EVIL = (
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\x00b",
    "..",
    ".",
    ".hidden",
    "",
    " ",
    "CON",
    "a:b*?",
    "Å" * 255,
    "\ud800",
)
codes = st.one_of(st.text(max_size=300), st.text("ABab01_-~", max_size=6), st.sampled_from(EVIL))
triples = st.tuples(codes, st.from_regex("[0-9A-Z]{4}", fullmatch=True), codes)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("S001", "A001"), "leads_assignment_2025-11-21_S001_A001.pdf"),
        (("BLR-7", "A001", stream_suffix(7)), "leads_assignment_2025-11-21_BLR-7_A001_0007.pdf"),
        (("S001", "A001", stream_suffix(12345)), "leads_assignment_2025-11-21_S001_A001_12345.pdf"),
        (("S001", "A001", lot_suffix(42)), "leads_assignment_2025-11-21_S001_A001_lot42.pdf"),
    ],
)
def test_usual_codes_give_the_seeds_names(arguments: tuple[str, ...], name: str) -> None:
    """Date, store, agent, then what tells the sheets of a day apart."""
    assert sheet_path(DAY, *arguments) == f"leads_assignment/2025-11-21/{name}"


@given(triples)
def test_no_code_leads_out_of_its_folder(triple: tuple[str, str, str]) -> None:
    """One file name in letters that every file system takes, and short enough."""
    path = PurePosixPath(sheet_path(DAY, *triple))
    assert path.parent == PurePosixPath("leads_assignment/2025-11-21")
    assert path.name.isascii()
    assert not set(path.name) & set('\\/:*?"<>| \x00')
    assert len(path.name) <= 255


@given(triples, triples)
@example(("X_A001", "1234", ""), ("X", "A001", "1234"))
@example(("meta", "A001", ""), ("META", "A001", ""))
@example(("X", "A001", "lot42"), ("X", "A001", "LOT42"))
@example(("a b", "A001", ""), ("a-b", "A001", ""))
@example(("X" * 60, "A001", ""), ("X" * 61, "A001", ""))
def test_different_codes_have_different_names(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Also where upper and lower case are the same."""
    names = sheet_path(DAY, *one).casefold(), sheet_path(DAY, *other).casefold()
    assert (names[0] == names[1]) == (one == other)


@given(codes)
def test_a_slug_is_no_code_of_another(code: str) -> None:
    """What is written otherwise looks like nothing that stays as it is."""
    if slug(code) != code:
        assert slug(slug(code)) != slug(code)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """With its digest and size."""
    store = SheetStore(tmp_path / "new")
    stored = store.write("a/b/sheet.pdf", b"content")
    assert stored == storage.StoredFile("a/b/sheet.pdf", sha256(b"content").hexdigest(), 7)
    assert store.read(stored.path, stored.sha256) == b"content"
    assert [path.name for path in (tmp_path / "new/a/b").iterdir()] == ["sheet.pdf"]


class EndpointConnectionError(Exception):
    """As botocore raises it."""


@pytest.fixture(params=["folder", "file://", "memory://"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> SheetStore:
    """A store in a folder, in a folder named by a URL, and behind fsspec."""
    roots: dict[str, str | Path] = {"folder": tmp_path, "file://": f"file://{tmp_path}"}
    return SheetStore(roots.get(request.param, f"memory://{tmp_path}"))


def test_every_store_keeps_its_word(anywhere: SheetStore) -> None:
    """What is written can be read, written anew, is told when it is damaged or missing, and nothing leads out."""
    first = anywhere.write("returned/ab/sheet.pdf", b"content")
    second = anywhere.write("returned/ab/sheet.pdf", b"changed")
    anywhere.probe()
    assert anywhere.read(second.path, second.sha256) == b"changed"
    with pytest.raises(DamagedFileError, match=r"sheet\.pdf"):
        anywhere.read(first.path, first.sha256)
    with pytest.raises(FileNotFoundError):
        anywhere.read("returned/ab/other.pdf", first.sha256)
    for path in ("../sheet.pdf", "/tmp/sheet.pdf", "a/\x00", ""):
        with pytest.raises(ValueError, match="no path inside the store"):
            anywhere.write(path, b"content")


@pytest.mark.parametrize(("root", "backend"), [("NAME", "fs"), ("file://NAME", "fs"), ("memory://NAME", "memory")])
def test_a_store_says_what_it_is(tmp_path: Path, root: str, backend: str) -> None:
    """As documents name it."""
    assert SheetStore(root.replace("NAME", str(tmp_path))).backend == backend


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionRefusedError("refused"), DependencyGoneError),
        (EndpointConnectionError("an error that only the driver knows"), DependencyGoneError),
        (PermissionError("forbidden"), PermissionError),
    ],
)
def test_a_store_that_does_not_answer_is_an_outage(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: type[Exception]
) -> None:
    """What keeps all sheets out is waited for; what a person must allow is no outage."""
    store = SheetStore("memory://nowhere")

    def refuse(*_: object, **__: object) -> None:
        raise error

    for call in ("pipe_file", "cat_file", "info"):
        monkeypatch.setattr(MemoryFileSystem, call, refuse)
    for act in (lambda: store.write("a.pdf", b""), lambda: store.read("a.pdf", ""), store.probe):
        with pytest.raises(told):
            act()


def test_the_same_content_is_written_once(tmp_path: Path) -> None:
    """The file is not touched again; other content takes its place."""
    store = SheetStore(tmp_path)
    first = store.write("a/b/sheet.pdf", b"content")
    inode = (tmp_path / first.path).stat().st_ino
    assert store.write("a/b/sheet.pdf", b"content") == first
    assert (tmp_path / first.path).stat().st_ino == inode
    assert store.write("a/b/sheet.pdf", b"changed").sha256 != first.sha256
    assert (tmp_path / first.path).read_bytes() == b"changed"


def test_a_changed_file_is_not_read(tmp_path: Path) -> None:
    """Half of it, or something else."""
    store = SheetStore(tmp_path)
    stored = store.write("a/b/sheet.pdf", b"content")
    (tmp_path / stored.path).write_bytes(b"cont")
    with pytest.raises(DamagedFileError, match=r"sheet\.pdf"):
        store.read(stored.path, stored.sha256)
    with pytest.raises(FileNotFoundError):
        store.read("a/b/other.pdf", stored.sha256)


@pytest.mark.parametrize(
    "path", ["../sheet.pdf", "/tmp/sheet.pdf", "a/../../sheet.pdf", "a/\x00", "", "link/sheet.pdf"]
)
def test_no_path_leads_out_of_the_store(tmp_path: Path, path: str) -> None:
    """Neither by dots nor by a link."""
    (tmp_path / "elsewhere").mkdir()
    store = SheetStore(tmp_path / "store")
    (tmp_path / "store/link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="store"):
        store.write(path, b"content")
    with pytest.raises(ValueError, match="store"):
        store.read(path, "")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: the old file stays, whole, and nothing beside it."""
    store = SheetStore(tmp_path)
    stored = store.write("a/b/sheet.pdf", b"content")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write("a/b/sheet.pdf", b"changed")
    assert store.read(stored.path, stored.sha256) == b"content"
    assert len(list((tmp_path / "a/b").iterdir())) == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names descriptors by /proc")
def test_file_and_folders_are_on_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the content, then its name, then the names of the folders above."""
    synced: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    SheetStore(tmp_path).write("a/b/sheet.pdf", b"content")
    assert synced[0].startswith(storage._TEMPORARY)
    assert synced[1:] == ["b", "a", tmp_path.name]


def test_opening_removes_old_leftovers_only(tmp_path: Path) -> None:
    """A writer that is at work keeps its file."""
    folder = tmp_path / "leads_assignment/2025-11-21"
    folder.mkdir(parents=True)
    old, new, sheet = (folder / name for name in (".leadline-part-0", ".leadline-part-1", "sheet.pdf"))
    for path in (old, new, sheet):
        path.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    os.utime(sheet, (two_hours_ago, two_hours_ago))
    SheetStore(tmp_path)
    assert sorted(folder.iterdir()) == [new, sheet]


def test_many_writers_of_one_sheet_leave_it_whole(tmp_path: Path) -> None:
    """Every one of them succeeds, and a reader never sees a part."""
    contents = [bytes([number]) * 300_000 for number in range(8)]
    store = SheetStore(tmp_path)
    threads = [threading.Thread(target=store.write, args=("a/b/sheet.pdf", content)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        path = tmp_path / "a/b/sheet.pdf"
        assert not path.exists() or path.read_bytes() in contents
    for thread in threads:
        thread.join()
    assert (tmp_path / "a/b/sheet.pdf").read_bytes() in contents
    assert len(list((tmp_path / "a/b").iterdir())) == 1
