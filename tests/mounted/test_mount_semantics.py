"""What a mount as a whole promises: read-only, shown owners, changes underneath, confinement."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mounted.stores import FRONTENDS, mounted_store
from tests.suites.posix_support import DEADLINE_S, opened, raises_errno


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that the kernel may remember otherwise for half a second."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(params=FRONTENDS)
def frontend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "d").mkdir(parents=True)
    (folder / "f").write_bytes(b"12345")
    (folder / "link").symlink_to("f")
    return folder


@pytest.fixture
def directory(frontend: str, source: Path, tmp_path: Path) -> Iterator[Path]:
    with mounted_store("directory", frontend, tmp_path) as root:
        yield root


def test_read_only_refuses_every_change(frontend: str, source: Path, tmp_path: Path) -> None:
    with mounted_store("directory", frontend, tmp_path, "ro") as root:
        changes: list[Callable[[], object]] = [
            lambda: os.open(root / "f", os.O_WRONLY),
            lambda: os.open(root / "f", os.O_RDONLY | os.O_TRUNC),
            lambda: os.open(root / "new", os.O_CREAT | os.O_WRONLY),
            lambda: os.truncate(root / "f", 0),
            lambda: os.unlink(root / "f"),
            lambda: os.mkdir(root / "n"),
            lambda: os.rmdir(root / "d"),
            lambda: os.rename(root / "f", root / "g"),
            lambda: os.link(root / "f", root / "g"),
            lambda: os.symlink("f", root / "g"),
            lambda: os.chmod(root / "f", 0o600),
            lambda: os.chown(root / "f", 1, 1),
            lambda: os.utime(root / "f", (1, 1)),
            lambda: os.setxattr(root / "f", "user.a", b"1"),
            lambda: os.mkfifo(root / "p"),
        ]
        for change in changes:
            with raises_errno(errno.EROFS):
                change()
        assert (root / "f").read_bytes() == b"12345"
        assert not os.access(root / "f", os.W_OK)
    assert sorted(os.listdir(source)) == ["d", "f", "link"]


def test_changes_underneath_are_seen(directory: Path, source: Path) -> None:
    assert (directory / "f").read_bytes() == b"12345"
    assert not (directory / "new").exists()
    assert sorted(os.listdir(directory)) == ["d", "f", "link"]
    (source / "f").write_bytes(b"other")
    (source / "new").write_bytes(b"1")
    os.rmdir(source / "d")
    eventually(lambda: (directory / "f").read_bytes() == b"other")
    eventually(lambda: (directory / "new").exists())
    eventually(lambda: sorted(os.listdir(directory)) == ["f", "link", "new"])
    eventually(lambda: not (directory / "d").exists())
    (source / "f").write_bytes(b"longer than before")
    eventually(lambda: (directory / "f").stat().st_size == 18)
    eventually(lambda: (directory / "f").read_bytes() == b"longer than before")


def test_a_file_replaced_underneath_keeps_its_open_readers(directory: Path, source: Path) -> None:
    with opened(directory / "f", os.O_RDONLY) as fd:
        (source / "g").write_bytes(b"abcde")
        os.rename(source / "g", source / "f")
        eventually(lambda: (directory / "f").read_bytes() == b"abcde")
        assert os.pread(fd, 9, 0) == b"12345"


def test_a_folder_renamed_underneath(directory: Path, source: Path) -> None:
    (source / "d" / "f").write_bytes(b"1")
    assert (directory / "d" / "f").read_bytes() == b"1"
    os.rename(source / "d", source / "e")
    (source / "d").mkdir()
    (source / "d" / "f").write_bytes(b"2")
    eventually(lambda: (directory / "d" / "f").read_bytes() == b"2")
    assert (directory / "e" / "f").read_bytes() == b"1"


def test_what_is_written_through_the_mount_is_in_the_folder(directory: Path, source: Path) -> None:
    (directory / "d" / "0.0").write_bytes(b"chunk")
    assert (source / "d" / "0.0").read_bytes() == b"chunk"
    os.rename(directory / "d" / "0.0", directory / "d" / "0.1")
    os.chmod(directory / "d" / "0.1", 0o600)
    assert os.listdir(source / "d") == ["0.1"]
    assert stat.S_IMODE((source / "d" / "0.1").stat().st_mode) == 0o600


def test_links_are_shown_and_not_followed(directory: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"outside")
    (source / "out").symlink_to("../outside")
    (source / "dangling").symlink_to("nothing")
    eventually(lambda: os.path.lexists(directory / "dangling"))
    assert os.readlink(directory / "out") == "../outside"
    # The client's kernel resolves it, from the mount's place in the client's tree.
    assert (directory / "out").read_bytes() == b"outside"
    assert os.readlink(directory / "link") == "f"
    os.unlink(directory / "out")
    assert (tmp_path / "outside").read_bytes() == b"outside"


def test_owner_and_modes_as_told(frontend: str, source: Path, tmp_path: Path) -> None:
    options = "uid=1234,gid=2345,fmode=640,dmode=750"
    with mounted_store("directory", frontend, tmp_path, options) as root:
        for path, mode in ((root / "f", 0o640), (root / "d", 0o750), (root, 0o750)):
            status = path.stat()
            assert (status.st_uid, status.st_gid) == (1234, 2345)
            assert stat.S_IMODE(status.st_mode) == mode
        with raises_errno(errno.EPERM):
            os.chmod(root / "f", 0o600)
        with raises_errno(errno.EPERM):
            os.chown(root / "f", 1, 1)
        os.chmod(root / "f", 0o640)
        with os.scandir(root) as entries:
            assert {entry.stat().st_uid for entry in entries} == {1234}


def test_large_sequential_file(directory: Path, source: Path) -> None:
    data = os.urandom(1 << 20) * 9 + b"end"
    (directory / "large").write_bytes(data)
    assert (source / "large").read_bytes() == data
    assert (directory / "large").read_bytes() == data
