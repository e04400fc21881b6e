"""The part of the POSIX suite about names: making, linking, renaming, listing."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.suites.posix_support import DEADLINE_S, Abilities, opened, raises_errno

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
ODD_NAMES = [
    b" ",
    b"...",
    b"-rf",
    b"with space",
    b"new\nline",
    b"\xff\xfe\x80",
    "温度".encode(),
    b"back\\slash",
    b"x" * 255,
    b"0.0",
    b".zattrs.txt",
]

_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old: Path, new: Path, flags: int) -> None:
    if _libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(old))


class NameTests:
    """Names of files, folders and links."""

    abilities = Abilities()

    def test_folders(self, folder: Path) -> None:
        os.mkdir(folder / "a")
        with raises_errno(errno.EEXIST):
            os.mkdir(folder / "a")
        os.mkdir(folder / "a" / "b")
        with raises_errno(errno.ENOTEMPTY):
            os.rmdir(folder / "a")
        os.rmdir(folder / "a" / "b")
        assert os.listdir(folder / "a") == []
        os.rmdir(folder / "a")
        with raises_errno(errno.ENOENT):
            os.rmdir(folder / "a")

    def test_removing_the_wrong_kind(self, folder: Path) -> None:
        os.mkdir(folder / "d")
        (folder / "f").touch()
        with raises_errno(errno.EISDIR):
            os.unlink(folder / "d")
        with raises_errno(errno.ENOTDIR):
            os.rmdir(folder / "f")
        with raises_errno(errno.ENOENT):
            os.unlink(folder / "nothing")

    def test_links_of_folders_are_counted(self, folder: Path) -> None:
        for name in ("a", "b"):
            os.mkdir(folder / name)
        assert folder.stat().st_nlink == 4
        os.rmdir(folder / "a")
        assert folder.stat().st_nlink == 3

    @pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
    def test_odd_names(self, folder: Path, name: bytes) -> None:
        path = os.fsencode(folder) + b"/" + name
        with open(path, "wb") as file:
            file.write(name)
        assert os.listdir(os.fsencode(folder)) == [name]
        with open(path, "rb") as file:
            assert file.read() == name
        os.rename(path, os.fsencode(folder) + b"/plain")
        os.rename(os.fsencode(folder) + b"/plain", path)
        os.unlink(path)
        assert os.listdir(folder) == []

    def test_names_have_a_limit(self, folder: Path) -> None:
        with raises_errno(errno.ENAMETOOLONG):
            (folder / ("x" * 256)).touch()
        with raises_errno(errno.ENAMETOOLONG):
            (folder / ("x" * 256)).stat()

    def test_deep_paths(self, folder: Path) -> None:
        path = folder
        for depth in range(60):
            path = path / f"level-{depth}-of-a-deep-tree"
            path.mkdir()
        (path / "f").write_bytes(b"deep")
        os.rename(folder / "level-0-of-a-deep-tree", folder / "moved")
        below = folder / "moved" / path.relative_to(folder / "level-0-of-a-deep-tree")
        assert (below / "f").read_bytes() == b"deep"

    def test_renaming_files(self, folder: Path) -> None:
        (folder / "a").write_bytes(b"a")
        (folder / "b").write_bytes(b"b")
        ino = (folder / "a").stat().st_ino
        os.rename(folder / "a", folder / "b")
        assert os.listdir(folder) == ["b"]
        assert (folder / "b").read_bytes() == b"a"
        assert (folder / "b").stat().st_ino == ino
        with raises_errno(errno.ENOENT):
            os.rename(folder / "a", folder / "c")

    def test_renaming_folders(self, folder: Path) -> None:
        os.makedirs(folder / "a" / "sub")
        (folder / "a" / "sub" / "f").write_bytes(b"1")
        os.mkdir(folder / "empty")
        os.mkdir(folder / "full")
        (folder / "full" / "f").touch()
        with raises_errno(errno.ENOTEMPTY, errno.EEXIST):
            os.rename(folder / "a", folder / "full")
        with raises_errno(errno.EINVAL):
            os.rename(folder / "a", folder / "a" / "sub" / "a")
        (folder / "file").touch()
        with raises_errno(errno.ENOTDIR):
            os.rename(folder / "a", folder / "file")
        with raises_errno(errno.EISDIR):
            os.rename(folder / "file", folder / "a")
        os.rename(folder / "a", folder / "empty")
        assert (folder / "empty" / "sub" / "f").read_bytes() == b"1"
        assert sorted(os.listdir(folder)) == ["empty", "file", "full"]

    def test_renaming_between_folders(self, folder: Path) -> None:
        for name in ("a", "b"):
            os.mkdir(folder / name)
        (folder / "a" / "f").write_bytes(b"1")
        os.rename(folder / "a" / "f", folder / "b" / "g")
        assert os.listdir(folder / "a") == []
        assert (folder / "b" / "g").read_bytes() == b"1"
        os.rename(folder / "a", folder / "b" / "a")
        assert folder.stat().st_nlink == 3
        assert sorted(os.listdir(folder / "b")) == ["a", "g"]

    def test_rename_noreplace(self, folder: Path) -> None:
        (folder / "a").write_bytes(b"a")
        (folder / "b").write_bytes(b"b")
        with raises_errno(errno.EEXIST):
            renameat2(folder / "a", folder / "b", RENAME_NOREPLACE)
        renameat2(folder / "a", folder / "c", RENAME_NOREPLACE)
        assert (folder / "b").read_bytes() == b"b"
        assert (folder / "c").read_bytes() == b"a"

    def test_rename_exchange(self, folder: Path) -> None:
        (folder / "a").write_bytes(b"a")
        os.mkdir(folder / "b")
        (folder / "b" / "f").write_bytes(b"f")
        if not self.abilities.exchange:
            with raises_errno(errno.EINVAL, errno.EOPNOTSUPP):
                renameat2(folder / "a", folder / "b", RENAME_EXCHANGE)
            return
        renameat2(folder / "a", folder / "b", RENAME_EXCHANGE)
        assert (folder / "b").read_bytes() == b"a"
        assert (folder / "a" / "f").read_bytes() == b"f"
        with raises_errno(errno.ENOENT):
            renameat2(folder / "a", folder / "nothing", RENAME_EXCHANGE)

    def test_hard_links(self, folder: Path) -> None:
        (folder / "a").write_bytes(b"1")
        (folder / "b").write_bytes(b"2")
        with raises_errno(errno.EEXIST):
            os.link(folder / "a", folder / "b")
        if not self.abilities.hard_links:
            with raises_errno(errno.EPERM):
                os.link(folder / "a", folder / "c")
            return
        os.link(folder / "a", folder / "c")
        one, other = (folder / "a").stat(), (folder / "c").stat()
        assert one.st_ino == other.st_ino
        assert one.st_nlink == other.st_nlink == 2
        if not self.abilities.nodes:
            return
        (folder / "a").write_bytes(b"changed")
        assert (folder / "c").read_bytes() == b"changed"
        os.unlink(folder / "a")
        assert (folder / "c").stat().st_nlink == 1
        assert (folder / "c").read_bytes() == b"changed"

    def test_symbolic_links(self, folder: Path) -> None:
        if not self.abilities.symlinks:
            with raises_errno(errno.EPERM):
                os.symlink("target", folder / "link")
            return
        (folder / "target").write_bytes(b"1")
        os.symlink("target", folder / "link")
        assert os.readlink(folder / "link") == "target"
        assert (folder / "link").read_bytes() == b"1"
        assert stat.S_ISLNK(os.lstat(folder / "link").st_mode)
        os.symlink("x" * 1000, folder / "long")
        assert os.readlink(folder / "long") == "x" * 1000
        with raises_errno(errno.EEXIST):
            os.symlink("other", folder / "link")
        os.unlink(folder / "link")
        assert (folder / "target").read_bytes() == b"1"

    def test_special_files(self, folder: Path) -> None:
        if not self.abilities.special_files:
            with raises_errno(errno.EPERM):
                os.mkfifo(folder / "fifo")
            return
        os.mkfifo(folder / "fifo", 0o600)
        assert stat.S_ISFIFO((folder / "fifo").stat().st_mode)
        os.unlink(folder / "fifo")

    def test_listing_many_names(self, folder: Path) -> None:
        names = {f"{n}.{n % 7}" for n in range(500)}
        for name in names:
            os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))
        found = os.listdir(folder)
        assert len(found) == len(names)
        assert set(found) == names
        with os.scandir(folder) as entries:
            assert {entry.inode() for entry in entries} == {
                (folder / name).stat().st_ino for name in names
            }

    def test_listing_while_names_come_and_go(self, folder: Path) -> None:
        stay = {f"stay-{n}" for n in range(150)}
        for name in stay:
            (folder / name).touch()
        for n in range(150):
            (folder / f"go-{n}").touch()
        seen: list[str] = []
        with os.scandir(folder) as entries:
            for n, entry in enumerate(entries):
                seen.append(entry.name)
                if n < 150:
                    os.unlink(folder / f"go-{n}")
                    (folder / f"come-{n}").touch()
        assert stay <= set(seen)
        assert len(seen) == len(set(seen))

    def test_removing_a_tree(self, folder: Path) -> None:
        for n in range(20):
            os.makedirs(folder / "t" / str(n) / "c")
            (folder / "t" / str(n) / "c" / "0").write_bytes(b"x")
        import shutil

        shutil.rmtree(folder / "t")
        assert os.listdir(folder) == []

    def test_making_folders_at_once(self, folder: Path) -> None:
        def make(n: int) -> None:
            os.makedirs(folder / "a" / "b" / "c" / "d", exist_ok=True)
            (folder / "a" / "b" / "c" / "d" / str(n)).touch()

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(make, n) for n in range(24)]:
                done.result(DEADLINE_S)
        assert len(os.listdir(folder / "a" / "b" / "c" / "d")) == 24

    def test_set_if_not_exists(self, folder: Path) -> None:
        """Many writers race for one name; exactly one wins (O_EXCL)."""

        def claim(n: int) -> int:
            try:
                with opened(folder / "key", os.O_CREAT | os.O_EXCL | os.O_WRONLY) as fd:
                    os.write(fd, b"%d" % n)
            except FileExistsError:
                return 0
            return 1

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(claim, range(16), timeout=DEADLINE_S)) == 1

    def test_the_current_folder_may_be_removed(self, folder: Path) -> None:
        os.mkdir(folder / "here")
        with opened(folder / "here", os.O_RDONLY | os.O_DIRECTORY) as fd:
            os.rmdir(folder / "here")
            if self.abilities.nodes:
                assert os.fstat(fd).st_nlink == 0
                assert os.listdir(fd) == []
            with raises_errno(errno.ENOENT, errno.ESTALE):
                os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
