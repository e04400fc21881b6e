"""Archives open for writing: what other programs see, and when."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.backend_suite import BackendSuite
from zarrfs.errors import (
    BusyError,
    CorruptError,
    ExistsError,
    KeyNotFoundError,
    PathNotFoundError,
    PathRequiredError,
    UnavailableError,
    UnsupportedError,
)
from zarrfs.storage.backend import Backend, HasFileTree, Key
from zarrfs.storage.tree import ROOT, AttrChange, FileTree, NodeId, Owner
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.storage.zip.format import LOCAL, LOCAL_SIGNATURE
from zarrfs.storage.zip.writable import WritableZip
from zarrfs.storage.zip.writable_journal import journal_path

OWNER = Owner(os.geteuid(), os.getegid())


class TestWritableZip(BackendSuite):
    def make(self, folder: Path) -> Backend:
        return WritableZip.init(str(folder / "store.zip"))

    def reopen(self, folder: Path, *, read_only: bool) -> Backend | None:
        return ZipBackend.open(str(folder / "store.zip"), read_only=read_only)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.zip"


@pytest.fixture
def opened(path: Path) -> Iterator[WritableZip]:
    """A new archive, without commits but those asked for."""
    archive = WritableZip(str(path), create=True, commit_interval_s=0)
    yield archive
    archive.close()


def reopened(path: Path) -> WritableZip:
    return WritableZip(str(path), commit_interval_s=0)


def contents(path: Path) -> dict[str, bytes]:
    """What `zipfile` finds, having checked it."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {name: archive.read(name) for name in names}


def nodeid(tree: FileTree, path: str) -> NodeId:
    found = ROOT
    for name in path.split("/"):
        found = tree.lookup(found, name.encode()).nodeid
    return found


def write(tree: FileTree, path: str, offset: int, data: bytes) -> None:
    opened = tree.open(nodeid(tree, path), os.O_WRONLY)
    opened.write(offset, data)
    opened.close()


class TestNewArchives:
    def test_nothing_under_its_name_before_the_first_commit(
        self, opened: WritableZip, path: Path
    ) -> None:
        opened.set(Key("a/0"), b"one")
        assert not path.exists()
        opened.commit()
        assert contents(path) == {"a/0": b"one"}

    def test_only_the_archive_is_left(self, path: Path) -> None:
        WritableZip.init(str(path)).close()
        assert contents(path) == {}
        assert os.listdir(path.parent) == [path.name]

    def test_init_refuses_what_is_there(self, path: Path) -> None:
        path.touch()
        with pytest.raises(ExistsError):
            WritableZip.init(str(path))
        with pytest.raises(PathRequiredError):
            WritableZip.init(None)
        with pytest.raises(PathNotFoundError):
            WritableZip(str(path.parent / "other.zip"))
        with pytest.raises(CorruptError):
            WritableZip(str(path))
        assert os.listdir(path.parent) == [path.name]

    def test_a_file_that_appears_meanwhile_is_not_replaced(
        self, opened: WritableZip, path: Path
    ) -> None:
        opened.set(Key("k"), b"ours")
        path.write_bytes(b"somebody else's")
        with pytest.raises(ExistsError):
            opened.commit()
        assert path.read_bytes() == b"somebody else's"
        path.unlink()
        opened.commit()
        assert contents(path) == {"k": b"ours"}


