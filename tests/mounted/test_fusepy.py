"""The portable frontend on real mounts, with each binding and each libfuse there is."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.commands import LIMIT_S, zarrfs
from tests.mount_table import fuse_mounts_below, remove

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


class Binding(NamedTuple):
    """A binding, the libfuse that it is made to use, and that library's name."""

    module: str
    libfuse: int
    library: str

    @property
    def missing(self) -> str:
        if find_spec(self.module) is None:
            return f"{self.module} is not installed"
        if ctypes.util.find_library(self.library) is None:
            return f"libfuse {self.libfuse} is not installed"
        return ""


BINDINGS = (
    Binding("mfusepy", 3, "fuse3"),
    Binding("mfusepy", 2, "fuse"),
    Binding("fuse", 2, "fuse"),
)


@pytest.fixture(scope="module", params=BINDINGS, ids=lambda b: f"{b.module}-libfuse{b.libfuse}")
def binding(request: pytest.FixtureRequest) -> Binding:
    chosen: Binding = request.param
    if chosen.missing:
        pytest.skip(f"optional: {chosen.missing}")
    return chosen


def mount(binding: Binding, source: str | Path, target: Path, options: str = "") -> None:
    """Run `zarrfs mount` with only one binding within reach."""
    program = "import sys\n"
    if binding.module == "fuse":
        program += "sys.modules['mfusepy'] = None\n"
    program += "from zarrfs.cli.main import main\nmain()\n"
    chosen = ",".join(filter(None, ["frontend=fusepy", options]))
    done = subprocess.run(
        [sys.executable, "-c", program, "mount", str(source), str(target), "-o", chosen],
        env={**os.environ, "FUSE_LIBRARY_NAME": binding.library},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(binding: Binding, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A writable memory store, mounted for all tests of one binding."""
    target = tmp_path_factory.mktemp("fusepy") / "mnt"
    target.mkdir()
    mount(binding, "memory:", target)
    try:
        yield target
        zarrfs("unmount", target)
    finally:
        for left in fuse_mounts_below(target.parent):
            remove(left)


@pytest.fixture
def here(folder: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of the mount for one test."""
    path: Path = folder / request.node.originalname
    path.mkdir()
    return path


def renameat2(old: Path, new: Path, flags: int) -> int:
    """Return the errno of renameat2(2), 0 when it did its work."""
    libc = ctypes.CDLL(None, use_errno=True)
    at = -100  # AT_FDCWD
    failed = libc.renameat2(at, os.fsencode(old), at, os.fsencode(new), flags)
    return ctypes.get_errno() if failed else 0


def test_files_and_folders(here: Path) -> None:
    data = os.urandom(3 << 20)
    (here / "d" / "e").mkdir(parents=True)
    file = here / "d" / "e" / "f"
    file.write_bytes(data)
    assert file.read_bytes() == data
    with file.open("r+b") as opened:
        opened.seek(5)
        opened.write(b"12345")
        opened.truncate(1 << 20)
    assert file.read_bytes() == data[:5] + b"12345" + data[10 : 1 << 20]
    file.rename(here / "g")
    assert (here / "g").stat().st_size == 1 << 20
    with pytest.raises(OSError, match="not empty"):
        (here / "d").rmdir()
    (here / "d" / "e").rmdir()
    assert sorted(os.listdir(here)) == ["d", "g"]


def test_a_long_folder_in_pieces(here: Path) -> None:
    names = {f"{number:04}" for number in range(2000)}
    for name in names:
        (here / name).touch()
    assert set(os.listdir(here)) == names
    with os.scandir(here) as entries:
        assert all(entry.is_file() and entry.inode() for entry in entries)


def test_names(here: Path) -> None:
    strange = os.fsencode(here) + b"/\xff\xfe n"
    with open(strange, "wb") as file:
        file.write(b"1")
    assert os.listdir(os.fsencode(here)) == [b"\xff\xfe n"]
    (here / ("x" * 255)).touch()
    with pytest.raises(OSError) as raised:
        (here / ("x" * 256)).touch()
    assert raised.value.errno == errno.ENAMETOOLONG


def test_links(here: Path) -> None:
    (here / "a").write_bytes(b"1")
    os.link(here / "a", here / "b")
    assert (here / "b").stat().st_nlink == 2
    assert (here / "b").stat().st_ino == (here / "a").stat().st_ino
    with pytest.raises(FileExistsError):
        os.link(here / "a", here / "b")
    (here / "s").symlink_to("a")
    assert os.readlink(here / "s") == "a"
    assert (here / "s").read_bytes() == b"1"


def test_attributes(here: Path) -> None:
    file = here / "f"
    file.touch()
    os.chmod(file, 0o640)
    os.chown(file, 12, -1)
    os.utime(file, ns=(1_234_567_890_123_456_789, 987_654_321))
    status = file.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 12, os.getgid())
    assert (status.st_atime_ns, status.st_mtime_ns) == (1_234_567_890_123_456_789, 987_654_321)
    with file.open("r+b") as opened:
        os.fchmod(opened.fileno(), 0o600)
        os.utime(opened.fileno(), ns=(5, 7))
        assert os.fstat(opened.fileno()).st_mtime_ns == 7
    os.setxattr(file, "user.x", b"\0value")
    assert os.listxattr(file) == ["user.x"]
    assert os.getxattr(file, "user.x") == b"\0value"
    os.removexattr(file, "user.x")
    assert os.listxattr(file) == []
    assert os.statvfs(here).f_namemax == 255


def test_zarr_attributes(here: Path) -> None:
    (here / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    assert os.getxattr(here, "user.zarr.kind") == b"group"
    assert "user.zarr.format" in os.listxattr(here)


def test_an_open_file_that_is_replaced_or_removed(here: Path) -> None:
    (here / "f").write_bytes(b"old")
    with (here / "f").open("r+b", buffering=0) as removed, (here / "f").open("rb") as read:
        (here / "new").write_bytes(b"new")
        (here / "new").rename(here / "f")
        assert (here / "f").read_bytes() == b"new"
        assert read.read() == b"old"
        (here / "f").unlink()
        removed.write(b"OLDER")
        removed.seek(0)
        assert removed.read() == b"OLDER"
        os.ftruncate(removed.fileno(), 2)
        removed.seek(0)
        assert removed.read() == b"OL"
        assert os.fstat(removed.fileno()).st_nlink == 0
        assert os.listdir(here) == []


def test_rename_without_replacing(here: Path, binding: Binding) -> None:
    (here / "a").write_bytes(b"a")
    (here / "b").write_bytes(b"b")
    # libfuse 2 has no renameat2; what counts is that nothing is replaced.
    refusals = (errno.EEXIST,) if binding.libfuse == 3 else (errno.EEXIST, errno.EINVAL)
    assert renameat2(here / "a", here / "b", RENAME_NOREPLACE) in refusals
    assert (here / "b").read_bytes() == b"b"
    done = renameat2(here / "a", here / "b", RENAME_EXCHANGE)
    assert done == (0 if binding.libfuse == 3 else errno.EINVAL)
    if binding.libfuse == 3:
        assert ((here / "a").read_bytes(), (here / "b").read_bytes()) == (b"b", b"a")


def test_locks(here: Path) -> None:
    """The kernel keeps them itself: a second process is refused."""
    script = "flock -n lock true && echo free || echo held"
    with (here / "lock").open("w") as lock:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
        held = subprocess.run(["sh", "-c", script], cwd=here, capture_output=True, timeout=LIMIT_S)
    free = subprocess.run(["sh", "-c", script], cwd=here, capture_output=True, timeout=LIMIT_S)
    assert (held.stdout, free.stdout) == (b"held\n", b"free\n")


def test_changes_underneath_are_seen(binding: Binding, tmp_path: Path) -> None:
    source, target = tmp_path / "store", tmp_path / "mnt"
    source.mkdir()
    target.mkdir()
    (source / "f").write_bytes(b"1")
    mount(binding, source, target)
    try:
        assert (target / "f").read_bytes() == b"1"
        assert not (target / "g").exists()
        (source / "f").write_bytes(b"22")
        (source / "g").write_bytes(b"3")
        deadline = time.monotonic() + LIMIT_S
        while not (target / "g").exists() or (target / "f").stat().st_size != 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (target / "f").read_bytes() == b"22"
        zarrfs("unmount", target)
    finally:
        for left in fuse_mounts_below(tmp_path):
            remove(left)
