"""The directory backend: the suite of all backends, and what only a folder can do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.suites.backend_suite import BackendSuite
from zarrfs.errors import (
    CreateFailedError,
    DeniedError,
    KeyNotFoundError,
    NotAFolderError,
    PathNotFoundError,
    PathRequiredError,
)
from zarrfs.storage.backend import Key
from zarrfs.storage.directory import DirectoryBackend


class TestDirectory(BackendSuite):
    def make(self, folder: Path) -> DirectoryBackend:
        return DirectoryBackend.init(str(folder / "store"))

    def reopen(self, folder: Path, *, read_only: bool) -> DirectoryBackend:
        return DirectoryBackend.open(str(folder / "store"), read_only=read_only)


def test_init_needs_a_path() -> None:
    with pytest.raises(PathRequiredError):
        DirectoryBackend.init(None)


def test_init_tells_why_it_cannot_make_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CreateFailedError, match=r"[Nn]ot a directory|File exists"):
        DirectoryBackend.init(str(tmp_path / "file" / "store"))


def test_open_wants_a_folder(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError):
        DirectoryBackend.open(str(tmp_path / "absent"), read_only=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotAFolderError):
        DirectoryBackend.open(str(tmp_path / "file"), read_only=True)


@pytest.mark.parametrize("target", ["inside", "../outside", "/etc/hostname"])
def test_symbolic_links_are_not_followed(tmp_path: Path, target: str) -> None:
    backend = DirectoryBackend.init(str(tmp_path / "store"))
    backend.set(Key("inside"), b"1")
    (tmp_path / "outside").write_bytes(b"secret")
    os.symlink(target, tmp_path / "store" / "link")
    with pytest.raises(DeniedError, match="symbolic link"):
        backend.get(Key("link"))
    with pytest.raises(DeniedError, match="symbolic link"):
        backend.stat(Key("link"))
    assert "link" not in list(backend.list_keys(Key("")))
    backend.close()


def test_linked_folders_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "0").write_bytes(b"secret")
    backend = DirectoryBackend.init(str(tmp_path / "store"))
    os.symlink("../outside", tmp_path / "store" / "a")
    with pytest.raises((DeniedError, KeyNotFoundError)):
        backend.get(Key("a/0"))
    with pytest.raises((DeniedError, NotAFolderError)):
        backend.set(Key("a/1"), b"x")
    assert not (tmp_path / "outside" / "1").exists()
    backend.close()


def test_symbolic_links_are_followed_when_asked_to(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "0").write_bytes(b"data")
    (tmp_path / "store").mkdir()
    os.symlink("../outside", tmp_path / "store" / "a")
    backend = DirectoryBackend(str(tmp_path / "store"), follow_symlinks=True)
    assert bytes(backend.get(Key("a/0"))) == b"data"
    assert list(backend.list_keys(Key(""))) == ["a/0"]
    backend.close()


def test_setting_leaves_no_temporary_file(tmp_path: Path) -> None:
    backend = DirectoryBackend.init(str(tmp_path))
    (tmp_path / "folder").mkdir()
    backend.set(Key("a/0"), b"1")
    with pytest.raises(Exception, match="folder"):
        backend.set(Key("folder"), b"1")
    backend.close()
    assert sorted(os.listdir(tmp_path)) == ["a", "folder"]
    assert os.listdir(tmp_path / "a") == ["0"]
