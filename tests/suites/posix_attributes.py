"""The part of the POSIX suite about attributes: modes, owners, times, xattrs."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.suites.posix_support import Abilities, opened, raises_errno, wait_past

NOBODY = 65534
SECOND = 1_000_000_000


class AttributeTests:
    """What stat shows, and who may change it."""

    abilities = Abilities()

    def test_a_new_file_is_its_makers(self, folder: Path) -> None:
        old = os.umask(0o027)
        try:
            with opened(folder / "f", os.O_CREAT | os.O_WRONLY, 0o666) as fd:
                status = os.fstat(fd)
            os.mkdir(folder / "d", 0o777)
        finally:
            os.umask(old)
        assert stat.S_IMODE(status.st_mode) == 0o640
        assert stat.S_IMODE((folder / "d").stat().st_mode) == 0o750
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())

    def test_chmod(self, folder: Path) -> None:
        (folder / "f").touch()
        for mode in (0o600, 0o4755, 0o000, 0o644):
            os.chmod(folder / "f", mode)
            assert stat.S_IMODE((folder / "f").stat().st_mode) == mode
        os.mkdir(folder / "d")
        os.chmod(folder / "d", 0o1777)
        assert stat.S_IMODE((folder / "d").stat().st_mode) == 0o1777

    def test_chown(self, folder: Path) -> None:
        (folder / "f").touch()
        if not self.abilities.owners:
            with raises_errno(errno.EPERM):
                os.chown(folder / "f", 1234, 5678)
            return
        os.chown(folder / "f", 1234, -1)
        os.chown(folder / "f", -1, 5678)
        status = (folder / "f").stat()
        assert (status.st_uid, status.st_gid) == (1234, 5678)

    def test_times_are_kept(self, folder: Path) -> None:
        (folder / "f").touch()
        os.mkdir(folder / "d")
        for name in ("f", "d"):
            os.utime(folder / name, ns=(1_500_000_000 * SECOND, 1_400_000_000 * SECOND))
            assert (folder / name).stat().st_mtime_ns == 1_400_000_000 * SECOND

    def test_writing_moves_mtime_and_ctime(self, folder: Path) -> None:
        (folder / "f").write_bytes(b"12345")
        for change in (
            lambda: (folder / "f").write_bytes(b"1"),
            lambda: os.truncate(folder / "f", 3),
        ):
            os.utime(folder / "f", (10**9, 10**9))
            before = (folder / "f").stat().st_ctime_ns
            wait_past(folder, before)
            change()
            status = (folder / "f").stat()
            assert status.st_mtime > 10**9
            assert status.st_ctime_ns > before

    def test_reading_moves_neither(self, folder: Path) -> None:
        (folder / "f").write_bytes(b"12345")
        before = (folder / "f").stat()
        wait_past(folder, before.st_ctime_ns)
        assert (folder / "f").read_bytes() == b"12345"
        after = (folder / "f").stat()
        assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)

    def test_names_move_the_folders_times(self, folder: Path) -> None:
        os.mkdir(folder / "d")

        def moved(change: object) -> bool:
            before = (folder / "d").stat().st_mtime_ns
            wait_past(folder, before)
            assert callable(change)
            change()
            return (folder / "d").stat().st_mtime_ns > before

        assert moved(lambda: (folder / "d" / "f").touch())
        assert moved(lambda: os.rename(folder / "d" / "f", folder / "d" / "g"))
        assert moved(lambda: os.unlink(folder / "d" / "g"))
        assert moved(lambda: os.mkdir(folder / "d" / "s"))
        assert moved(lambda: os.rmdir(folder / "d" / "s"))

    def test_chmod_moves_ctime_only(self, folder: Path) -> None:
        (folder / "f").touch()
        before = (folder / "f").stat()
        wait_past(folder, before.st_ctime_ns)
        os.chmod(folder / "f", 0o600)
        after = (folder / "f").stat()
        assert after.st_mtime_ns == before.st_mtime_ns
        assert after.st_ctime_ns > before.st_ctime_ns

    def test_linking_moves_ctime_of_all_names(self, folder: Path) -> None:
        if not (self.abilities.hard_links and self.abilities.nodes):
            return
        (folder / "a").touch()
        before = (folder / "a").stat().st_ctime_ns
        wait_past(folder, before)
        os.link(folder / "a", folder / "b")
        linked = (folder / "a").stat().st_ctime_ns
        assert linked > before
        wait_past(folder, linked)
        os.unlink(folder / "b")
        assert (folder / "a").stat().st_ctime_ns > linked

    def test_inode_and_mtime_survive_a_rename(self, folder: Path) -> None:
        (folder / "a").write_bytes(b"1")
        before = (folder / "a").stat()
        wait_past(folder, before.st_mtime_ns)
        os.rename(folder / "a", folder / "b")
        after = (folder / "b").stat()
        assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
        assert after.st_mtime_ns == before.st_mtime_ns

    def test_extended_attributes(self, folder: Path) -> None:
        (folder / "f").touch()
        if not self.abilities.xattrs:
            with raises_errno(errno.EOPNOTSUPP):
                os.setxattr(folder / "f", "user.a", b"1")
            return
        for path in (folder / "f", folder):
            os.setxattr(path, "user.a", b"1\0\xff")
            os.setxattr(path, "user.empty", b"")
            assert os.getxattr(path, "user.a") == b"1\0\xff"
            assert sorted(os.listxattr(path)) == ["user.a", "user.empty"]
            with raises_errno(errno.EEXIST):
                os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)
            with raises_errno(errno.ENODATA):
                os.setxattr(path, "user.b", b"2", os.XATTR_REPLACE)
            os.removexattr(path, "user.a")
            with raises_errno(errno.ENODATA):
                os.getxattr(path, "user.a")
            os.removexattr(path, "user.empty")

    def test_a_group_folder_passes_its_group_on(self, folder: Path) -> None:
        if not self.abilities.owners:
            return
        os.mkdir(folder / "d")
        os.chown(folder / "d", -1, 4321)
        os.chmod(folder / "d", 0o2775)
        (folder / "d" / "f").touch()
        os.mkdir(folder / "d" / "s")
        assert (folder / "d" / "f").stat().st_gid == 4321
        assert (folder / "d" / "s").stat().st_gid == 4321
        assert (folder / "d" / "s").stat().st_mode & stat.S_ISGID

    @pytest.mark.skipif(os.geteuid() != 0, reason="optional: only root can be somebody else")
    def test_others_are_kept_out_by_modes(self, folder: Path) -> None:
        if not (self.abilities.other_users and self.abilities.owners):
            return
        (folder / "secret").write_bytes(b"1")
        os.chmod(folder / "secret", 0o600)
        (folder / "shared").write_bytes(b"1")
        os.chmod(folder / "shared", 0o644)
        os.chmod(folder, 0o755)
        assert self.as_nobody(folder, "cat", "shared") == 0
        assert self.as_nobody(folder, "cat", "secret") != 0
        assert self.as_nobody(folder, "touch", "new") != 0
        os.chmod(folder, 0o777)
        assert self.as_nobody(folder, "touch", "new") == 0
        assert (folder / "new").stat().st_uid == NOBODY

    @pytest.mark.skipif(os.geteuid() != 0, reason="optional: only root can be somebody else")
    def test_a_write_by_another_clears_set_id_bits(self, folder: Path) -> None:
        if not (self.abilities.other_users and self.abilities.owners):
            return
        os.chmod(folder, 0o777)
        (folder / "f").write_bytes(b"1")
        os.chmod(folder / "f", 0o6777)
        assert self.as_nobody(folder, "dd", "if=/dev/zero", "of=f", "count=1") == 0
        assert stat.S_IMODE((folder / "f").stat().st_mode) == 0o777

    def as_nobody(self, folder: Path, *command: str) -> int:
        """Run a command on names in a folder whose own path others may not enter."""
        done = subprocess.run(
            command,
            cwd=folder,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode
