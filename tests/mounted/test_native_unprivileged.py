"""Mounting by fusermount3, as a user who may not call mount(2)."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount_table import fuse_mounts_below, remove
from tests.native_serving import serving

DEVICE = Path("/dev/fuse")
LOCK = Path(tempfile.gettempdir()) / "zarrfs-tests-dev-fuse.lock"
USER = pwd.getpwnam("nobody").pw_uid
"""fusermount3 wants a user with a name."""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="optional: becoming another user needs root"),
    pytest.mark.skipif(
        shutil.which("fusermount3") is None, reason="optional: fusermount3 is not installed"
    ),
]


@pytest.fixture
def device() -> Iterator[Path]:
    """The device, to be opened by nobody else's test; its mode is restored."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mode = stat.S_IMODE(DEVICE.stat().st_mode)
        try:
            yield DEVICE
        finally:
            DEVICE.chmod(mode)


@pytest.fixture
def target() -> Iterator[Path]:
    """A folder of the user's that he can reach, as he cannot pytest's own."""
    base = Path(tempfile.mkdtemp(prefix="zarrfs-user-"))
    base.chmod(0o755)
    folder = base / "mount"
    folder.mkdir()
    os.chown(folder, USER, USER)
    yield folder
    for mount in fuse_mounts_below(base):
        remove(mount)
    shutil.rmtree(base)


def test_a_user_mounts_and_unmounts(device: Path, target: Path) -> None:
    device.chmod(0o666)
    options = {"fsname": r"a,st\ore"}
    with serving(target, uid=USER, content={"a": "x"}, options=options) as server:
        assert "error" not in server.first
        (mount,) = fuse_mounts_below(target.parent)
        assert mount.fstype == "fuse.zarrfs"
        # Nobody else is let in, not even root.
        with pytest.raises(PermissionError):
            os.listdir(target)
        server.ask("unmount")
        assert fuse_mounts_below(target.parent) == []


def test_a_refusal_is_told_with_its_remedy(device: Path, target: Path) -> None:
    device.chmod(0o600)
    with serving(target, uid=USER) as server:
        assert server.first["error"] == "DeniedError"
        assert "chmod 0666" in server.first["remedy"]
    device.chmod(0o666)
    os.chown(target, 0, 0)
    with serving(target, uid=USER) as server:
        assert server.first["error"] == "DeniedError"
    assert fuse_mounts_below(target.parent) == []


def test_allow_other_needs_the_administrators_consent(device: Path, target: Path) -> None:
    if "\nuser_allow_other" in Path("/etc/fuse.conf").read_text():
        pytest.skip("optional: user_allow_other is set on this machine")
    device.chmod(0o666)
    with serving(target, uid=USER, options={"allow_other": True}) as server:
        assert server.first["error"] == "DeniedError"
        assert "user_allow_other" in server.first["remedy"]
