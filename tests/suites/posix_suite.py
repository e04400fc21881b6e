"""What a mounted tree promises as a file system: a suite that every mount runs.

    class TestMine(PosixSuite):
        abilities = Abilities(hard_links=False)

        @classmethod
        @contextmanager
        def serve(cls, folder): ...yield the mounted folder

and a class-scoped fixture `mount` that enters `serve` (`tests/mounted/conftest.py`).
Each test works in a folder of its own below the mount. `abilities` says what
the backend cannot express; then the errno that POSIX gives for it is expected.
Contents are here, names and attributes in `posix_names` and `posix_attributes`.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import struct
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.suites.posix_attributes import AttributeTests
from tests.suites.posix_names import NameTests
from tests.suites.posix_support import Abilities, opened, raises_errno

__all__ = ["Abilities", "ContentTests", "PosixSuite"]

OFD_SETLK = 37
PAGE = mmap.PAGESIZE


class ContentTests:
    """Opening, reading, writing, mapping, locking."""

    abilities = Abilities()

    def test_write_then_read(self, folder: Path) -> None:
        data = os.urandom(300_000)
        (folder / "f").write_bytes(data)
        assert (folder / "f").read_bytes() == data
        assert (folder / "f").stat().st_size == len(data)

    def test_an_empty_file(self, folder: Path) -> None:
        (folder / "f").touch()
        assert (folder / "f").read_bytes() == b""

    def test_excl_refuses_what_is_there(self, folder: Path) -> None:
        (folder / "f").write_bytes(b"1")
        with raises_errno(errno.EEXIST):
            os.open(folder / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        assert (folder / "f").read_bytes() == b"1"

    def test_trunc_empties(self, folder: Path) -> None:
        (folder / "f").write_bytes(b"12345")
        with opened(folder / "f", os.O_WRONLY | os.O_TRUNC) as fd:
            assert os.fstat(fd).st_size == 0
            os.write(fd, b"ab")
        assert (folder / "f").read_bytes() == b"ab"

    def test_overwriting_without_trunc_keeps_the_rest(self, folder: Path) -> None:
        (folder / "f").write_bytes(b"12345")
        with opened(folder / "f", os.O_RDWR) as fd:
            os.pwrite(fd, b"ab", 1)
            assert os.pread(fd, 9, 0) == b"1ab45"

    def test_append_goes_to_the_end(self, folder: Path) -> None:
        with (
            opened(folder / "f", os.O_CREAT | os.O_WRONLY | os.O_APPEND) as one,
            opened(folder / "f", os.O_WRONLY | os.O_APPEND) as other,
        ):
            for n in range(4):
                os.write(one, b"%d" % n)
                os.write(other, b"x")
        assert (folder / "f").read_bytes() == b"0x1x2x3x"

    def test_writing_past_the_end_leaves_zeros(self, folder: Path) -> None:
        with opened(folder / "f", os.O_CREAT | os.O_RDWR) as fd:
            os.pwrite(fd, b"end", 100_000)
            assert os.fstat(fd).st_size == 100_003
            assert os.pread(fd, 100_003, 0) == bytes(100_000) + b"end"

    def test_truncating_and_extending(self, folder: Path) -> None:
        (folder / "f").write_bytes(b"x" * 10_000)
        os.truncate(folder / "f", 10)
        os.truncate(folder / "f", 20)
        assert (folder / "f").read_bytes() == b"x" * 10 + bytes(10)
        with opened(folder / "f", os.O_RDWR) as fd:
            os.ftruncate(fd, 0)
            assert os.fstat(fd).st_size == 0

    def test_a_truncated_file_may_forbid_opening(self, folder: Path) -> None:
        with opened(folder / "f", os.O_CREAT | os.O_RDWR, 0) as fd:
            os.write(fd, b"12345")
            os.ftruncate(fd, 2)
            assert os.pread(fd, 9, 0) == b"12"

    def test_fallocate_extends(self, folder: Path) -> None:
        with opened(folder / "f", os.O_CREAT | os.O_RDWR) as fd:
            os.write(fd, b"12")
            os.posix_fallocate(fd, 0, 5000)
            assert os.pread(fd, 6000, 0) == b"12" + bytes(4998)

    def test_copy_file_range(self, folder: Path) -> None:
        data = os.urandom(200_000)
        (folder / "a").write_bytes(data)
        with (
            opened(folder / "a", os.O_RDONLY) as source,
            opened(folder / "b", os.O_CREAT | os.O_RDWR) as target,
        ):
            copied = 0
            while copied < len(data):
                step = os.copy_file_range(source, target, len(data), copied, copied)
                assert step > 0
                copied += step
            assert os.pread(target, len(data) + 1, 0) == data
            assert os.copy_file_range(source, target, 10, len(data), 0) == 0

    def test_seeking_data(self, folder: Path) -> None:
        with opened(folder / "f", os.O_CREAT | os.O_RDWR) as fd:
            os.write(fd, b"12345")
            assert os.lseek(fd, 0, os.SEEK_DATA) == 0
            assert os.lseek(fd, 0, os.SEEK_HOLE) == 5
            with raises_errno(errno.ENXIO):
                os.lseek(fd, 5, os.SEEK_DATA)

    def test_two_descriptors_see_one_file(self, folder: Path) -> None:
        with (
            opened(folder / "f", os.O_CREAT | os.O_RDWR) as one,
            opened(folder / "f", os.O_RDWR) as other,
        ):
            os.pwrite(one, b"12345", 0)
            assert os.pread(other, 9, 0) == b"12345"
            os.pwrite(other, b"x", 4)
            assert os.pread(one, 9, 0) == b"1234x"

    def test_an_unlinked_file_lives_while_open(self, folder: Path) -> None:
        with opened(folder / "f", os.O_CREAT | os.O_RDWR) as fd:
            os.write(fd, b"123")
            os.unlink(folder / "f")
            assert os.listdir(folder) == []
            os.pwrite(fd, b"45", 3)
            assert os.pread(fd, 9, 0) == b"12345"
            if self.abilities.nodes:
                assert os.fstat(fd).st_nlink == 0
            (folder / "f").write_bytes(b"another")
            assert os.pread(fd, 9, 0) == b"12345"
            if self.abilities.nodes:
                os.ftruncate(fd, 1)
                os.fchmod(fd, 0o600)
        assert (folder / "f").read_bytes() == b"another"

    def test_a_replaced_file_lives_while_open(self, folder: Path) -> None:
        (folder / "new").write_bytes(b"new")
        with opened(folder / "f", os.O_CREAT | os.O_RDWR) as fd:
            os.write(fd, b"old")
            os.rename(folder / "new", folder / "f")
            assert os.pread(fd, 9, 0) == b"old"
        assert (folder / "f").read_bytes() == b"new"

    def test_writing_while_renamed(self, folder: Path) -> None:
        with opened(folder / "a", os.O_CREAT | os.O_RDWR) as fd:
            os.write(fd, b"12")
            os.rename(folder / "a", folder / "b")
            os.write(fd, b"34")
            os.fsync(fd)
            assert (folder / "b").read_bytes() == b"1234"
            os.write(fd, b"5")
        assert (folder / "b").read_bytes() == b"12345"

    def test_syncing(self, folder: Path) -> None:
        with opened(folder / "f", os.O_CREAT | os.O_WRONLY) as fd:
            os.write(fd, b"1")
            os.fsync(fd)
            os.fdatasync(fd)
        with opened(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
            os.fsync(fd)
            os.fdatasync(fd)

    def test_shared_writable_mapping(self, folder: Path) -> None:
        size = 3 * PAGE
        with opened(folder / "f", os.O_CREAT | os.O_RDWR) as fd:
            os.ftruncate(fd, size)
            with mmap.mmap(fd, size) as mapped:
                mapped[PAGE - 2 : PAGE + 2] = b"abcd"
                mapped.flush()
                assert os.pread(fd, 4, PAGE - 2) == b"abcd"
                os.pwrite(fd, b"xy", 0)
                assert mapped[:2] == b"xy"
        expected = b"xy" + bytes(PAGE - 4) + b"abcd" + bytes(2 * PAGE - 2)
        assert (folder / "f").read_bytes() == expected

    def test_private_mapping_of_a_closed_file(self, folder: Path) -> None:
        (folder / "f").write_bytes(b"1" * 2 * PAGE)
        with opened(folder / "f", os.O_RDONLY) as fd:
            mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
        with mapped:
            assert mapped[:] == b"1" * 2 * PAGE

    def test_direct_io(self, folder: Path) -> None:
        data = os.urandom(4 * PAGE)
        with mmap.mmap(-1, len(data)) as aligned:
            aligned[:] = data
            with opened(folder / "f", os.O_CREAT | os.O_RDWR | os.O_DIRECT) as fd:
                assert os.writev(fd, [aligned]) == len(data)
                aligned[:] = bytes(len(data))
                assert os.preadv(fd, [aligned], 0) == len(data)
                assert aligned[:] == data
        assert (folder / "f").read_bytes() == data

    def test_posix_locks_exclude_other_processes(self, folder: Path) -> None:
        with opened(folder / "f", os.O_CREAT | os.O_RDWR) as fd:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            script = (
                "import fcntl,sys; f=open(sys.argv[1],'r+')\n"
                "try: fcntl.lockf(f, fcntl.LOCK_EX|fcntl.LOCK_NB)\n"
                "except OSError as e: sys.exit(e.errno)"
            )
            other = [sys.executable, "-c", script, str(folder / "f")]
            refused = subprocess.run(other, timeout=60, check=False).returncode
            assert refused in (errno.EAGAIN, errno.EACCES)
            fcntl.lockf(fd, fcntl.LOCK_UN)
            assert subprocess.run(other, timeout=60, check=False).returncode == 0

    def test_open_file_description_locks(self, folder: Path) -> None:
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        with (
            opened(folder / "f", os.O_CREAT | os.O_RDWR) as one,
            opened(folder / "f", os.O_RDWR) as other,
        ):
            fcntl.fcntl(one, OFD_SETLK, lock)
            with raises_errno(errno.EAGAIN):
                fcntl.fcntl(other, OFD_SETLK, lock)

    def test_flock(self, folder: Path) -> None:
        with opened(folder / "f", os.O_CREAT | os.O_RDWR) as other:
            with opened(folder / "f", os.O_RDWR) as one:
                fcntl.flock(one, fcntl.LOCK_EX)
                with raises_errno(errno.EWOULDBLOCK):
                    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_opening_a_folder_for_writing(self, folder: Path) -> None:
        with raises_errno(errno.EISDIR):
            os.open(folder, os.O_WRONLY)
        (folder / "f").touch()
        with raises_errno(errno.ENOTDIR):
            os.open(folder / "f", os.O_RDONLY | os.O_DIRECTORY)
        with raises_errno(errno.ENOTDIR):
            os.stat(folder / "f" / "below")

    def test_statfs(self, folder: Path) -> None:
        found = os.statvfs(folder)
        assert found.f_bsize > 0
        assert found.f_namemax == 255
        assert found.f_blocks >= found.f_bavail > 0


class PosixSuite(ContentTests, NameTests, AttributeTests):
    """All of it."""

    @classmethod
    def serve(cls, folder: Path) -> AbstractContextManager[Path]:
        """Mount an empty store; `folder` is there for what the mount needs."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self, mount: Path, request: pytest.FixtureRequest) -> Path:
        name = "".join(c if c.isalnum() else "_" for c in request.node.name)[:200]
        made = mount / name
        made.mkdir()
        assert stat.S_ISDIR(made.stat().st_mode)
        return made
