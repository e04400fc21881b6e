"""Saved indexes: used when right, made again when not, and never in the way."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip
from zarrfs.storage.tree import ROOT
from zarrfs.storage.zip import archive as archive_module
from zarrfs.storage.zip import index_cache
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.directory import Directory, read_directory
from zarrfs.storage.zip.end_record import EndRecord
from zarrfs.storage.zip.tree import ArchiveTree


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names the archives whose directory was parsed; any archive is worth saving."""
    seen: list[str] = []

    def counted(fd: int, end: EndRecord, subject: str) -> Directory:
        seen.append(subject)
        return read_directory(fd, end, subject)

    monkeypatch.setattr(archive_module, "read_directory", counted)
    monkeypatch.setattr(archive_module, "WORTH_SAVING", 1)
    return seen


ENTRIES = [
    RawEntry(b"a/b", b"1"),
    RawEntry(b"a/c", b"2"),
    RawEntry(b"../x"),
    RawEntry(b"a/b", b"3"),
    RawEntry(b"e/"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return RawZip(ENTRIES).write(tmp_path / "a.zip")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(path: Path, folder: Path) -> dict[str, object]:
    archive = Archive.open(str(path), index_folder=str(folder))
    tree = ArchiveTree(archive)
    a = tree.lookup(ROOT, b"a").nodeid
    seen = {
        "names": [item for nodeid in (ROOT, a) for item in tree.list_dir(nodeid)],
        "content": bytes(tree.read_node(tree.lookup(a, b"b").nodeid, 0, 9)),
        "problems": archive.problems.kept,
        "superseded": archive.index.superseded,
    }
    archive.close()
    return seen


def test_the_second_opening_parses_nothing(path: Path, folder: Path, parses: list[str]) -> None:
    first = opened(path, folder)
    assert opened(path, folder) == opened(path, folder) == first
    assert len(parses) == 1
    assert sorted(os.listdir(path.parent)) == ["a.zip", "cache"]


@pytest.mark.parametrize("how", ["content", "mtime", "replaced"])
def test_a_changed_archive_is_parsed_again(
    path: Path, folder: Path, parses: list[str], how: str
) -> None:
    opened(path, folder)
    status = path.stat()
    if how == "mtime":
        os.utime(path, ns=(0, status.st_mtime_ns + 1))
    else:
        other = [RawEntry(b"a/b", b"1"), RawEntry(b"a/d", b"2"), *ENTRIES[2:]]
        RawZip(other if how == "content" else ENTRIES[1:]).write(path)
        os.utime(path, ns=(0, status.st_mtime_ns))
    seen = opened(path, folder)
    assert len(parses) == 2
    assert opened(path, folder) == seen
    assert len(parses) == 2


def test_a_damaged_index_is_made_again(path: Path, folder: Path, parses: list[str]) -> None:
    first = opened(path, folder)
    [saved] = folder.iterdir()
    whole = saved.read_bytes()
    damaged = [whole[:size] for size in (0, 10, 40, len(whole) // 2, len(whole) - 1)]
    for place in range(0, len(whole), len(whole) // 40):
        damaged.append(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
    for number, content in enumerate(damaged, 2):
        saved.write_bytes(content)
        assert opened(path, folder) == first
        # The padding after the header is the only place where nobody looks.
        assert len(parses) >= number - 1
        parses[:] = [""] * number


def test_nothing_is_saved_where_nothing_can_be(path: Path, folder: Path, parses: list[str]) -> None:
    folder.write_text("a file, no folder")
    first = opened(path, folder)
    assert opened(path, folder) == first
    assert len(parses) == 2


def test_a_folder_that_others_can_write_is_not_believed(
    path: Path, folder: Path, parses: list[str]
) -> None:
    opened(path, folder)
    os.chmod(folder, 0o777)
    opened(path, folder)
    assert len(parses) == 2


def test_the_oldest_go_when_there_are_too_many(
    tmp_path: Path, folder: Path, parses: list[str]
) -> None:
    paths = [RawZip(ENTRIES).write(tmp_path / f"{number}.zip") for number in range(5)]
    opened(paths[0], folder)
    [saved] = folder.iterdir()
    limit = saved.stat().st_size * 3
    for place, path in enumerate(paths):
        archive = Archive.open(str(path), save_index=False)
        cache = index_cache.IndexCache(str(folder), limit)
        cache.save(archive.file, archive.end, index_cache.Saved(archive.index, archive.problems))
        os.utime(cache._path(archive.file), ns=(place, place))
        archive.close()
    assert len(list(folder.iterdir())) == 3
    archive = Archive.open(str(paths[-1]), save_index=False)
    assert index_cache.IndexCache(str(folder), limit).load(archive.file, archive.end) is not None
    archive.close()


def test_where_indexes_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert index_cache.default_folder() == str(tmp_path / "zarrfs" / "zip")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/zarrfs:/var/cache/other")
    assert index_cache.default_folder() == "/var/cache/zarrfs/zip"
    monkeypatch.delenv("CACHE_DIRECTORY")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somebody/else")
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert index_cache.default_folder() == f"{home}/.cache/zarrfs/zip"


def test_small_archives_are_not_saved(path: Path, folder: Path) -> None:
    opened(path, folder)
    assert not folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
