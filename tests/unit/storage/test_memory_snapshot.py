"""A memory store that begins with an archive and is saved to it, and tree copies with it."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest

from zarrfs.errors import CorruptError, CreateFailedError, NoSpaceError
from zarrfs.storage import Key, copying, memory_snapshot
from zarrfs.storage.memory_snapshot import SnapshotBackend
from zarrfs.storage.tree import ROOT, AttrChange, Owner

OWNER = Owner(0, 0)


def saved(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    store = SnapshotBackend(str(path))
    store.set(Key("a/b"), b"1" * 3_000_000)
    store.set(Key("top"), b"")
    tree = store.file_tree()
    folder = tree.make(ROOT, b"empty", stat.S_IFDIR | 0o700, OWNER)
    tree.make(ROOT, b"link", stat.S_IFLNK | 0o777, OWNER, target=b"a/b")
    tree.set_attr(folder.nodeid, AttrChange(mtime_ns=1_000_000_000))
    store.close()
    assert saved(path)["a/b"] == b"1" * 3_000_000

    again = SnapshotBackend(str(path))
    tree = again.file_tree()
    assert again.get(Key("a/b")) == b"1" * 3_000_000
    assert again.get(Key("top")) == b""
    assert {entry.name for entry in tree.list_dir(ROOT)} == {b"a", b"top", b"empty", b"link"}
    empty = tree.lookup(ROOT, b"empty").attr
    assert (stat.S_IMODE(empty.mode), empty.mtime_ns) == (0o700, 1_000_000_000)
    assert tree.read_link(tree.lookup(ROOT, b"link").nodeid) == b"a/b"
    again.close()


def test_flush_saves_what_changed_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    store = SnapshotBackend(str(path))
    store.flush()
    assert saved(path) == {}
    before = path.stat().st_ino
    store.flush()
    assert path.stat().st_ino == before
    store.set(Key("k"), b"v")
    store.flush()
    assert saved(path) == {"k": b"v"}
    store.delete(Key("k"))
    store.close()
    assert saved(path) == {}
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.zip"]


def test_a_successor_goes_on_and_saves(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    first = SnapshotBackend(str(path))
    first.set(Key("k"), b"v")
    second = SnapshotBackend.continued(os.dup(first.fileno()), str(path))
    second.set(Key("l"), b"w")
    second.close()
    assert saved(path) == {"k": b"v", "l": b"w"}


def test_what_cannot_be_saved_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.zip"
    store = SnapshotBackend(str(path))
    store.set(Key("k"), b"old")
    store.flush()
    store.set(Key("k"), b"new")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    calls = []

    def full_at_first(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise NoSpaceError(str(path))
        copying.copy_files(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(memory_snapshot, "copy_files", full_at_first)
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    with pytest.raises(NoSpaceError, match="saved as") as raised:
        store.close()
    assert saved(path) == {"k": b"old"}
    rescued = raised.value.remedy.split()[4]
    assert rescued.startswith(str(elsewhere))
    assert saved(Path(rescued)) == {"k": b"new"}


def test_what_cannot_be_begun_with(tmp_path: Path) -> None:
    with pytest.raises(CreateFailedError, match="cannot be written"):
        SnapshotBackend(str(tmp_path / "none" / "s.zip"))
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"PK nothing")
    with pytest.raises(CorruptError):
        SnapshotBackend(str(damaged))
    large = tmp_path / "large.zip"
    with zipfile.ZipFile(large, "w") as file:
        file.writestr("k", b"1" * 2_000_000)
    with pytest.raises(NoSpaceError):
        SnapshotBackend(str(large), size_limit_bytes=1 << 20)
