"""mount(8), fstab and `zarrfs install-helper`, in a mount namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.commands import ZARRFS, zarrfs
from tests.mount_table import fuse_mounts_below
from tests.namespaces import DETACH_FOREIGN_MOUNTS
from tests.service import need_root

pytestmark = pytest.mark.timeout(180)

_WITH_OWN_SBIN = """\
mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir={folder}/upper,workdir={folder}/work \
    /usr/sbin
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    need_root()
    for name in ("upper", "work", "mnt"):
        (tmp_path / name).mkdir()
    with zipfile.ZipFile(tmp_path / "a b.zip", "w") as archive:
        archive.writestr("file", "content")
    return tmp_path


def in_namespace(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script where /sbin may be written without anybody else seeing it."""
    path = f"{ZARRFS.parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "bash", "-c",
         DETACH_FOREIGN_MOUNTS + _WITH_OWN_SBIN.format(folder=folder) + script],
        cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        timeout=90, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_line_of_fstab_is_mounted_by_mount(folder: Path) -> None:
    source = str(folder / "a b.zip").replace(" ", "\\040")
    (folder / "fstab").write_text(
        f"{source} {folder}/mnt zarrfs ro,_netdev,x-systemd.idle-timeout=60,fmode=0440 0 0\n"
    )
    done = in_namespace(
        folder,
        """\
zarrfs install-helper
mount -T fstab mnt
cat mnt/file
stat -c ' %a' mnt/file
grep -c "$PWD/mnt fuse.zarrfs ro,nosuid,nodev" /proc/mounts
umount mnt
! grep "$PWD/mnt" /proc/mounts
zarrfs install-helper --remove
test ! -e /sbin/mount.zarrfs
test ! -e /sbin/umount.fuse.zarrfs
""",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "content 440\n1\n" in done.stdout
    assert fuse_mounts_below(folder) == []


def test_umount_waits_and_mount_a_mounts_once(folder: Path) -> None:
    """What umount(8) leaves behind is whole: no journal, no process that still writes."""
    (folder / "fstab").write_text(
        f"{folder}/new.zip {folder}/mnt zarrfs rw,commit=1h 0 0\n"
        f"memory: {folder}/mnt2 zarrfs noauto,X-mount.mkdir 0 0\n"
    )
    done = in_namespace(
        folder,
        """\
zarrfs install-helper > /dev/null
cp 'a b.zip' new.zip
mount -a -T fstab
mount -a -T fstab
head -c 3000000 /dev/urandom > mnt/large
exec 7< mnt/file
umount mnt || echo "status $?"
exec 7<&-
umount -v mnt
ls
unzip -tq new.zip
mount -T fstab mnt2
mount -o remount,ro mnt2 || echo "status $?"
umount -l mnt2
! grep "$PWD/mnt" /proc/mounts
""",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "status 32\n" in done.stdout and "are in use" in done.stderr
    assert f"{folder}/mnt is unmounted\n" in done.stdout
    assert "new.zip.zarrfs-journal" not in done.stdout
    assert "No errors detected" in done.stdout
    assert "status 1\n" in done.stdout and "cannot be changed in place" in done.stderr


def test_mount_says_what_is_wrong(folder: Path) -> None:
    done = in_namespace(
        folder,
        """\
zarrfs install-helper > /dev/null
mount -t zarrfs -o fmod=1 'a b.zip' mnt || echo "status $?"
mount -t zarrfs gone.zip mnt || echo "status $?"
mount -f -t zarrfs 'a b.zip' mnt && echo checked
""",
    )
    assert "status 1" in done.stdout
    assert "did you mean fmode" in done.stderr
    assert "gone.zip: no such file or folder" in done.stderr
    assert done.stdout.endswith("checked\n")
    assert fuse_mounts_below(folder) == []


def test_the_helper_is_found_through_a_link_to_the_program(tmp_path: Path) -> None:
    (tmp_path / "zarrfs").symlink_to(ZARRFS)
    done = subprocess.run(
        [tmp_path / "zarrfs", "install-helper", "--to", tmp_path / "mount.zarrfs"],
        env={**os.environ, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mount.zarrfs").samefile(ZARRFS.parent / "mount.zarrfs")


def test_a_foreign_helper_is_not_replaced(tmp_path: Path) -> None:
    helper = tmp_path / "mount.zarrfs"
    helper.write_text("somebody's")
    refused = zarrfs("install-helper", "--to", helper, check=False)
    assert refused.returncode == 2
    assert helper.read_text() == "somebody's"
    zarrfs("install-helper", "--to", helper, "--force")
    assert helper.is_symlink()
    zarrfs("install-helper", "--to", helper, "--remove")
    assert not helper.is_symlink()