class TestCommits:
    def test_append_only(self, opened: WritableZip, path: Path) -> None:
        """Who read the old directory can go on reading."""
        opened.set(Key("kept"), b"k" * 1000)
        opened.set(Key("replaced"), b"old")
        opened.commit()
        before = path.read_bytes()
        opened.set(Key("replaced"), b"new")
        opened.delete(Key("kept"))
        opened.set(Key("more"), b"m")
        opened.commit()
        assert path.read_bytes().startswith(before)
        assert contents(path) == {"replaced": b"new", "more": b"m"}

    def test_unchanged_entries_are_not_written_again(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(50):
                archive.writestr(f"c/{number}", bytes([number]) * 100_000)
        size = path.stat().st_size
        with_change = reopened(path)
        with_change.set(Key("c/7"), b"changed")
        with_change.close()
        assert path.stat().st_size - size < 10_000
        found = contents(path)
        assert found.pop("c/7") == b"changed"
        assert len(found) == 49

    def test_nothing_changed_nothing_written(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", b"1")
        before = path.read_bytes()
        opened = reopened(path)
        assert opened.get(Key("a")) == b"1"
        opened.commit()
        opened.close()
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]

    def test_what_was_committed_costs_no_journal_space(
        self, opened: WritableZip, path: Path
    ) -> None:
        opened.set(Key("a"), bytes(1 << 20))
        opened.set(Key("b"), b"\1" * (1 << 20))
        space = opened._ledger.space
        assert space.in_use_bytes > 2 << 20
        opened.commit()
        opened._ledger.journal.sync()
        opened.set(Key("c"), b"")
        opened._ledger.journal.sync()
        assert space.in_use_bytes < 1 << 20
        assert opened.get(Key("b")) == b"\1" * (1 << 20)

    def test_dead_journal_space_is_given_back_though_nobody_syncs(
        self, opened: WritableZip, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zarrfs.storage.zip.writable.SPOOLED_BYTES", 2 << 20)
        for number in range(6):
            opened.set(Key("k"), bytes([number]) * (1 << 20))
            opened.commit()
        assert os.stat(journal_path(str(path))).st_blocks * 512 < 4 << 20

    def test_again_and_again(self, opened: WritableZip, path: Path) -> None:
        expected: dict[str, bytes] = {}
        for number in range(12):
            key, value = f"d/{number % 5}", os.urandom(number * 1000)
            opened.set(Key(key), value)
            expected[key] = value
            if number % 3 == 2:
                opened.delete(Key(key))
                del expected[key]
            opened.commit()
            assert contents(path) == expected
        size = path.stat().st_size
        opened.commit()
        assert path.stat().st_size == size

    def test_a_large_entry_is_streamed(self, opened: WritableZip, path: Path) -> None:
        value = os.urandom(3 << 20)
        opened.set(Key("large"), value)
        opened.commit()
        assert contents(path) == {"large": value}
        tree = opened.file_tree()
        write(tree, "large", 1 << 20, b"patch")
        opened.commit()
        assert contents(path) == {"large": value[: 1 << 20] + b"patch" + value[(1 << 20) + 5 :]}

    def test_a_value_being_written_is_not_committed_half(
        self, opened: WritableZip, path: Path
    ) -> None:
        opened.set(Key("k"), b"old value")
        tree = opened.file_tree()
        handle = tree.open(nodeid(tree, "k"), os.O_WRONLY)
        handle.write(0, b"NEW")
        opened.commit()
        assert contents(path) == {"k": b"old value"}
        handle.close()
        opened.commit()
        assert contents(path) == {"k": b"NEW value"}

    def test_much_is_committed_before_its_time(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zarrfs.storage.zip.writable.SPOOLED_BYTES", 1 << 20)
        opened = WritableZip(str(path), create=True, commit_interval_s=3600)
        opened.set(Key("k"), bytes(2 << 20))
        for _ in range(3000):
            if path.exists():
                break
            time.sleep(0.01)
        assert contents(path) == {"k": bytes(2 << 20)}
        opened.close()

    def test_the_timer_commits(self, path: Path) -> None:
        opened = WritableZip(str(path), create=True, commit_interval_s=0.01)
        opened.set(Key("k"), b"v")
        for _ in range(3000):
            if path.exists():
                break
            time.sleep(0.01)
        assert contents(path) == {"k": b"v"}
        opened.close()


class TestWhatAnArchiveKeeps:
    def test_modes_times_links_and_empty_folders(self, opened: WritableZip, path: Path) -> None:
        tree = opened.file_tree()
        opened.set(Key("run"), b"#!")
        mtime_ns = 1_234_567_890_123_456_700
        tree.set_attr(nodeid(tree, "run"), AttrChange(mode=0o750, mtime_ns=mtime_ns))
        tree.make(ROOT, b"link", stat.S_IFLNK | 0o777, OWNER, target=b"run")
        tree.make(ROOT, b"empty", stat.S_IFDIR | 0o700, OWNER)
        opened.set(Key("folder/file"), b"")
        opened.commit()
        assert sorted(contents(path)) == ["empty/", "folder/file", "link", "run"]
        again = ZipBackend.open(str(path), read_only=True)
        read = again.file_tree()
        attr = read.lookup(ROOT, b"run").attr
        assert attr.mode == stat.S_IFREG | 0o750
        assert attr.mtime_ns == mtime_ns
        assert read.read_link(nodeid(read, "link")) == b"run"
        assert read.lookup(ROOT, b"empty").attr.mode == stat.S_IFDIR | 0o700
        again.close()

    def test_folders_get_entries_only_when_they_need_them(
        self, opened: WritableZip, path: Path
    ) -> None:
        opened.set(Key("a/b/c"), b"1")
        opened.commit()
        assert sorted(contents(path)) == ["a/b/c"]
        opened.file_tree().unlink(nodeid(opened.file_tree(), "a/b"), b"c")
        opened.commit()
        assert sorted(contents(path)) == ["a/b/"]
        opened.set(Key("a/b/d"), b"2")
        opened.commit()
        assert sorted(contents(path)) == ["a/b/d"]

    def test_changed_attributes_do_not_rewrite_content(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/", b"")
            archive.writestr("folder/ä", b"x" * 1_000_000)
        size = path.stat().st_size
        opened = reopened(path)
        tree = opened.file_tree()
        tree.set_attr(nodeid(tree, "folder/ä"), AttrChange(mode=0o600, mtime_ns=10**18))
        tree.set_attr(nodeid(tree, "folder"), AttrChange(mode=0o711))
        opened.close()
        assert path.stat().st_size - size < 1000
        assert contents(path)["folder/ä"] == b"x" * 1_000_000
        with zipfile.ZipFile(path) as archive:
            assert archive.getinfo("folder/ä").external_attr >> 16 == stat.S_IFREG | 0o600
            assert archive.getinfo("folder/").external_attr >> 16 == stat.S_IFDIR | 0o711

    def test_renamed_entries_keep_their_compressed_bytes(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("old/a", "old/deep/b", "file"):
                archive.writestr(name, name.encode() * 100_000)
        opened = reopened(path)
        tree = opened.file_tree()
        tree.rename(ROOT, b"old", ROOT, b"new", 0)
        tree.rename(ROOT, b"file", nodeid(tree, "new"), b"file", 0)
        for number in range(2):
            opened.set(Key("count"), b"%d" % number)
            opened.commit()
            with zipfile.ZipFile(path) as archive:
                assert archive.getinfo("new/deep/b").compress_type == zipfile.ZIP_DEFLATED
            assert contents(path) == {
                "new/a": b"old/a" * 100_000,
                "new/deep/b": b"old/deep/b" * 100_000,
                "new/file": b"file" * 100_000,
                "count": b"%d" % number,
            }
        assert path.stat().st_size < 20_000
        opened.close()

    def test_renaming_there_and_back_changes_nothing_but_the_directory(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b", bytes(1_000_000))
        size = path.stat().st_size
        opened = reopened(path)
        tree = opened.file_tree()
        tree.rename(ROOT, b"a", ROOT, b"x", 0)
        tree.rename(ROOT, b"x", ROOT, b"a", 0)
        opened.close()
        assert path.stat().st_size - size < 1000
        assert contents(path) == {"a/b": bytes(1_000_000)}

    def test_hard_links_become_two_entries(self, opened: WritableZip, path: Path) -> None:
        tree = opened.file_tree()
        opened.set(Key("one"), b"shared")
        tree.link(nodeid(tree, "one"), ROOT, b"two")
        opened.commit()
        assert contents(path) == {"one": b"shared", "two": b"shared"}
        size = path.stat().st_size
        opened.set(Key("other"), b"")
        opened.commit()
        assert path.stat().st_size - size < 800  # neither was written again
        write(tree, "two", 0, b"SHARED")
        opened.commit()
        assert contents(path) == {"one": b"SHARED", "two": b"SHARED", "other": b""}

    def test_a_further_name_of_an_old_entry(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("old", b"1")
        opened = reopened(path)
        opened.file_tree().link(nodeid(opened.file_tree(), "old"), ROOT, b"new")
        opened.close()
        assert contents(path) == {"old": b"1", "new": b"1"}

    def test_temporary_names_of_writers_are_left_out(self, opened: WritableZip, path: Path) -> None:
        for name in ("0.0.__lock", "zarr.0123456789abcdef0123456789abcdef.partial"):
            opened.set(Key(f"a/{name}"), b"unfinished")
        opened.set(Key("a/0.0"), b"chunk")
        opened.set(Key("b/0.0.__lock"), b"")
        opened.commit()
        assert sorted(contents(path)) == ["a/0.0", "b/"]
        assert opened.get(Key("a/0.0.__lock")) == b"unfinished"

    def test_what_it_cannot_keep_is_refused(self, opened: WritableZip) -> None:
        tree = opened.file_tree()
        for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
            with pytest.raises(PermissionError):
                tree.make(ROOT, b"x", kind | 0o644, OWNER)
        with pytest.raises(UnsupportedError):
            tree.set_xattr(ROOT, b"user.a", b"", 0)

    def test_other_owners_are_written_down(self, opened: WritableZip, path: Path) -> None:
        tree = opened.file_tree()
        opened.set(Key("f"), b"1")
        tree.set_attr(nodeid(tree, "f"), AttrChange(uid=1234, gid=77))
        assert tree.attr(nodeid(tree, "f")).uid == 1234
        opened.commit()
        with zipfile.ZipFile(path) as archive:
            field = bytes.fromhex("75780b00" + "01" + "04" + "d2040000" + "04" + "4d000000")
            assert field in archive.getinfo("f").extra


class TestForeignArchives:
    def test_a_replaced_duplicate_does_not_come_back(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("k", b"first")
            archive.writestr("k", b"second")
            archive.writestr("other", b"o")
        opened = reopened(path)
        assert opened.get(Key("k")) == b"second"
        opened.delete(Key("k"))
        opened.close()
        assert contents(path) == {"other": b"o"}

    def test_bytes_before_and_comment_are_kept(self, path: Path) -> None:
        with path.open("wb") as file:
            file.write(b"#!/bin/sh\nexit\n" * 10)
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("k", b"1")
                archive.comment = b"a comment"
        opened = reopened(path)
        opened.set(Key("l"), b"2")
        opened.close()
        assert contents(path) == {"k": b"1", "l": b"2"}
        with zipfile.ZipFile(path) as archive:
            assert archive.comment == b"a comment"
        assert path.read_bytes().startswith(b"#!/bin/sh")

    def test_names_that_cannot_be_shown_are_kept(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../escaping", b"1")
            archive.writestr("k", b"2")
        opened = reopened(path)
        opened.set(Key("k"), b"3")
        opened.close()
        assert contents(path) == {"../escaping": b"1", "k": b"3"}

    def test_more_than_65535_entries(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(70_000):
                archive.writestr(f"c/{number}", b"")
        opened = reopened(path)
        opened.set(Key("c/1"), b"one")
        opened.delete(Key("c/69999"))
        opened.close()
        with zipfile.ZipFile(path) as archive:
            assert len(archive.namelist()) == 69_999
            assert archive.read("c/1") == b"one"

    @pytest.mark.parametrize("tool", [["unzip", "-tq"], ["7z", "t"]])
    def test_other_tools_accept_it(self, opened: WritableZip, path: Path, tool: list[str]) -> None:
        if shutil.which(tool[0]) is None:
            pytest.skip(f"{tool[0]} is not installed")
        for round_ in range(2):
            opened.set(Key("zarr.json"), b"{}" * round_)
            opened.set(Key("c/0/0"), os.urandom(100_000))
            opened.set(Key("ünïcødé/温度"), b"1")
            opened.commit()
            subprocess.run([*tool, str(path)], check=True, capture_output=True)


class TestOzx:
    def test_follows_rfc_9(self, tmp_path: Path) -> None:
        path = tmp_path / "image.ozx"
        opened = WritableZip(str(path), create=True, commit_interval_s=0)
        for key in ("0/c/0", "0/zarr.json", "a/b/zarr.json"):
            opened.set(Key(key), b"{}")
        root = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.6"}}}
        opened.set(Key("zarr.json"), json.dumps(root).encode())
        opened.commit()
        order = ["zarr.json", "0/zarr.json", "a/b/zarr.json", "0/c/0"]
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            assert [info.filename for info in infos] == order
            assert min(infos, key=lambda info: info.header_offset).filename == "zarr.json"
            assert json.loads(archive.comment) == {"ome": {"version": "0.6"}}
            assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
        assert b"PK\x06\x06" in path.read_bytes()  # ZIP64 end record
        opened.set(Key("zarr.json"), b"{}")
        opened.close()
        reopen = reopened(path)
        reopen.set(Key("0/c/1"), b"{}")
        reopen.close()
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == [*order, "0/c/1"]


class TestOneWriter:
    def test_a_second_one_is_refused_with_the_pid(self, opened: WritableZip, path: Path) -> None:
        opened.commit()
        with pytest.raises(BusyError) as caught:
            reopened(path)
        assert caught.value.holder_pid == os.getpid()
        hard_link = path.parent / "same.zip"
        os.link(path, hard_link)
        with pytest.raises(BusyError):
            reopened(hard_link)
        symlink = path.parent / "symlink.zip"
        symlink.symlink_to(path)
        with pytest.raises(BusyError) as caught:
            reopened(symlink)
        assert caught.value.holder_pid == os.getpid()

    def test_readers_see_the_last_commit(self, opened: WritableZip, path: Path) -> None:
        opened.set(Key("k"), b"1")
        opened.commit()
        reader = ZipBackend.open(str(path), read_only=True)
        opened.set(Key("k"), b"2")
        opened.commit()
        assert reader.get(Key("k")) == b"1"
        reader.close()

    def test_an_archive_changed_underneath_is_not_touched(
        self, opened: WritableZip, path: Path
    ) -> None:
        opened.set(Key("k"), b"1")
        opened.commit()
        with path.open("ab") as file:
            file.write(b"appended by somebody")
        changed = path.read_bytes()
        opened.set(Key("k"), b"2")
        with pytest.raises(UnavailableError):
            opened.commit()
        assert path.read_bytes() == changed
        os.truncate(path, len(changed) - len(b"appended by somebody"))
        opened.commit()
        assert contents(path) == {"k": b"2"}


class TestLostNames:
    """Other programs may do to the archive's name what they like."""

    def test_what_was_written_is_kept_beside_a_replacement(self, path: Path) -> None:
        opened = WritableZip(str(path), create=True, commit_interval_s=0)
        for number in range(2):
            opened.set(Key("k"), b"%d" % number)
            opened.commit()
            path.unlink()
            path.write_bytes(b"another one's")
            opened.set(Key("later"), b"%d" % number)
            with pytest.raises(UnavailableError, match="replaced"):
                opened.close()
            opened.close()
            assert path.read_bytes() == b"another one's"
            path.unlink()
            opened = WritableZip(str(path), create=True, commit_interval_s=0)
        opened.close()
        kept = path.with_name(f"{path.name}.zarrfs-displaced")
        assert contents(kept) == {"k": b"0", "later": b"0"}
        assert contents(kept.with_name(f"{kept.name}-2")) == {"k": b"1", "later": b"1"}
        assert len(os.listdir(path.parent)) == 3

    def test_a_moved_archive_has_what_was_written(self, path: Path) -> None:
        opened = WritableZip(str(path), create=True, commit_interval_s=0)
        opened.commit()
        moved = path.rename(path.with_name("moved.zip"))
        opened.set(Key("k"), b"v")
        opened.close()
        assert contents(moved) == {"k": b"v"}
        assert os.listdir(path.parent) == [moved.name]

    def test_nothing_is_kept_of_one_that_was_not_written_to(self, path: Path) -> None:
        WritableZip(str(path), create=True, commit_interval_s=0).close()
        opened = reopened(path)
        path.unlink()
        opened.close()
        assert os.listdir(path.parent) == []


class TestLeftOverJournals:
    """What a killed process leaves; `tests/fault` kills at every write."""

    @staticmethod
    def abandon(opened: WritableZip) -> None:
        """Let go as SIGKILL does."""
        opened._timer.stop()
        opened._closed = True
        opened._tree.close()
        opened._opened.close()

    def test_uncommitted_changes_are_there_again(self, path: Path) -> None:
        opened = WritableZip(str(path), create=True, commit_interval_s=0)
        opened.set(Key("committed"), b"1")
        opened.commit()
        opened.set(Key("journal/only"), b"2" * 100_000)
        opened.delete(Key("committed"))
        before = opened.file_tree().lookup(ROOT, b"journal")
        self.abandon(opened)
        assert contents(path) == {"committed": b"1"}
        again = reopened(path)
        assert list(again.list_keys(Key(""))) == ["journal/only"]
        assert again.file_tree().lookup(ROOT, b"journal") == before  # the same nodeid
        again.close()
        assert contents(path) == {"journal/only": b"2" * 100_000}
        assert os.listdir(path.parent) == [path.name]

    def test_of_an_archive_that_never_had_its_name(self, path: Path) -> None:
        opened = WritableZip(str(path), create=True, commit_interval_s=0)
        opened.set(Key("k"), b"v")
        self.abandon(opened)
        assert not path.exists()
        reopened(path).close()
        assert contents(path) == {"k": b"v"}

    def test_of_an_archive_that_lost_its_name(self, path: Path) -> None:
        opened = WritableZip(str(path), create=True, commit_interval_s=0)
        opened.set(Key("committed"), b"1")
        opened.commit()
        opened.set(Key("later"), b"2")
        with open(path, "rb") as kept:
            self.abandon(opened)
            path.unlink()
            path.touch()  # another one's
            reached_at = f"/proc/self/fd/{kept.fileno()}"
            again = WritableZip(str(path), commit_interval_s=0, reached_at=reached_at)
            with pytest.raises(UnavailableError, match="replaced") as caught:
                again.close()
        assert path.read_bytes() == b""
        path.unlink()
        [left] = path.parent.iterdir()
        assert str(left) in caught.value.remedy
        assert contents(left) == {"committed": b"1", "later": b"2"}

    def test_of_another_archive_is_refused(self, path: Path) -> None:
        opened = WritableZip(str(path), create=True, commit_interval_s=0)
        opened.set(Key("k"), b"v")
        opened.commit()
        opened.set(Key("k"), b"w")
        self.abandon(opened)
        saved = path.read_bytes()
        path.unlink()
        with pytest.raises(PathNotFoundError):
            reopened(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("else", b"")
        with pytest.raises(CorruptError) as caught:
            reopened(path)
        assert journal_path(str(path)) in caught.value.remedy
        path.unlink()
        (path.parent / "takes the old inode").touch()
        path.write_bytes(saved)
        again = reopened(path)
        assert again.get(Key("k")) == b"w"
        again.close()

    def test_a_nameless_file_does_not_stay(self, opened: WritableZip, path: Path) -> None:
        tree = opened.file_tree()
        opened.set(Key("k"), b"v")
        handle = tree.open(nodeid(tree, "k"), os.O_RDWR)
        opened.delete(Key("k"))
        handle.write(0, b"nameless")
        opened.commit()
        assert contents(path) == {}
        handle.close()

    def test_committing_again_after_a_replay_goes_on_where_it_was(self, path: Path) -> None:
        opened = WritableZip(str(path), create=True, commit_interval_s=0)
        opened.set(Key("large"), os.urandom(1 << 20))
        opened.commit()
        self.abandon(opened)
        size = path.stat().st_size
        again = reopened(path)
        again.set(Key("k"), b"v")
        again.close()
        assert path.stat().st_size - size < 2000  # `large` is known to be there


def test_local_headers_agree_with_the_directory(opened: WritableZip, path: Path) -> None:
    opened.set(Key("k"), b"value")
    opened.commit()
    data = path.read_bytes()
    signature, _, _, method, _, _, crc, csize, usize, name_size, _ = LOCAL.unpack_from(data)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("k")
    assert signature == LOCAL_SIGNATURE
    assert (method, crc, csize, usize, name_size) == (0, info.CRC, 5, 5, 1)


def test_a_process_that_never_closes_loses_nothing(path: Path) -> None:
    script = """
import os, sys
from zarrfs.storage.zip.writable import WritableZip
archive = WritableZip.init(sys.argv[1])
archive.set("k", b"v")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert not path.exists()
    again = reopened(path)
    assert isinstance(again, HasFileTree)
    assert again.get(Key("k")) == b"v"
    again.delete(Key("k"))
    with pytest.raises(KeyNotFoundError):
        again.get(Key("k"))
    again.close()
    assert contents(path) == {}


def test_holes_that_a_commit_wrote_out_are_counted_as_data(opened: WritableZip) -> None:
    tree = opened.file_tree()
    entry = tree.make(ROOT, b"sparse", stat.S_IFREG | 0o644, OWNER)
    file = tree.open(entry.nodeid, os.O_RDWR)
    file.write(100_000, b"end")
    file.close()
    opened.flush()
    assert tree.attr(entry.nodeid).blocks == (100_003 + 511) // 512
    assert tree.set_attr(entry.nodeid, AttrChange(size=10)).blocks == 1
